"""Records of several kinds in one file: lists of names among sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from glip_jax.data.records import Record, Truth
from glip_jax.data.sources.boxes import Boxes
from glip_jax.data.sources.detection import DetectionRecords
from glip_jax.data.sources.grounding import GroundingRecords
from glip_jax.text.prompts import TextPrompt


class MixedRecords:
  """The records of several sources of one file, in the order of their ids.

  A grounding source: each record says whether its text is a list.

  Attributes:
    report: what was wrong with the files.
    bad_records: 'skip' or 'raise'.
  """

  def __init__(self, sources: Sequence[DetectionRecords | GroundingRecords]):
    """Takes sources of one file, whose ids are whole numbers."""
    self.report = sources[0].report
    self.bad_records = sources[0].bad_records
    self._sources = tuple(sources)
    rows = sorted(
        (source.image_id(index), number, index)
        for number, source in enumerate(sources)
        for index in range(len(source))
    )
    # Source, and position in it, of each record.
    self._places = np.array([row[1:] for row in rows], np.int32)

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, index: int) -> Record:
    source, place = self._find(index)
    return dataclasses.replace(source[place], index=index)

  def num_boxes(self) -> Int[np.ndarray, n]:
    """Boxes of each record."""
    counts = [source.num_boxes() for source in self._sources]
    return np.array([counts[number][place] for number, place in self._places])

  def image_size(self, index: int) -> tuple[int, int]:
    """(h, w) as the file states it, or else as the header of the image does.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the header cannot be read.
    """
    source, place = self._find(index)
    return source.image_size(place)

  def stated_size(self, index: int) -> tuple[int, int] | None:
    """(h, w) as the file states it, None where it does not."""
    source, place = self._find(index)
    return source.stated_size(place)

  def file_name(self, index: int) -> str:
    """Path of the file of an image in the folder of all of them."""
    source, place = self._find(index)
    return source.file_name(place)

  def image_file(self, index: int) -> bytes:
    """The file of an image as it is.

    Raises:
      IndexError: if there is no such record.
      BadImage: if it cannot be read.
    """
    source, place = self._find(index)
    return source.image_file(place)

  def boxes_of(self, index: int, size: tuple[int, int]) -> Boxes:
    """The boxes of an image of (h, w), in pixels, those of no use included."""
    source, place = self._find(index)
    return source.boxes_of(place, size)

  def image_id(self, index: int) -> int:
    """Line of a record, from 0."""
    source, place = self._find(index)
    return source.image_id(place)

  def text(self, index: int) -> TextPrompt:
    """The list of names, or the sentence, of a record."""
    source, place = self._find(index)
    return source.text(place)

  def truth(self, index: int) -> Truth:
    """Boxes and text of a record; of the image the header is read.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the header cannot be read.
    """
    source, place = self._find(index)
    return source.truth(place)

  def _find(
      self, index: int
  ) -> tuple[DetectionRecords | GroundingRecords, int]:
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in [0, {len(self)})')
    number, place = self._places[index].tolist()
    return self._sources[number], place
