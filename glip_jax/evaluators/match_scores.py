"""Average precision of draws of the images, from stored matches.

A draw says how often each image counts. The copies of an image stand beside
each other, so that a draw gives what the protocol gives for a set with each
image that often, ties included.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from glip_jax.evaluators import matches as matches_lib

_RECALLS = np.linspace(0, 1, 101)


class Scores(NamedTuple):
  """What classes reach in draws; NaN without truth.

  Axes: c classes, a ranges of area, u overlaps, r draws.

  Attributes:
    precision: average precision.
    recall: share of the boxes that are found.
  """

  precision: Float[np.ndarray, 'c a u r']
  recall: Float[np.ndarray, 'c a u r']


def class_scores(
    matches: matches_lib.Matches,
    counts: Int[np.ndarray, 'r i'],
    *,
    limit: int = 0,
    average: str = '101 recalls',
) -> Scores:
  """Average precision and recall of each class in each draw.

  Args:
    matches: of a set of i images.
    counts: of each draw, how often each image counts.
    limit: place of the limit on detections.
    average: of the precision: over '101 recalls' as in COCO, 'area' below it
      as in VOC 2010, '11 recalls' as in VOC 2007.
  """
  weights = np.ascontiguousarray(counts.T, np.int32)
  classes = len(matches.names), len(matches.areas), len(matches.ious)
  precision, recall = (np.full((*classes, len(counts)), np.nan) for _ in '12')
  labels = np.arange(classes[0] + 1)
  ends = np.searchsorted(matches.category, labels)
  order = np.argsort(matches.truth_category, kind='stable')
  truth_ends = np.searchsorted(matches.truth_category[order], labels)
  for place in range(classes[0]):
    truth = order[truth_ends[place] : truth_ends[place + 1]]
    rows = np.arange(ends[place], ends[place + 1])
    rows, drawn = _drawn(matches, rows[matches.within[rows, limit]], weights)
    boxes = weights[matches.truth_image[truth]]
    for area in range(classes[1]):
      there = boxes[matches.counted[truth, area]].sum(axis=0)
      if not there.any():
        continue
      with np.errstate(divide='ignore', invalid='ignore'):
        for iou, found, seen in _found(matches, rows, drawn, area):
          last = found[-1] if len(found) else np.zeros(len(there))
          recall[place, area, iou] = np.where(there > 0, last / there, np.nan)
          value = _AVERAGES[average](found, seen, there)
          precision[place, area, iou] = np.where(there > 0, value, np.nan)
  return Scores(precision, recall)


def _drawn(
    matches: matches_lib.Matches, rows: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Rows of a class, and how often each counts in each draw.

  Of an image that is drawn twice, what has equal scores comes twice in its
  order, not each twice: such rows are repeated.
  """
  image, score = matches.image[rows], matches.score[rows]
  if not len(rows):
    return rows, weights[:0]
  changes = (image[1:] != image[:-1]) | (score[1:] != score[:-1])
  starts = np.flatnonzero(np.r_[True, changes])
  sizes = np.diff(np.r_[starts, len(rows)])
  most = np.maximum(weights.max(axis=1), 1)[image[starts]]
  copies = np.where(sizes > 1, most, 1)
  groups = np.repeat(np.arange(len(starts)), copies)
  copy = _count_up(copies)
  lengths = sizes[groups]
  places = np.repeat(starts[groups], lengths) + _count_up(lengths)
  drawn = weights[image[places]]
  tied = np.repeat(lengths, lengths) > 1
  drawn[tied] = drawn[tied] > np.repeat(copy, lengths)[tied][:, None]
  return rows[places], drawn


def _count_up(lengths: np.ndarray) -> np.ndarray:
  """0, 1, ... of each length, one after the other."""
  before = np.cumsum(lengths) - lengths
  return np.arange(lengths.sum()) - np.repeat(before, lengths)


def _found(
    matches: matches_lib.Matches,
    rows: np.ndarray,
    drawn: np.ndarray,
    area: int,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
  """At each right detection, numbers of those that are right and of all.

  Yields:
    Place of an overlap, and both numbers [p r] up to each of its p detections.
  """
  for iou in range(len(matches.ious)):
    right = matches.right[rows, area, iou]
    kept = np.flatnonzero(right | matches.wrong[rows, area, iou])
    places = np.flatnonzero(right[kept])
    if not len(places):
      yield iou, drawn[:0], drawn[:0]
      continue
    found = np.cumsum(drawn[kept[places]], axis=0)
    starts = np.r_[0, places[:-1] + 1]
    steps = np.add.reduceat(drawn[kept[: places[-1] + 1]], starts, axis=0)
    yield iou, found, np.cumsum(steps, axis=0)


def _at_101_recalls(found, seen, there) -> np.ndarray:
  """The mean of the precision at 101 recalls, as pycocotools has it."""
  best = _best_from(found / (seen + np.spacing(1)))
  reached = np.searchsorted(_RECALLS, found / there, side='right')
  return _weighted(best, reached) / len(_RECALLS)


def _area_below(found, seen, there) -> np.ndarray:
  """The area below the precision, as of Pascal VOC 2010."""
  return _weighted(_best_from(found / np.maximum(seen, 1)), found) / there


def _at_11_recalls(found, seen, there) -> np.ndarray:
  """The mean of the precision at 11 recalls, as of Pascal VOC 2007."""
  best = _best_from(found / np.maximum(seen, 1))
  reached = sum((found >= k * there / 10).astype(int) for k in range(11))
  return _weighted(best, np.broadcast_to(reached, best.shape)) / 11


def _best_from(precision: np.ndarray) -> np.ndarray:
  """The best precision at each recall or more."""
  return np.maximum.accumulate(precision[::-1], axis=0)[::-1]


def _weighted(best: np.ndarray, reached: np.ndarray) -> np.ndarray:
  """The sum of precisions, each by how much more is reached there."""
  return (best * np.diff(reached, axis=0, prepend=0)).sum(axis=0)


_AVERAGES = {
    '101 recalls': _at_101_recalls,
    'area': _area_below,
    '11 recalls': _at_11_recalls,
}
