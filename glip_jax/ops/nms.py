"""Class-aware non-maximum suppression of fixed size.

Boxes are xyxy in pixels; overlaps use the inclusive-pixel convention. The
result is that of the greedy sequential algorithm, computed without its loop
over boxes: in sorted order, "a box is kept unless a kept better one overlaps
it" has exactly one solution, which repeated application of the rule reaches in
as many steps as the longest chain of suppressions, a handful in practice.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from glip_jax.ops import boxes as box_ops
from glip_jax.ops import forms


def non_max_suppression(
    boxes: Float[Array, 'n 4'],
    scores: Float[Array, 'n'],
    labels: Int[Array, 'n'],
    valid: Bool[Array, 'n'],
    *,
    threshold: float | Float[Array, ''],
    max_outputs: int,
    block_size: int = 512,
) -> Int[Array, 'k']:
  """Keeps the best boxes that no better kept box of their class overlaps.

  GLIP's `ml_nms`. Boxes are visited in blocks, best first: each block is
  compared with the boxes kept so far and with itself, so memory is that of a
  block squared, and the visit ends when `max_outputs` boxes are kept.

  Args:
    boxes: xyxy.
    scores: finite; of equal ones, the earlier box counts as better.
    labels: only boxes of equal label suppress each other.
    valid: False at boxes that are neither kept nor suppress.
    threshold: a box goes if its IoU with a kept one is above this.
    max_outputs: size k of the result.
    block_size: boxes visited at a time; changes the speed, not the result.

  Returns:
    Indices into `boxes` of those kept, best first, -1 at padding.
  """
  num_boxes = boxes.shape[0]
  if block_size > num_boxes or not forms.is_on('nms_blocks'):
    block_size = num_boxes
  order = jnp.argsort(jnp.where(valid, -scores, jnp.inf), stable=True)
  order = jnp.pad(order, (0, -num_boxes % block_size))
  in_range = jnp.arange(order.size) < num_boxes
  boxes, labels, valid = boxes[order], labels[order], valid[order] & in_range

  def unfinished(state):
    start, kept, _ = state
    # Invalid boxes are last, so a block that starts with one is all padding.
    more = valid[jnp.minimum(start, order.size - 1)] & (start < order.size)
    return more & (kept[-1] < 0)

  def visit(state):
    start, kept, num_kept = state
    block = start + jnp.arange(block_size)
    rivals = (boxes[block], labels[block])
    beaten = _suppresses((boxes[kept], labels[kept]), rivals, threshold)
    alive = valid[block] & ~jnp.any(beaten & (kept >= 0)[:, None], axis=0)
    keep = _greedy(_suppresses(rivals, rivals, threshold), alive)
    slot = jnp.where(keep, num_kept + jnp.cumsum(keep) - 1, max_outputs)
    kept = kept.at[slot].set(block, mode='drop')
    return start + block_size, kept, num_kept + jnp.sum(keep)

  # Made from an input, so that under `shard_map` they vary with the device as
  # the rest of the loop's state does.
  zero = valid[0].astype(order.dtype) * 0
  empty = jnp.full((max_outputs,), -1, order.dtype) + zero
  _, kept, _ = lax.while_loop(unfinished, visit, (zero, empty, zero))
  return jnp.where(kept >= 0, order[kept], -1)


def _suppresses(
    judges: tuple[Float[Array, 'n 4'], Int[Array, 'n']],
    rivals: tuple[Float[Array, 'm 4'], Int[Array, 'm']],
    threshold: float | Float[Array, ''],
) -> Bool[Array, 'n m']:
  """True where a judge, if kept, rules out a rival; each (boxes, labels)."""
  overlaps = box_ops.pairwise_iou(judges[0], rivals[0], offset=1.0)
  return (overlaps > threshold) & (judges[1][:, None] == rivals[1][None, :])


def _greedy(
    suppresses: Bool[Array, 'n n'], alive: Bool[Array, 'n']
) -> Bool[Array, 'n']:
  """The boxes that sequential suppression keeps, best first in both axes."""
  suppresses = jnp.triu(suppresses, k=1)

  def changed(state):
    keep, previous = state
    return jnp.any(keep != previous)

  def apply_rule(state):
    keep, _ = state
    beaten = jnp.any(suppresses & keep[:, None], axis=0)
    return alive & ~beaten, keep

  start = apply_rule((alive, alive))
  return lax.while_loop(changed, apply_rule, start)[0]
