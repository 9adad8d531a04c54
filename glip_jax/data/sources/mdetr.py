"""Grounding data: captions whose phrases are linked to boxes.

The format is that of MDETR and GLIP: a COCO file whose images have a `caption`
and whose annotations have `tokens_positive`, a list of [start, end) character
spans of that caption.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from glip_jax.data.records import Record
from glip_jax.data.sources import annotation_file, box_table, image_table
from glip_jax.data.sources.faults import Report
from glip_jax.data.sources.opened_images import OpenedImages
from glip_jax.text import prompts

Spans = tuple[tuple[int, int], ...]

_CATEGORY_ID = 1


class MdetrSource:
  """Random access to a file of captions with linked boxes.

  Each image entry is a record of its own, so that one image may come with
  several captions. Boxes with the same spans belong to one phrase; a box with
  several spans to one phrase of several parts.

  Attributes:
    names: always empty: there is no vocabulary.
    report: what was wrong with the file.
    bad_records: 'skip' or 'raise'.
  """

  names: tuple[str, ...] = ()

  def __init__(
      self,
      *,
      annotations: str | os.PathLike[str],
      images: str | os.PathLike[str],
      bad_records: str = 'skip',
  ):
    """Parses the file.

    Args:
      annotations: the JSON file.
      images: folder that the `file_name`s are relative to.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if the file or folder is missing or no such thing, has no
        usable image with a caption, or a record is broken and to be refused.
    """
    self.bad_records = bad_records
    self.report = Report(os.fspath(annotations), bad_records=bad_records)
    content = annotation_file.read_json(annotations, name='annotations')
    self._images = image_table.read_images(
        annotation_file.entries(content, 'images', self.report),
        images,
        self.report,
        captioned=True,
    )
    self._phrases: list[dict[Spans, int]] = [{} for _ in self._images.ids]
    self._boxes = box_table.read_boxes(
        annotation_file.entries(content, 'annotations', self.report),
        self._images,
        self.report,
        self._label,
    )
    self._order_phrases()
    self._opened = OpenedImages(self._images, bad_records=bad_records)
    self.report.log()

  def __len__(self) -> int:
    return len(self._images.ids)

  def __getitem__(self, index: int) -> Record:
    """Reads an image, its caption and its boxes.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the image cannot be read.
    """
    image = self._opened.read(index)
    rows = self._boxes.rows(index)
    boxes, usable = box_table.clip_boxes(
        self._boxes.xywh[rows], image.shape[:2]
    )
    return Record(
        image=image,
        boxes=boxes[usable],
        phrase=self._boxes.label[rows][usable],
        crowd=self._boxes.crowd[rows][usable],
        text=prompts.from_caption(
            self._images.captions[index], tuple(self._phrases[index])
        ),
        index=index,
    )

  def image_id(self, index: int) -> annotation_file.Id:
    """Original id of a record."""
    return self._images.ids[index]

  def category_id(self, label: int) -> int:
    """The one class of `ground_truth`, whatever the phrase."""
    del label
    return _CATEGORY_ID

  def ground_truth(self) -> dict[str, Any]:
    """The data set in the same format, as far as it is usable.

    As `CocoSource.ground_truth`, with `caption` and `tokens_positive`, and all
    boxes of one class.

    Raises:
      BadImage: if an image cannot be read and bad records are to be refused.
    """
    images, annotations = box_table.truth(
        self._images, self._boxes, self._opened.size
    )
    position = {key: index for index, key in enumerate(self._images.ids)}
    for image in images:
      image['caption'] = self._images.captions[position[image['id']]]
    for annotation in annotations:
      phrases = tuple(self._phrases[position[annotation['image_id']]])
      spans = phrases[annotation['category_id']]
      annotation['tokens_positive'] = [list(span) for span in spans]
      annotation['category_id'] = _CATEGORY_ID
    return {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': _CATEGORY_ID, 'name': 'object'}],
    }

  def _label(
      self, annotation: dict[str, Any], index: int, name: str
  ) -> int | None:
    """Position of a box's phrase among those of its caption."""
    found = annotation.get('tokens_positive')
    if not isinstance(found, list):
      self.report.fault('box without tokens_positive', name)
      return None
    if not found:
      self.report.note('box linked to no phrase, dropped', name)
      return None
    caption = self._images.captions[index]
    spans = []
    for value in found:
      span = read_span(value, caption)
      if span is None:
        self.report.fault('malformed span', f'{name} {value!r}')
      else:
        if span[1] != value[1]:
          self.report.note('span that leaves its caption, clipped', name)
        spans.append(span)
    if not spans:
      return None
    phrases = self._phrases[index]
    return phrases.setdefault(tuple(sorted(set(spans))), len(phrases))

  def _order_phrases(self) -> None:
    """Numbers phrases as the caption has them, not as the file has boxes."""
    for index, phrases in enumerate(self._phrases):
      ordered = sorted(phrases)
      place = np.argsort([phrases[spans] for spans in ordered])
      rows = self._boxes.rows(index)
      self._boxes.label[rows] = place[self._boxes.label[rows]]
      self._phrases[index] = {spans: i for i, spans in enumerate(ordered)}


def read_span(value: Any, caption: str) -> tuple[int, int] | None:
  """Returns a [start, end) span, clipped to the end of its caption.

  None if it is no pair of whole numbers, starts before the caption, or covers
  no letter, digit or symbol.
  """
  if not isinstance(value, (list, tuple)) or len(value) != 2:
    return None
  if not all(type(side) is int for side in value):
    return None
  start, end = value[0], min(value[1], len(caption))
  if start < 0 or not caption[start:end].strip():
    return None
  return start, end
