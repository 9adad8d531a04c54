"""Grounding data: captions whose phrases are linked to boxes.

The format is that of MDETR and GLIP: a COCO file whose images have a `caption`
and whose annotations have `tokens_positive`, a list of [start, end) character
spans of that caption. Images of an evaluation may have `tokens_positive_eval`,
the list of spans of each phrase that is judged: a box of "a man" and of "he" is
one phrase of two parts in training, and two phrases there.
"""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from glip_jax.data.sources import annotation_file
from glip_jax.data.sources.annotation_file import Entries, Id, Report, read_id
from glip_jax.data.sources.grounding import GroundingRecords, read_span
from glip_jax.data.sources.phrases import Phrases, Spans
from glip_jax.data.sources.selection import Selection

_JUDGED = 'tokens_positive_eval'


class MdetrSource(GroundingRecords):
  """Random access to a file of captions with linked boxes."""

  def __init__(
      self,
      *,
      annotations: str | os.PathLike[str],
      images: str | os.PathLike[str],
      whole_caption: bool = False,
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Parses the file.

    Args:
      annotations: the JSON file.
      images: folder that the `file_name`s are relative to; those of an image
        with a `data_source` to the folder of that name in it, where there is
        one, as GoldG mixes `coco` and `vg`.
      whole_caption: True makes the whole of each caption its one phrase, as
        referring expressions are evaluated; no spans are read.
      selection: which part of the images to use; it has no classes.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if the file or folder is missing or no such thing, has no
        usable image with a caption, or a record is broken and to be refused.
    """
    report = Report(os.fspath(annotations), bad_records=bad_records)
    content = annotation_file.read_json(annotations, name='annotations')
    captioned = annotation_file.entries(content, 'images', report)
    super().__init__(
        _in_their_folders(captioned, os.fspath(images)),
        annotation_file.entries(content, 'annotations', report),
        images=images,
        selection=selection,
        report=report,
        whole_caption=whole_caption,
    )
    self._read_judged([] if whole_caption else captioned)
    report.log()

  def evaluated(self) -> GroundingRecords:
    """With the phrases of `tokens_positive_eval`, where an image has them."""
    if self._judged is None:
      return self
    return self.with_phrases([
        self._judged[index] if is_listed else None
        for index, is_listed in enumerate(self._lists)
    ])

  def _read_judged(self, captioned: Entries) -> None:
    """Keeps the phrases that are judged, where an image lists any."""
    listed: dict[Id | None, Any] = {}
    for _, image in captioned:
      listed.setdefault(read_id(image.get('id')), image.get(_JUDGED))
    own = [
        self._spans(listed.get(self.image_id(index)), index)
        for index in range(len(self))
    ]
    # Which records have a list; flat and no more, for they are sent to workers.
    self._lists, self._judged = None, None
    if any(phrases is not None for phrases in own):
      self._lists = np.array([phrases is not None for phrases in own], bool)
      self._judged = Phrases.of([phrases or () for phrases in own])

  def _spans(self, phrases: Any, index: int) -> tuple[Spans, ...] | None:
    """Spans of each phrase that is listed for a record; None if none are."""
    if not isinstance(phrases, list):
      return None
    name, caption = f'images {self.image_id(index)!r}', self._captions[index]
    found = []
    for phrase in phrases:
      spans = [
          read_span(value, caption)
          for value in (phrase if isinstance(phrase, list) else ())
      ]
      if not spans or None in spans:
        self.report.fault('malformed span', f'{name} {phrase!r:.60}')
      else:
        found.append(tuple(sorted({span for span in spans if span})))
    return tuple(found)


def _in_their_folders(captioned: Entries, images: str) -> Entries:
  """Entries whose names begin with the folder of their `data_source`."""
  stated = {image.get('data_source') for _, image in captioned if _named(image)}
  folders = {
      name for name in stated if os.path.isdir(os.path.join(images, name))
  }
  return [
      (name, image | {'file_name': _joined(image)})
      if _named(image) and image['data_source'] in folders
      else (name, image)
      for name, image in captioned
  ]


def _named(image: dict[str, Any]) -> bool:
  """Whether an image says which folder it is in: one name, and no path."""
  source, file = image.get('data_source'), image.get('file_name')
  return (
      isinstance(file, str)
      and isinstance(source, str)
      and (re.fullmatch(r'\w[\w.-]*', source) is not None)
  )


def _joined(image: dict[str, Any]) -> str:
  return f"{image['data_source']}/{image['file_name']}"
