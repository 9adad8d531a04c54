"""Adaptive training sample selection: which anchor learns which box.

Boxes are xyxy in pixels; overlaps use the inclusive-pixel convention.
Everything is dense over (ground-truth box, anchor), of static shape.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from glip_jax.ops import boxes as box_ops

# An anchor's centre must lie this far inside its box, in pixels.
_MIN_INSIDE = 0.01


def assign_atss(
    anchors: Float[Array, 'b r 4'],
    anchor_valid: Bool[Array, 'b r'],
    boxes: Float[Array, 'b m 4'],
    box_valid: Bool[Array, 'b m'],
    *,
    level_sizes: Sequence[tuple[int, int]],
    top_k: int = 9,
) -> Int[Array, 'b r']:
  """Matches anchors to ground-truth boxes.

  ATSS, Zhang et al. 2020, https://arxiv.org/abs/1912.02424, as in GLIP: the
  `top_k` anchors of each level whose centres are nearest to the box's are its
  candidates; positive are those whose IoU reaches the candidates' mean plus
  (unbiased) standard deviation and whose centre lies inside the box. An anchor
  claimed by several boxes goes to the one it overlaps most.

  Args:
    anchors: xyxy.
    anchor_valid: False at anchors that never are candidates. A level with
      fewer than `top_k` valid ones offers all of them.
    boxes: ground truth, xyxy; any finite values at padding rows.
    box_valid: False at boxes that never match: padding and crowds.
    level_sizes: (h, w) of each level; their areas sum to r.
    top_k: candidates per level and box.

  Returns:
    Index of the matched box of each anchor, -1 where there is none.
  """
  assign = functools.partial(
      _assign_one, level_sizes=tuple(level_sizes), top_k=top_k
  )
  return jax.vmap(assign)(anchors, anchor_valid, boxes, box_valid)


def _assign_one(
    anchors: Float[Array, 'r 4'],
    anchor_valid: Bool[Array, 'r'],
    boxes: Float[Array, 'm 4'],
    box_valid: Bool[Array, 'm'],
    *,
    level_sizes: tuple[tuple[int, int], ...],
    top_k: int,
) -> Int[Array, 'r']:
  """`assign_atss` of one image."""
  centres = box_ops.box_centres(anchors)
  candidates = _nearest(
      centres, anchor_valid, box_ops.box_centres(boxes), level_sizes, top_k
  )
  overlaps = box_ops.pairwise_iou(boxes, anchors, offset=1.0)
  offered = anchor_valid[candidates]
  candidate_overlaps = jnp.take_along_axis(overlaps, candidates, axis=1)
  threshold = _mean_plus_deviation(candidate_overlaps, offered)
  positive = (
      (candidate_overlaps >= threshold[:, None])
      & _inside(centres[candidates], boxes)
      & offered
      & box_valid[:, None]
  )
  rows = jnp.arange(boxes.shape[0])[:, None]
  claimed = (
      jnp.zeros(overlaps.shape, bool)
      .at[rows, candidates]
      .set(positive, unique_indices=True)
  )
  best = jnp.argmax(jnp.where(claimed, overlaps, -1.0), axis=0)
  return jnp.where(jnp.any(claimed, axis=0), best, -1).astype(jnp.int32)


def _nearest(
    centres: Float[Array, 'r 2'],
    anchor_valid: Bool[Array, 'r'],
    targets: Float[Array, 'm 2'],
    level_sizes: tuple[tuple[int, int], ...],
    top_k: int,
) -> Int[Array, 'm k']:
  """Indices of the valid anchors nearest to each target, level by level.

  Where a level has too few valid anchors, invalid ones fill the rows.
  """
  distances = jnp.sum((targets[:, None] - centres[None]) ** 2, axis=-1)
  closeness = jnp.where(anchor_valid, -distances, -jnp.inf)
  found, start = [], 0
  for height, width in level_sizes:
    count = height * width
    level = lax.slice_in_dim(closeness, start, start + count, axis=1)
    found.append(lax.top_k(level, min(top_k, count))[1] + start)
    start += count
  return jnp.concatenate(found, axis=1)


def _mean_plus_deviation(
    values: Float[Array, 'm k'], mask: Bool[Array, 'm k']
) -> Float[Array, 'm']:
  """Mean plus unbiased standard deviation of the masked values of each row."""
  count = jnp.sum(mask, axis=1)
  mean = jnp.sum(values, axis=1, where=mask) / jnp.maximum(count, 1)
  squares = jnp.sum((values - mean[:, None]) ** 2, axis=1, where=mask)
  return mean + jnp.sqrt(squares / jnp.maximum(count - 1, 1))


def _inside(
    points: Float[Array, 'm k 2'], boxes: Float[Array, 'm 4']
) -> Bool[Array, 'm k']:
  """True where a point lies inside its row's box, off the border."""
  boxes = boxes[:, None]
  margins = jnp.concatenate(
      [points - boxes[..., :2], boxes[..., 2:] - points], axis=-1
  )
  return jnp.min(margins, axis=-1) > _MIN_INSIDE
