"""Recall of phrases: is the best box of a phrase on what it names?

A phrase counts as found when the highest-scoring detection with its label
overlaps one of its boxes by at least `min_iou` ("any box" protocol of
Flickr30k Entities, recall@1). Boxes are xyxy pixels of the original image.
"""

import dataclasses
import math
import re
from typing import Any, Literal

import numpy as np

from glip_jax import types
from glip_jax.data.records import Truth
from glip_jax.data.sources.protocol import Source
from glip_jax.errors import UserError
from glip_jax.evaluators import overlaps, unpack

TARGETS = ('first', 'all')
_RELATIONS = ('left of', 'right of', 'above', 'below')
# A caption with several of these words counts under the first.
_RELATION = re.compile(rf'\b({"|".join(_RELATIONS)})\b', re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Recall:
  """A proportion and how sure it is.

  Attributes:
    recall: found / n, in [0, 1]; -1 where n is 0.
    n: number of phrases.
    low: lower end of the 95 % Wilson interval.
    high: upper end.
  """

  recall: float
  n: int
  low: float
  high: float


@dataclasses.dataclass(frozen=True)
class GroundingResult:
  """Recall@1 over all phrases and by the caption's relation word.

  Attributes:
    overall: over every target phrase.
    by_relation: keyed by 'left of', 'right of', 'above', 'below', those that
      occur.
  """

  overall: Recall
  by_relation: dict[str, Recall]

  @property
  def metrics(self) -> dict[str, float]:
    """Scalars for curves: recall, its interval, and recall per relation."""
    return {
        'recall': self.overall.recall,
        'recall_low': self.overall.low,
        'recall_high': self.overall.high,
        'n': float(self.overall.n),
        **{
            f'recall/{name.replace(" ", "_")}': part.recall
            for name, part in self.by_relation.items()
        },
    }

  def to_json(self) -> dict[str, Any]:
    """Plain values for a metrics file."""
    return {
        **dataclasses.asdict(self.overall),
        'by_relation': {
            name: dataclasses.asdict(part)
            for name, part in self.by_relation.items()
        },
    }

  def table(self, *, per_class: bool = False) -> str:
    """The numbers as text for a terminal, in percent; no classes here."""
    del per_class
    rows = {'all': self.overall, **self.by_relation}
    lines = ['phrases   recall@1   95 % interval       n']
    for name, part in rows.items():
      interval = f'{100 * part.low:.1f} - {100 * part.high:.1f}'
      recall = '-' if part.n == 0 else f'{100 * part.recall:.1f}'
      lines.append(f'{name:<8}  {recall:>8}   {interval:>13}  {part.n:>6}')
    return '\n'.join(lines)


class GroundingEvaluator:
  """Collects whether the best box of each phrase is right."""

  metric_names = (
      'recall',
      'recall_low',
      'recall_high',
      *(f'recall/{name.replace(" ", "_")}' for name in _RELATIONS),
  )

  def __init__(
      self,
      source: Source,
      *,
      target: Literal['first', 'all'] = 'all',
      min_iou: float = 0.5,
  ):
    """Binds the evaluator to what it judges.

    Args:
      source: of any kind; the boxes of each phrase are its truth.
      target: 'all' judges every phrase that has a box; 'first' only the first
        phrase of a caption, the subject of "a red disk left of a blue cube".
      min_iou: overlap in (0, 1] from which a box is right.

    Raises:
      UserError: `target` or `min_iou` is not one of these.
    """
    if target not in TARGETS:
      raise UserError(f'target={target!r} is unknown: use one of {TARGETS}')
    if not 0 < min_iou <= 1:
      raise UserError(f'min_iou={min_iou} is not in (0, 1]: 0.5 is usual')
    self._source = source
    self._target = target
    self._min_iou = min_iou
    # By record: relation word or None, and one entry a judged phrase.
    self._judged: dict[int, tuple[str | None, list[dict[str, Any]]]] = {}

  def add(self, batch: types.Batch, detections: types.Detections) -> None:
    """Takes the detections of one batch.

    Rows of batch padding and records that were added before are skipped.

    Args:
      batch: what the detections were made of; `id` and `scale` are read.
      detections: boxes xyxy in input pixels, labelled by phrase.
    """
    for image in unpack.unpack(batch, detections):
      if image.index not in self._judged:
        self._judged[image.index] = self._judge(image)

  def state(self) -> dict[int, Any]:
    """What was judged, by record, for `merge` in another process."""
    return self._judged

  def merge(self, state: dict[int, Any]) -> None:
    """Takes what an evaluator of another process was given."""
    self._judged |= state

  def predictions(self) -> list[dict[str, Any]]:
    """The best box of each judged phrase that has one.

    Rows hold the original `image_id`, `phrase`, `bbox` (xywh), `score` and
    `iou` with the truth.
    """
    return [
        row
        for index in sorted(self._judged)
        for row in self._judged[index][1]
        if 'bbox' in row
    ]

  def result(self) -> GroundingResult:
    """Recall over what was added."""
    every: list[bool] = []
    by_relation: dict[str, list[bool]] = {}
    for relation, rows in self._judged.values():
      hits = [row['iou'] >= self._min_iou for row in rows]
      every += hits
      if relation is not None:
        by_relation.setdefault(relation, []).extend(hits)
    parts = {name: recall(by_relation[name]) for name in sorted(by_relation)}
    return GroundingResult(recall(every), parts)

  def _judge(
      self, image: unpack.ImageDetections
  ) -> tuple[str | None, list[dict[str, Any]]]:
    """The relation word of a record, and a row for each target phrase."""
    record = self._source.truth(image.index)
    relation = _RELATION.search(record.text.caption)
    rows = []
    for phrase, truth in phrase_boxes(record).items():
      if self._target == 'first' and phrase != 0:
        continue
      row = {
          'image_id': self._source.image_id(image.index),
          'phrase': record.text.phrases[phrase],
          'iou': 0.0,
      }
      mine = np.flatnonzero(image.labels == phrase)
      if mine.size:
        best = mine[image.scores[mine].argmax()]
        row['bbox'] = unpack.to_xywh(image.boxes[best : best + 1])[0]
        row['score'] = unpack.to_score(image.scores[best])
        row['iou'] = float(overlaps.iou(image.boxes[best], truth).max())
      rows.append(row)
    return relation and relation.group().lower(), rows


def wilson_interval(found: int, n: int, z: float = 1.96) -> tuple[float, float]:
  """Wilson's score interval of a proportion; (0, 1) where n is 0.

  Args:
    found: successes.
    n: trials.
    z: normal quantile; 1.96 gives 95 %.
  """
  if n == 0:
    return 0.0, 1.0
  p = found / n
  centre = p + z * z / (2 * n)
  half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
  weight = 1 + z * z / n
  return max(0.0, (centre - half) / weight), min(1.0, (centre + half) / weight)


def recall(hits: list[bool]) -> Recall:
  """The share of hits and its interval."""
  n = len(hits)
  return Recall(sum(hits) / n if n else -1.0, n, *wilson_interval(sum(hits), n))


def phrase_boxes(record: Truth) -> dict[int, np.ndarray]:
  """Boxes of each phrase that has any, without crowds."""
  boxes: dict[int, list[np.ndarray]] = {}
  for i, (box, phrase) in enumerate(
      zip(record.boxes, record.phrase.tolist(), strict=True)
  ):
    if record.crowd[i] or phrase < 0:
      continue
    boxes.setdefault(phrase, []).append(box)
  return {name: np.stack(boxes[name]) for name in sorted(boxes)}
