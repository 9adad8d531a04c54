"""Any source that `tools.to_records` has packed: a few large files.

It gives what the source gave that was packed: images decoded from the same
bytes, the same boxes, texts, ids and sizes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from glip_jax.data.images import BadImage, read_moderate
from glip_jax.data.records import Truth
from glip_jax.data.sources import record_files, record_tables
from glip_jax.data.sources.annotation_file import Id, Report, check_bad_records
from glip_jax.data.sources.boxes import Boxes
from glip_jax.data.sources.detection import VocabularyRecords
from glip_jax.data.sources.federated import Federated
from glip_jax.data.sources.ground_truth import Classes
from glip_jax.data.sources.image_records import ImageRecords
from glip_jax.data.sources.lists import Lists
from glip_jax.data.sources.phrases import Types, split_types
from glip_jax.data.sources.protocol import Source
from glip_jax.data.sources.record_files import Header, Shards
from glip_jax.data.sources.record_tables import Arrays
from glip_jax.data.sources.selection import Selection
from glip_jax.text.prompts import TextPrompt


def open_packed(
    *,
    directory: str | os.PathLike[str],
    selection: Selection = Selection(),
    bad_records: str = 'skip',
) -> Source:
  """Opens a folder that `tools.to_records` has written.

  Args:
    directory: the folder.
    selection: classes and images to use; parts are those of the source that
      was packed, as they go by the names of its files.
    bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

  Returns:
    A detection source if one was packed, with what LVIS knows of its images if
    it did; otherwise a grounding source.

  Raises:
    UserError: it holds no packed source or another version, a file is missing,
      damaged or cut short, or nothing of it is selected.
  """
  check_bad_records(bad_records)
  # Workers may be started in another folder.
  directory = os.path.abspath(directory)
  header = record_files.read_header(directory)
  table = record_tables.read(
      os.path.join(directory, record_files.TABLE), crc=header.table_crc
  )
  if header.kind == 'grounding':
    kind = PackedGrounding
  else:
    kind = PackedFederated if header.frequency else PackedDetection
  source = kind(directory, header, table, selection, bad_records)
  source.report.log()
  return source


class _Packed(ImageRecords):
  """What all packed sources have in common.

  Attributes:
    bad_records: 'skip' or 'raise'.
    report: how many images there are.
  """

  def __init__(
      self,
      directory: str,
      header: Header,
      table: Arrays,
      selection: Selection,
      bad_records: str,
  ):
    """Takes what the files say; see `open_packed`."""
    self.bad_records = bad_records
    self.report = Report(
        os.path.join(directory, record_files.HEADER), bad_records=bad_records
    )
    self._arguments = dict(
        directory=directory, selection=selection, bad_records=bad_records
    )
    places = _selected(table, selection, self.report.file)
    if len(places) < len(table['size']):
      table = record_tables.take(table, places)
    self._table = table
    shards = Shards(directory, header.shard_records)
    self._images = _Images(table, shards, places)
    self._boxes = record_tables.boxes_of(table, header.decimals)
    self.report.keep('images', len(self), len(self))

  def __reduce__(self) -> Any:
    # A worker reads the files again: that is quicker than sending tables.
    opens = functools.partial(open_packed, **self._arguments)
    own = {'prompt': self.prompt} if isinstance(self, Classes) else {}
    return opens, (), own


class PackedGrounding(_Packed):
  """A packed source that has a text for each image."""

  def __init__(self, *arguments: Any):
    """Takes the arguments of all packed sources."""
    super().__init__(*arguments)
    self._captions = record_tables.strings_of(self._table, 'caption')
    has_types = 'types' in self._table  # Not if it was packed long ago.
    self._types = has_types and record_tables.strings_of(self._table, 'types')

  def text(self, index: int) -> TextPrompt:
    """The text of a record.

    Raises:
      IndexError: if there is no such record.
    """
    return record_tables.text_of(
        self._table, self._captions, self._place(index)
    )

  def phrase_types(self, index: int) -> Types:
    """The types of each phrase, as the source that was packed had them.

    Raises:
      IndexError: if there is no such record.
    """
    count = len(self.text(index).spans)
    return split_types(self._types[index] if self._types else '', count)

  def _truth(self, index: int, size: tuple[int, int]) -> Truth:
    is_list = bool(self._table['is_list'][self._place(index)])
    return self._boxes.truth(index, size, self.text(index), is_list=is_list)

  def _place(self, index: int) -> int:
    """Number of the text of a record."""
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in [0, {len(self)})')
    return int(self._table['text'][index])


class PackedDetection(_Packed, VocabularyRecords):
  """A packed source with a vocabulary."""

  def __init__(
      self,
      directory: str,
      header: Header,
      table: Arrays,
      selection: Selection,
      bad_records: str,
  ):
    """Takes the arguments of all packed sources."""
    _Packed.__init__(self, directory, header, table, selection, bad_records)
    known = dict(zip(header.category_ids, header.names, strict=True))
    chosen = selection.classes(known, self.report.file)
    VocabularyRecords.__init__(self, chosen.names, chosen.ids)
    # Label of each class that was packed, -1 of those that are not used.
    self._labels = tuple(chosen.labels.get(name, -1) for name in header.names)
    if self._labels != tuple(range(len(header.names))):
      self._boxes = _relabelled(self._boxes, self._labels)


class PackedFederated(Federated, PackedDetection):
  """A packed source whose images are labelled for some classes only."""

  def __init__(self, directory: str, header: Header, *arguments: Any):
    """Takes the arguments of all packed sources."""
    super().__init__(directory, header, *arguments)
    merged: list[list[int]] = [[] for _ in self.names]
    for old, new in enumerate(self._labels):
      if new >= 0:
        merged[new].append(old)
    self._absent = self._lists('absent', merged, all)
    self._partial = self._lists('partial', merged, any)
    groups = [{header.frequency[old] for old in own} for own in merged]
    self.frequency = tuple(
        next((group for group in 'fcr' if group in own), '') for own in groups
    )
    self.synonyms = tuple(
        tuple(dict.fromkeys(w for old in own for w in header.synonyms[old]))
        for own in merged
    )

  def _lists(
      self, name: str, merged: Sequence[Sequence[int]], whether: Any
  ) -> Lists:
    """The lists of all images, in the labels of the classes in use.

    Args:
      name: of the lists in the table.
      merged: labels of which each class is made.
      whether: `all` or `any` of these must be in a list.
    """
    packed = Lists(self._table[f'{name}_end'], self._table[name])
    if self._labels == tuple(range(len(merged))):
      return packed
    rows = []
    for index in range(len(packed)):
      found = set(packed[index])
      near = sorted({self._labels[old] for old in found} - {-1})
      rows.append(
          [new for new in near if whether(old in found for old in merged[new])]
      )
    return Lists.of(rows)


class _Images:
  """The images of the records in use; as `image_list.Images` offers them."""

  def __init__(self, table: Arrays, shards: Shards, places: Int[np.ndarray, n]):
    """Takes the table, the shards, and the number of each record in them."""
    self.files = record_tables.strings_of(table, 'name')
    self._ids = record_tables.strings_of(table, 'id')
    self._stated, self._sizes = table['stated'], table['size']
    self._crc, self._places, self._shards = table['crc'], places, shards

  def __len__(self) -> int:
    return len(self._places)

  def id(self, index: int) -> Id:
    """The id that the data set gives an image."""
    return json.loads(self._ids[index])

  def stated_size(self, index: int) -> tuple[int, int] | None:
    """(h, w) that the data set gives an image, or None."""
    height, width = self._stated[self._checked(index)].tolist()
    return (height, width) if height else None

  def size(self, index: int) -> tuple[int, int]:
    """(h, w) of an image as it is read."""
    height, width = self._sizes[self._checked(index)].tolist()
    return height, width

  def file(self, index: int) -> bytes:
    """The file of an image, as it was packed."""
    place = int(self._places[self._checked(index)])
    return self._shards.read(place, int(self._crc[index]))

  def read(
      self, index: int
  ) -> tuple[UInt8[np.ndarray, 'h w 3'], tuple[int, int]]:
    """Reads an image, and the (h, w) of the whole: see `read_moderate`.

    Raises:
      IndexError: if there is no such image.
      BadImage: if it cannot be read.
    """
    data, stated = self.file(index), self.stated_size(index)
    try:
      return read_moderate(data, annotated_size=stated)
    except BadImage as error:
      raise BadImage(f'{self._ids[index]}: {error}') from error

  def _checked(self, index: int) -> int:
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in [0, {len(self)})')
    return index


def _selected(
    table: Arrays, selection: Selection, file: str
) -> Int[np.ndarray, k]:
  """Numbers of the records in the part that is used."""
  count = len(table['size'])
  if selection.part == (0, 1):
    return np.arange(count)
  files, ids = (record_tables.strings_of(table, n) for n in ('name', 'id'))
  named = [files[i] or ids[i] for i in range(count)]
  kept = selection.files(named, file)
  return np.array([i for i in range(count) if named[i] in kept], np.int64)


def _relabelled(boxes: Boxes, labels: Sequence[int]) -> Boxes:
  """Boxes by the labels of the classes in use, those of others gone."""
  new = np.array([*labels, -1], np.int32)[boxes.label]
  # What no name describes (-1) is in no class, so it stays as it is.
  kept = (new >= 0) | (boxes.label < 0)
  ends = np.concatenate([[0], np.cumsum(kept)])
  return dataclasses.replace(
      boxes,
      offset=ends[boxes.offset],
      xywh=boxes.xywh[kept],
      label=new[kept],
      crowd=boxes.crowd[kept],
      area=boxes.area[kept],
  )
