"""One list of detections of several views of an image.

The rules of the original GLIP's test-time augmentation (its box_aug.py). Each
class is merged by itself, and what it does to equal scores is stable: of two
the first of the list leads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from glip_jax.fields import field

# Of soft suppression: exp(-iou ** 2 / _SIGMA).
_SIGMA = 0.95


@dataclasses.dataclass(frozen=True)
class Merging:
  """How detections of several views become one list."""

  rule: str = field(
      'nms',
      'suppression (`nms`); box voting: the mean of what overlaps, weighted by'
      ' scores (`vote`), and what it was made of with lower scores'
      ' (`soft_vote`); lower scores for what overlaps (`soft_nms`)',
      choices=('nms', 'vote', 'soft_vote', 'soft_nms'),
  )
  min_iou: float = field(
      0.6, 'overlap from which boxes are of one object', above=0, most=1
  )
  min_score: float = field(
      0.05,
      'of what `soft_vote` lowers; of `soft_nms` 0.2 was published',
      least=0,
      most=1,
  )
  most: int = field(1000, 'detections of an image', least=1)


@dataclasses.dataclass(frozen=True)
class Found:
  """Detections of one image.

  Attributes:
    boxes: xyxy.
    scores: of each.
    labels: of each.
  """

  boxes: Float[np.ndarray, 'n 4']
  scores: Float[np.ndarray, n]
  labels: Int[np.ndarray, n]

  def __getitem__(self, rows: np.ndarray) -> Found:
    return Found(self.boxes[rows], self.scores[rows], self.labels[rows])


def merge(found: Found, how: Merging) -> Found:
  """Merges the detections of all views of an image.

  Args:
    found: in pixels of one image, in any order.
    how: the rule.

  Returns:
    By label, and of each in the order that the rule gives; more than
    `how.most` only where the last of them have equal scores.
  """
  rule, parts = _RULES[how.rule], []
  for label in np.unique(found.labels):
    own = found[found.labels == label]
    boxes, scores = rule(own.boxes, own.scores, how)
    parts.append(Found(boxes, scores, np.full(len(scores), label)))
  if not parts:
    return found
  names = [field.name for field in dataclasses.fields(Found)]
  whole = Found(
      *(np.concatenate([getattr(p, n) for p in parts]) for n in names)
  )
  if len(whole.scores) <= how.most:
    return whole
  return whole[whole.scores >= np.sort(whole.scores)[-how.most]]


_Rule = Callable[
    [Float[np.ndarray, 'n 4'], Float[np.ndarray, 'n'], Merging],
    tuple[Float[np.ndarray, 'k 4'], Float[np.ndarray, 'k']],
]


def _suppress(boxes, scores, how):
  """What no better box covers."""
  left, kept = _best_first(scores), []
  while len(left):
    kept.append(left[0])
    overlap = _iou(boxes[left[0]], boxes[left[1:]], 0)
    left = left[1:][overlap <= how.min_iou]
  return boxes[kept], scores[kept]


def _vote(boxes, scores, how):
  """The mean of each group of boxes, with the score of its best."""
  made = [_fused(boxes[g], scores[g]) for g, _ in _groups(boxes, scores, how)]
  return np.stack([box for box, _ in made]), np.array([s for _, s in made])


def _vote_softly(boxes, scores, how):
  """As `_vote`, and the members of each group for what they do not share."""
  if len(scores) <= 1:
    return boxes, scores
  new_boxes, new_scores = [], []
  for group, overlap in _groups(boxes, scores, how):
    box, score = _fused(boxes[group], scores[group])
    new_boxes.append(box[None])
    new_scores.append([score])
    if len(group) > 1:
      lowered = scores[group] * (1 - overlap)
      shown = lowered >= how.min_score
      new_boxes.append(boxes[group][shown])
      new_scores.append(lowered[shown])
  boxes, scores = np.concatenate(new_boxes), np.concatenate(new_scores)
  order = _best_first(scores)
  return boxes[order], scores[order]


def _suppress_softly(boxes, scores, how):
  """All boxes, with less score the more a better one covers them."""
  left, scores, kept = np.arange(len(scores)), np.array(scores), []
  while len(left):
    best = left[scores[left].argmax()]
    kept.append(best)
    left = left[left != best]
    overlap = _iou(boxes[best], boxes[left], 1)
    scores[left] *= np.exp(-(overlap**2) / _SIGMA)
    left = left[scores[left] >= how.min_score]
  return boxes[kept], scores[kept]


_RULES: dict[str, _Rule] = {
    'nms': _suppress,
    'vote': _vote,
    'soft_vote': _vote_softly,
    'soft_nms': _suppress_softly,
}


def _best_first(scores: Float[np.ndarray, n]) -> Int[np.ndarray, n]:
  return np.argsort(-scores, kind='stable')


def _groups(boxes, scores, how):
  """Rows of each group, the best first, and their overlap with that one."""
  left = _best_first(scores)
  while len(left):
    overlap = _iou(boxes[left[0]], boxes[left], 1)
    overlap[0] = 1.0
    is_one = overlap >= how.min_iou
    yield left[is_one], overlap[is_one]
    left = left[~is_one]


def _fused(boxes, scores):
  """The mean of boxes weighted by scores, and the best score."""
  if len(scores) == 1:
    return boxes[0], scores[0]
  weights = scores.astype(np.float64)
  box = (boxes * weights[:, None]).sum(0) / weights.sum()
  return box.astype(boxes.dtype), scores.max()


def _iou(box, boxes, extra):
  """Overlap of one box with others; sides are longer by `extra`."""
  low = np.maximum(box[:2], boxes[:, :2])
  high = np.minimum(box[2:], boxes[:, 2:])
  inter = np.prod(np.maximum(high - low + extra, 0), axis=-1)
  area = lambda b: np.prod(b[..., 2:] - b[..., :2] + extra, axis=-1)
  return inter / (area(box) + area(boxes) - inter)
