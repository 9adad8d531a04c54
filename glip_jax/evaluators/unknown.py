"""Unknown objects: are the objects that no phrase names found, and only they?

Judged are detections of label -1, which a model gives that is told to look for
unknown objects (`config.model.decode.unknown`). The truth are the boxes of
phrase -1, which a source has that is told to give them. Detections of all
images are gone through best first; one is right that overlaps a box of its
image by at least `min_iou` which no better one has taken. Boxes are xyxy pixels
of the original image.
"""

import dataclasses
from typing import Any

import numpy as np

from glip_jax import types
from glip_jax.data.sources.protocol import Source
from glip_jax.evaluators import overlaps, unpack


@dataclasses.dataclass(frozen=True)
class UnknownResult:
  """What was found of the unknown objects.

  Attributes:
    average_precision: area below the precision at each recall, in [0, 1].
    recall: share of the unknown objects that were found with `min_score`.
    precision: share of the detections with `min_score` that are right; 1 where
      there is none.
    found_at_all: share of the objects that were found with any score.
    n: number of unknown objects.
    num_detections: number of detections with any score.
    min_score: that of `recall` and `precision`.
  """

  average_precision: float
  recall: float
  precision: float
  found_at_all: float
  n: int
  num_detections: int
  min_score: float

  @property
  def metrics(self) -> dict[str, float]:
    """Scalars for curves; -1 where there is no unknown object."""
    return {
        'AP50': self.average_precision,
        'recall': self.recall,
        'precision': self.precision,
        'n': float(self.n),
    }

  def to_json(self) -> dict[str, Any]:
    """Plain values for a metrics file."""
    return dataclasses.asdict(self)

  def table(self, *, per_class: bool = False) -> str:
    """The numbers as text for a terminal, in percent; no classes here."""
    del per_class
    if not self.num_detections:
      return (
          f'{self.n} unknown objects, and no detection of any: models look for'
          ' them with --config.model.decode.unknown=True'
      )
    said = lambda x: f'{100 * x:.1f}' if self.n else '-'
    return (
        f'unknown objects: {self.n}\nAP {said(self.average_precision)}, found'
        f' with any score {said(self.found_at_all)}; with {self.min_score:g}'
        f' or more recall {said(self.recall)}, precision {said(self.precision)}'
    )


class UnknownEvaluator:
  """Collects the unknown objects of each image and what was found of them."""

  metric_names = ('AP50', 'recall', 'precision')

  def __init__(
      self, source: Source, *, min_iou: float = 0.5, min_score: float = 0.5
  ):
    """Binds the evaluator to what it judges.

    Args:
      source: of any kind that gives boxes of phrase -1.
      min_iou: overlap in (0, 1] from which a box is right.
      min_score: from which recall and precision count a detection.
    """
    self._source = source
    self._min_iou = min_iou
    self._min_score = min_score
    # By record: number of unknown objects, and a row for each detection.
    self._judged: dict[int, tuple[int, list[dict[str, Any]]]] = {}

  def add(self, batch: types.Batch, detections: types.Detections) -> None:
    """Takes the detections of one batch.

    Rows of batch padding and records that were added before are skipped.

    Args:
      batch: what the detections were made of; `id` and `scale` are read.
      detections: boxes xyxy in input pixels, labelled by phrase.
    """
    for image in unpack.unpack(batch, detections, unknown=True):
      if image.index not in self._judged:
        self._judged[image.index] = self._judge(image)

  def state(self) -> dict[int, Any]:
    """What was judged, by record, for `merge` in another process."""
    return self._judged

  def merge(self, state: dict[int, Any]) -> None:
    """Takes what an evaluator of another process was given."""
    self._judged |= state

  def predictions(self) -> list[dict[str, Any]]:
    """Every unknown object that was claimed, best first in each image.

    Rows hold the original `image_id`, `bbox` (xywh), `score` and `right`.
    """
    return [row for i in sorted(self._judged) for row in self._judged[i][1]]

  def result(self) -> UnknownResult:
    """Scores what was added."""
    n = sum(count for count, _ in self._judged.values())
    rows = self.predictions()
    scores = np.array([row['score'] for row in rows], np.float64)
    order = np.argsort(-scores, kind='stable')
    right = np.array([row['right'] for row in rows], bool)[order]
    shown = scores[order] >= self._min_score
    of_truth = lambda found: float(np.sum(found)) / n if n else -1.0
    return UnknownResult(
        average_precision=_area(right, n) if n else -1.0,
        recall=of_truth(right & shown),
        precision=float(np.mean(right[shown])) if shown.any() else 1.0,
        found_at_all=of_truth(right),
        n=n,
        num_detections=len(rows),
        min_score=self._min_score,
    )

  def _judge(
      self, image: unpack.ImageDetections
  ) -> tuple[int, list[dict[str, Any]]]:
    """The number of unknown objects, and a row for each detection of one."""
    truth = self._source.truth(image.index)
    boxes = truth.boxes[(truth.phrase < 0) & ~truth.crowd]
    mine = np.flatnonzero(image.labels < 0)
    mine = mine[np.argsort(-image.scores[mine], kind='stable')]
    free, rows = np.ones(len(boxes), bool), []
    for i in mine:
      overlap = overlaps.iou(image.boxes[i], boxes) * free
      right = bool(overlap.size and overlap.max() >= self._min_iou)
      if right:
        free[overlap.argmax()] = False
      rows.append({
          'image_id': self._source.image_id(image.index),
          'bbox': unpack.to_xywh(image.boxes[i : i + 1])[0],
          'score': unpack.to_score(image.scores[i]),
          'right': right,
      })
    return len(boxes), rows


def _area(right: np.ndarray, n: int) -> float:
  """Area below the best precision at each recall or more."""
  found = np.cumsum(right)
  precision = found / np.arange(1, len(right) + 1)
  best = np.maximum.accumulate(precision[::-1])[::-1]
  return float(np.sum(best[right]) / n)
