"""Grounding data: captions whose boxes a detector found, JSON lines.

A record is a picture: `filename`, `caption`, and for each box of `bboxes`
(xyxy, pixels) one of `scores` and one of `tokens_positive` (spans of the
caption). As in GLIP's second version of the format, these may be lists of
lists: boxes and scores by entity, and the spans of each entity.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from glip_jax.data.sources import json_lines
from glip_jax.data.sources.annotation_file import Report
from glip_jax.data.sources.grounding import GroundingRecords
from glip_jax.data.sources.json_lines import xywh
from glip_jax.data.sources.selection import Selection
from glip_jax.errors import UserError

_KINDS = {'caption': str}


class PseudoLabelSource(GroundingRecords):
  """Random access to captions with boxes that were found, one a picture.

  Boxes of a low score are not used, and neither are captions that have no other
  boxes: of what they name nothing is known. Ids are lines, from 0.
  """

  def __init__(
      self,
      *,
      annotations: str | os.PathLike[str],
      images: str | os.PathLike[str],
      min_score: float = 0.5,
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Parses the file.

    Args:
      annotations: the file of JSON lines.
      images: folder that each `filename` is relative to.
      min_score: boxes below are not used; the original trained with 0.5.
      selection: which part of the images to use; it has no classes.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if the file or folder is missing or no such thing, has no
        usable record, or one is broken and to be refused.
    """
    report = Report(os.fspath(annotations), bad_records=bad_records)
    captioned, linked = [], []
    for number, record in json_lines.read_lines(annotations, _KINDS, report):
      name = f'line {number + 1}'
      found = list(_boxes(number, record, name, report))
      used = [row for score, row in found if score >= min_score]
      if not used:
        report.note(f'caption without a box of score {min_score}', name)
        continue
      image = json_lines.image_entry(number, record)
      captioned.append((name, image | {'caption': record['caption']}))
      linked += used
    if not captioned:
      raise UserError(
          f'{report.file} has no caption with a box of score {min_score}'
          f' ({report}); lower min_score='
      )
    super().__init__(
        captioned, linked, images=images, selection=selection, report=report
    )
    report.log()


def _boxes(
    number: int, record: Mapping[str, Any], name: str, report: Report
) -> Iterator[tuple[float, tuple[str, dict[str, Any]]]]:
  """(score, entry) of each box of a record."""
  columns = [record.get(key) for key in ('bboxes', 'scores', 'tokens_positive')]
  if not all(isinstance(column, list) for column in columns) or (
      len({len(column) for column in columns}) != 1
  ):
    report.fault('record whose boxes, scores and spans do not match', name)
    return
  rows = list(zip(*columns, strict=True))
  for position, (box, score, spans) in enumerate(_flat(rows)):
    own = f'{name} bboxes[{position}]'
    if not isinstance(score, (int, float)) or not 0 <= score <= 1:
      report.fault('score that is not in 0..1', f'{own} {score!r:.60}')
      continue
    linked = {
        'image_id': number,
        'bbox': xywh(box),
        'tokens_positive': spans,
    }
    yield score, (own, linked)


def _flat(
    rows: Iterable[tuple[Any, Any, Any]],
) -> Iterator[tuple[Any, Any, Any]]:
  """Rows of boxes, from rows of boxes or of entities with lists of them."""
  for boxes, scores, spans in rows:
    if isinstance(scores, list):
      boxes = boxes if isinstance(boxes, list) else []
      # What one of them lacks is a fault.
      for box, score in itertools.zip_longest(boxes, scores):
        yield box, score, spans
    else:
      yield boxes, scores, spans
