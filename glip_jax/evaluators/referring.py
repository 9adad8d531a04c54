"""Referring expressions: is the best box right, and is nothing found in vain?

As RefCOCO is scored, an expression is right when the highest-scoring box of its
first phrase overlaps the referent by at least `min_iou` (accuracy@0.5). Where
the data has expressions that fit nothing in their image, as gRefCOCO and Ref-L4
do, they are judged apart: how often is something found there, at which score?
Boxes are xyxy pixels of the original image.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from glip_jax import types
from glip_jax.data.sources.protocol import Source, is_detection
from glip_jax.errors import UserError
from glip_jax.evaluators import grounding, overlaps, unpack
from glip_jax.evaluators.coco_ap import percent

_THRESHOLDS = tuple(n / 10 for n in range(1, 10))


class AtScore(NamedTuple):
  """What is found with a score or more; -1 where there is no such expression.

  Attributes:
    min_score: that score.
    found_in_vain: share of the expressions that fit nothing for which a box
      is found.
    found: share of the others for which one is found.
    right: share of the others whose best box is found and right.
  """

  min_score: float
  found_in_vain: float
  found: float
  right: float


@dataclasses.dataclass(frozen=True)
class ReferringResult:
  """What was found of expressions.

  Attributes:
    accuracy: share of the expressions with a referent whose best box is right.
    num_no_target: number of expressions that fit nothing.
    shown: at the score of `min_score`.
    sweep: at scores from 0.1 to 0.9.
    num_unasked: captions without any phrase, which cannot be judged.
  """

  accuracy: grounding.Recall
  num_no_target: int
  shown: AtScore
  sweep: tuple[AtScore, ...]
  num_unasked: int

  @property
  def metrics(self) -> dict[str, float]:
    """Scalars for curves; -1 where there is no such expression."""
    vain = self.shown.found_in_vain
    return {
        'accuracy': self.accuracy.recall,
        'accuracy_low': self.accuracy.low,
        'accuracy_high': self.accuracy.high,
        'accuracy_shown': self.shown.right,
        'no_target_accuracy': 1 - vain if vain >= 0 else -1.0,
    }

  def to_json(self) -> dict[str, Any]:
    """Plain values for a metrics file."""
    return {
        **self.metrics,
        'n': self.accuracy.n,
        'num_no_target': self.num_no_target,
        'num_unasked': self.num_unasked,
        'min_score': self.shown.min_score,
        'sweep': [row._asdict() for row in self.sweep],
    }

  def table(self, *, per_class: bool = False) -> str:
    """The numbers as text for a terminal, in percent; no classes here."""
    del per_class
    part = self.accuracy
    lines = [
        f'accuracy of the best box {percent(part.recall).strip()}'
        f' ({100 * part.low:.1f} - {100 * part.high:.1f}) of {part.n}'
        f' expressions; {self.num_no_target} more fit nothing'
    ]
    if self.num_unasked:
      lines.append(
          f'{self.num_unasked} captions have no phrase and are not judged:'
          ' data.whole_caption=True asks for each as a whole'
      )
    lines.append('score   found where nothing fits   found elsewhere   right')
    for row in sorted({*self.sweep, self.shown}):
      vain, found, right = map(percent, row[1:])
      lines.append(f'{row.min_score:>5g}   {vain:>24}   {found:>15}   {right}')
    return '\n'.join(lines)


class ReferringEvaluator:
  """Collects the best box of each expression, right or in vain."""

  metric_names = (
      'accuracy',
      'accuracy_low',
      'accuracy_high',
      'accuracy_shown',
      'no_target_accuracy',
  )

  def __init__(
      self, source: Source, *, min_iou: float = 0.5, min_score: float = 0.5
  ):
    """Binds the evaluator to what it judges.

    Args:
      source: a grounding source; the first phrase of a caption is what it
        refers to.
      min_iou: overlap in (0, 1] from which a box is right.
      min_score: from which a box is shown.

    Raises:
      UserError: it is a source with classes.
    """
    if is_detection(source):
      raise UserError(
          "type='referring' needs captions, and this source has one list of"
          " classes: use type='detection', or data of captions"
      )
    self._source = source
    self._min_iou, self._min_score = min_iou, min_score
    # By record: its row, None where nothing was asked, {} where not judged.
    self._judged: dict[int, dict[str, Any] | None] = {}

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
    """The best box of each expression that has one.

    Rows hold the original `image_id`, `phrase`, `bbox` (xywh), `score`, `iou`
    with the referent and `has_referent`.
    """
    return [row for row in self._rows() if 'bbox' in row]

  def result(self) -> ReferringResult:
    """Scores what was added."""
    rows = self._rows()
    there = np.array([row['has_referent'] for row in rows], bool)
    score = np.array([row.get('score', -1.0) for row in rows])
    right = (
        np.array([row['iou'] >= self._min_iou for row in rows], bool) & there
    )

    def at(least: float) -> AtScore:
      found = score >= least
      share = lambda x, of: float(x[of].mean()) if of.any() else -1.0
      return AtScore(
          least,
          share(found, ~there),
          share(found, there),
          share(found & right, there),
      )

    return ReferringResult(
        accuracy=grounding.recall(right[there].tolist()),
        num_no_target=int((~there).sum()),
        shown=at(self._min_score),
        sweep=tuple(map(at, _THRESHOLDS)),
        num_unasked=sum(row is None for row in self._judged.values()),
    )

  def _rows(self) -> list[dict[str, Any]]:
    return [row for i in sorted(self._judged) if (row := self._judged[i])]

  def _judge(self, image: unpack.ImageDetections) -> dict[str, Any] | None:
    """The row of a record."""
    record = self._source.truth(image.index)
    if not record.text.phrases:
      return None
    truth = grounding.phrase_boxes(record).get(0)
    if truth is None and (record.phrase == 0).any():
      return {}  # A crowd, of which no box is right or wrong.
    row = {
        'image_id': self._source.image_id(image.index),
        'phrase': record.text.phrases[0],
        'has_referent': truth is not None,
        'iou': 0.0,
    }
    mine = np.flatnonzero(image.labels == 0)
    if mine.size:
      best = mine[image.scores[mine].argmax()]
      row['bbox'] = unpack.to_xywh(image.boxes[best : best + 1])[0]
      row['score'] = unpack.to_score(image.scores[best])
      if truth is not None:
        row['iou'] = float(overlaps.iou(image.boxes[best], truth).max())
    return row
