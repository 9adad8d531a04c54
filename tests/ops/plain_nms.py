"""Greedy suppression as a loop over boxes, best first."""

import jax
import jax.numpy as jnp

from glip_jax.ops import boxes as box_ops


def non_max_suppression(
    boxes, scores, labels, valid, *, threshold, max_outputs
):
  """See `glip_jax.ops.nms`."""
  boxes, labels, valid = map(jnp.asarray, (boxes, labels, valid))
  order = jnp.argsort(jnp.where(valid, -scores, jnp.inf), stable=True)
  boxes, labels, valid = boxes[order], labels[order], valid[order]
  overlaps = box_ops.pairwise_iou(boxes, boxes, offset=1.0) > threshold
  overlaps &= labels[:, None] == labels[None, :]

  def visit(i, keep):
    beaten = jnp.any(overlaps[:, i] & keep & (jnp.arange(len(keep)) < i))
    return keep.at[i].set(valid[i] & ~beaten)

  keep = jax.lax.fori_loop(0, len(order), visit, jnp.zeros(len(order), bool))
  slot = jnp.where(keep, jnp.cumsum(keep) - 1, max_outputs)
  return jnp.full(max_outputs, -1).at[slot].set(order, mode='drop')
