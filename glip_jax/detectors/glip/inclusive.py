"""Boxes that end at their last pixel, as GLIP counts them.

Everywhere else boxes reach from edge to edge. GLIP learned from annotations
whose boxes end an *original* pixel before the edge, so that is what these two
take off and give back: `scale`, the (y, x) factor from original to input
pixels. (Its anchors, box coder and overlaps then count widths as x2 - x1 + 1,
in input pixels.)
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def from_edges(
    boxes: Float[Array, 'b m 4'], scale: Float[Array, 'b 2']
) -> Float[Array, 'b m 4']:
  """From boxes that end at an edge to boxes that end at the last pixel.

  Args:
    boxes: xyxy, in input pixels.
    scale: `Batch.scale`.

  Returns:
    An original pixel less at the right and bottom; a box that is thinner than
    a pixel ends where it starts.
  """
  first, last = boxes[..., :2], boxes[..., 2:] - scale[:, None, ::-1]
  return jnp.concatenate([first, jnp.maximum(first, last)], axis=-1)


def to_edges(
    boxes: Float[Array, 'b k 4'], scale: Float[Array, 'b 2']
) -> Float[Array, 'b k 4']:
  """From boxes that end at the last pixel to boxes that end at an edge.

  Args:
    boxes: xyxy, in input pixels.
    scale: `Batch.scale`.

  Returns:
    An original pixel more at the right and bottom.
  """
  first, last = boxes[..., :2], boxes[..., 2:] + scale[:, None, ::-1]
  return jnp.concatenate([first, last], axis=-1)
