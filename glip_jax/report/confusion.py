"""Which classes are taken for which, at the threshold of each class.

A box is found by a detection of its class as AP has it. What is left on both
sides, wrong detections and boxes that nothing found, is then matched whatever
the class.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from glip_jax.evaluators import coco_ap
from glip_jax.evaluators.matches import Matches
from glip_jax.report import quality

_MOST = 1000  # Of an image, far more than are shown.


class Confusion(NamedTuple):
  """Counts of boxes.

  Attributes:
    counts: of a class, found as a class; the last row are detections where
      nothing is, the last column boxes that are missed.
  """

  counts: Int[np.ndarray, 'c+1 c+1']

  def pairs(self) -> list[tuple[int, int, int]]:
    """Class, as which it is found, and how often; most frequent first."""
    inner = self.counts[:-1, :-1].copy()
    np.fill_diagonal(inner, 0)
    rows, columns = np.nonzero(inner)
    order = np.argsort(-inner[rows, columns], kind='stable')
    return [
        (int(rows[n]), int(columns[n]), int(inner[rows[n], columns[n]]))
        for n in order
    ]


def confusion(
    matches: Matches,
    predictions: Sequence[Mapping[str, Any]],
    truth: Mapping[str, Any],
    thresholds: Float[np.ndarray, 'c'],
) -> Confusion:
  """Counts what is found as what.

  Args:
    matches: of the predictions and the truth.
    predictions: rows in COCO's result format.
    truth: in COCO's format.
    thresholds: score of each class from which a detection counts; NaN for a
      class of which none does.
  """
  classes = len(matches.names)
  counts = np.zeros((classes + 1, classes + 1), np.int64)
  best = thresholds[matches.truth_category]
  found = matches.counted[:, 0] & (matches.best >= best.astype(np.float32))
  np.add.at(counts, (matches.truth_category[found],) * 2, 1)
  left = np.flatnonzero(matches.counted[:, 0] & ~found)
  shown = matches.score >= thresholds[matches.category]
  wrong = np.flatnonzero(
      quality.counted(matches)
      & matches.wrong[:, 0, 0]
      & shown
      & (matches.row >= 0)
  )
  rows = [
      {'image_id': int(matches.image[n]), 'score': float(matches.score[n])}
      | {'bbox': predictions[matches.row[n]]['bbox']}
      for n in wrong
  ]
  boxes = [
      {'image_id': int(matches.truth_image[n])}
      | {'bbox': truth['annotations'][matches.annotation[n]]['bbox']}
      for n in left
  ]
  owner = _owners(rows, boxes)
  taken = owner >= 0
  labels = matches.category[wrong]
  np.add.at(
      counts,
      (matches.truth_category[left[owner[taken]]], labels[taken]),
      1,
  )
  np.add.at(counts, (np.full((~taken).sum(), classes), labels[~taken]), 1)
  missed = np.delete(left, owner[taken])
  np.add.at(
      counts,
      (matches.truth_category[missed], np.full(len(missed), classes)),
      1,
  )
  return Confusion(counts)


def _owners(
    rows: Sequence[Mapping[str, Any]], boxes: Sequence[Mapping[str, Any]]
) -> np.ndarray:
  """Which box each detection belongs to, whatever the class; -1 for none."""
  owner = np.full(len(rows), -1)
  if not rows or not boxes:
    return owner
  library = coco_ap.matcher()
  places = sorted({row['image_id'] for row in (*rows, *boxes)})
  numbers = {place: n for n, place in enumerate(places, 1)}
  images = list(numbers.values())
  make = lambda found: coco_ap.index(
      [
          coco_ap.annotation(row | {'category_id': 1}, numbers, {1: 1})
          for row in found
      ],
      images,
      [1],
      library.COCO,
  )
  with contextlib.redirect_stdout(io.StringIO()):
    run = library.COCOeval(make(boxes), make(rows), 'bbox')
    run.params.iouThrs = np.array([0.5])
    run.params.areaRng = [[0, 1e10]]
    run.params.areaRngLbl = ['all']
    run.params.maxDets = [_MOST]
    run.evaluate()
  for entry in run.evalImgs:
    if entry is not None and len(entry['dtIds']):
      matched = np.asarray(entry['dtMatches'], float).reshape(-1).astype(int)
      owner[np.asarray(entry['dtIds'], int) - 1] = matched - 1
  return owner
