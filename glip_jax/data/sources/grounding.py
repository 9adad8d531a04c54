"""Grounding data in files, whatever the format: captions with linked boxes."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from glip_jax.data.records import Truth
from glip_jax.data.sources import box_reading, boxes, image_list
from glip_jax.data.sources.annotation_file import Entries, Report
from glip_jax.data.sources.image_records import ImageRecords
from glip_jax.data.sources.phrases import Phrases, Spans
from glip_jax.data.sources.selection import Selection
from glip_jax.text import prompts


class GroundingRecords(ImageRecords):
  """Random access to captions with linked boxes.

  Each image entry is a record of its own, so that one image may come with
  several captions. Boxes with the same spans belong to one phrase; a box with
  several spans to one phrase of several parts.

  Attributes:
    report: what was wrong with the files.
    bad_records: 'skip' or 'raise'.
  """

  def __init__(
      self,
      captioned: Entries,
      linked: Entries,
      *,
      images: str | os.PathLike[str],
      selection: Selection,
      report: Report,
      whole_caption: bool = False,
  ):
    """Keeps what is usable.

    Args:
      captioned: (name for messages, entry) with `id`, `file_name`, `caption`
        and, where they are stated, `width` and `height`.
      linked: likewise with `image_id`, `bbox` (xywh, pixels) and
        `tokens_positive`, [start, end) character spans of the caption.
      images: folder that the `file_name`s are relative to.
      selection: which part of the images to use; it has no classes.
      report: what was wrong so far.
      whole_caption: True makes the whole of each caption its one phrase, which
        all its boxes belong to; one without a box names nothing that is there.

    Raises:
      UserError: if the folder is missing, there is no usable image with a
        caption, no box is left that shows an object, or a record is to be
        refused.
    """
    self.bad_records = report.bad_records
    self.report = report
    self._images, self._captions, positions = image_list.read_images(
        captioned, images, report, captioned=True, selection=selection
    )
    phrases: list[dict[Spans, int]] = [{} for _ in range(len(self._images))]

    if whole_caption:
      for index, known in enumerate(phrases):
        known[((0, len(self._captions[index])),)] = 0

    def label(entry: dict[str, Any], index: int, name: str) -> int | None:
      if whole_caption:
        return 0
      spans = _read_spans(entry, self._captions[index], name, report)
      known = phrases[index]
      return known.setdefault(spans, len(known)) if spans else None

    self._boxes = box_reading.read_boxes(
        linked, self._images, positions, report, label
    )
    _order_phrases(phrases, self._boxes)
    self._phrases = Phrases.of([tuple(known) for known in phrases])

  def text(self, index: int) -> prompts.TextPrompt:
    """The caption of a record, with the phrases that have boxes.

    Raises:
      IndexError: if there is no such record.
    """
    return prompts.from_caption(self._captions[index], self._phrases[index])

  def with_phrases(
      self, wanted: Sequence[Sequence[Spans] | None]
  ) -> GroundingRecords:
    """The same records with other phrases, those of them that have a box.

    Args:
      wanted: phrases of each record; None: its own. A phrase has the boxes
        whose spans hold all of its spans, so that boxes of two are in both.
    """
    rows: list[int] = []
    labels: list[int] = []
    phrases, ends = [], [0]
    for index, own in enumerate(wanted):
      linked = self._linked(index)
      found = []
      for spans in sorted(set(self._phrases[index] if own is None else own)):
        holds = spans.__eq__ if own is None else set(spans).issubset
        if held := [row for row, has in linked if holds(has)]:
          rows += held
          labels += [len(found)] * len(held)
          found.append(spans)
      phrases.append(tuple(found))
      ends.append(len(rows))
    changed = copy.copy(self)
    changed._phrases = Phrases.of(phrases)
    table = self._boxes
    changed._boxes = dataclasses.replace(
        table,
        offset=np.array(ends, table.offset.dtype),
        xywh=table.xywh[rows],
        label=np.array(labels, table.label.dtype),
        crowd=table.crowd[rows],
        area=table.area[rows],
    )
    return changed

  def _linked(self, index: int) -> list[tuple[int, Spans]]:
    """(row, spans) of the boxes of a record."""
    rows, phrases = self._boxes.rows(index), self._phrases[index]
    labels = self._boxes.label[rows].tolist()
    return [
        (rows.start + place, phrases[label])
        for place, label in enumerate(labels)
    ]

  def _truth(self, index: int, size: tuple[int, int]) -> Truth:
    return self._boxes.truth(index, size, self.text(index), is_list=False)


def _read_spans(
    entry: dict[str, Any], caption: str, name: str, report: Report
) -> Spans:
  """The spans of a box, sorted; empty where it is linked to nothing."""
  found = entry.get('tokens_positive')
  if not isinstance(found, list):
    report.fault('box without tokens_positive', name)
    return ()
  if not found:
    report.note('box linked to no phrase, dropped', name)
  spans = set()
  for value in found:
    span = read_span(value, caption)
    if span is None:
      report.fault('malformed span', f'{name} {value!r}')
      continue
    if span[1] != value[1]:
      report.note('span that leaves its caption, clipped', name)
    spans.add(span)
  return tuple(sorted(spans))


def _order_phrases(phrases: list[dict[Spans, int]], table: boxes.Boxes) -> None:
  """Numbers phrases as captions have them, not as the file has boxes."""
  for index, known in enumerate(phrases):
    ordered = sorted(known)
    place = np.argsort([known[spans] for spans in ordered])
    rows = table.rows(index)
    table.label[rows] = place[table.label[rows]]
    phrases[index] = {spans: i for i, spans in enumerate(ordered)}


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
