"""What scores are worth: curves, thresholds and calibration, of matches.

All at the first overlap of the matches, 0.5, and over all sizes.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from glip_jax.evaluators.matches import Matches

RECALLS = np.linspace(0, 1, 101)
_BINS = 10


class BestThreshold(NamedTuple):
  """Where a class has its best F1.

  Attributes:
    score: detections of this score or more are shown; NaN without truth or
      without anything right.
    f1: harmonic mean of precision and recall there.
    precision: there.
    recall: there.
  """

  score: float
  f1: float
  precision: float
  recall: float


@dataclasses.dataclass(frozen=True)
class Calibration:
  """How often detections of a score are right.

  Attributes:
    precision: of ten equal parts of [0, 1], None without detections.
    counts: detections of each part.
    error: mean distance of score and precision, weighted by counts; NaN
      without detections.
  """

  precision: tuple[float | None, ...]
  counts: tuple[int, ...]
  error: float


def counted(matches: Matches) -> Bool[np.ndarray, 'n']:
  """Detections that are right or wrong, within the limit of AP."""
  is_judged = matches.right[:, 0, 0] | matches.wrong[:, 0, 0]
  return is_judged & matches.within[:, 0]


def num_truth(matches: Matches) -> np.ndarray:
  """Boxes of each class that count."""
  return np.bincount(
      matches.truth_category[matches.counted[:, 0]],
      minlength=len(matches.names),
  )


def precision_at_recalls(
    matches: Matches, iou: int
) -> Float[np.ndarray, 'c 101']:
  """Precision of each class at `RECALLS`; NaN for a class without truth.

  Args:
    matches: of a set.
    iou: place of the overlap.
  """
  truth = num_truth(matches)
  result = np.full((len(truth), len(RECALLS)), np.nan)
  right = matches.right[:, 0, iou]
  kept = (right | matches.wrong[:, 0, iou]) & matches.within[:, 0]
  for place, rows in enumerate(_by_class(matches, kept)):
    if truth[place]:
      found = np.cumsum(right[rows])
      precision = found / np.arange(1, len(rows) + 1)
      best = np.maximum.accumulate(precision[::-1])[::-1]
      steps = np.searchsorted(found / truth[place], RECALLS)
      result[place] = np.r_[best, 0.0][np.minimum(steps, len(rows))]
  return result


def best_thresholds(matches: Matches) -> list[BestThreshold]:
  """The score of each class from which detections give the best F1."""
  truth, right = num_truth(matches), matches.right[:, 0, 0]
  result = []
  for place, rows in enumerate(_by_class(matches, counted(matches))):
    scores = matches.score[rows]
    # A threshold takes all of equal score.
    ends = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True][: len(rows)])
    found, shown = np.cumsum(right[rows])[ends], ends + 1
    if not truth[place] or not len(found) or not found[-1]:
      result.append(BestThreshold(np.nan, 0.0, 0.0, 0.0))
      continue
    f1 = 2 * found / (shown + truth[place])
    best = int(f1.argmax())
    result.append(
        BestThreshold(
            float(scores[ends[best]]),
            float(f1[best]),
            float(found[best] / shown[best]),
            float(found[best] / truth[place]),
        )
    )
  return result


def calibration(matches: Matches) -> Calibration:
  """How often detections of all classes are right, by their score."""
  kept = counted(matches)
  scores, right = matches.score[kept], matches.right[kept, 0, 0]
  bins = np.clip((scores * _BINS).astype(int), 0, _BINS - 1)
  counts = np.bincount(bins, minlength=_BINS)
  hits = np.bincount(bins, right, minlength=_BINS)
  sums = np.bincount(bins, scores, minlength=_BINS)
  error = np.abs(hits - sums).sum() / len(scores) if len(scores) else np.nan
  return Calibration(
      tuple(
          float(hit / count) if count else None
          for hit, count in zip(hits, counts, strict=True)
      ),
      tuple(counts.tolist()),
      float(error),
  )


def _by_class(matches: Matches, kept: np.ndarray) -> Sequence[np.ndarray]:
  """Places of the detections that are kept, of each class, best first."""
  rows = np.flatnonzero(kept)
  ends = np.searchsorted(
      matches.category[rows], np.arange(1, len(matches.names))
  )
  return np.split(rows, ends) if matches.names else ()
