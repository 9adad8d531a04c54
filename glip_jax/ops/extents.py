"""Which cells of a padded map belong to the image.

Every image of a batch carries its *extent*, the (h, w) in pixels that the
network treats as the image; what lies beyond it in the canvas is padding. At
stride s the image owns the first ceil(extent / s) rows and columns of a map:
the cells that it has when it is alone. The operations that look further than
one cell go through this file, so that an answer depends neither on the canvas
nor on the batch.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax.ops import precision


def own_cells(extent: Int[Array, 'b 2'], stride: int) -> Int[Array, 'b 2']:
  """(rows, columns) of a map at a stride that each image owns.

  Args:
    extent: (h, w) in pixels; of padding rows of a batch it may be 0.
    stride: pixels per cell.

  Returns:
    ceil(extent / stride), at least 1, so that no mean is over nothing.
  """
  return jnp.maximum(-(-extent // stride), 1)


def inside(
    cells: Int[Array, 'b 2'], size: Sequence[int]
) -> Bool[Array, 'b h w']:
  """True at the cells of a map of (h, w) = `size` that an image owns."""
  rows = jnp.arange(size[0]) < cells[:, :1]
  columns = jnp.arange(size[1]) < cells[:, 1:]
  return rows[:, :, None] & columns[:, None, :]


def zero_outside(
    x: Float[Array, 'b h w d'], cells: Int[Array, 'b 2']
) -> Float[Array, 'b h w d']:
  """The map with zeros at the cells that its image does not own.

  Biases have made them non-zero; alone, an image has the zero padding of a
  convolution there.
  """
  return jnp.where(inside(cells, x.shape[1:3])[..., None], x, 0)


def own_mean(
    x: Float[Array, 'b h w d'], cells: Int[Array, 'b 2']
) -> Float[Array, 'b d']:
  """Mean over the cells that each image owns, computed in float32 at least."""
  total = jnp.sum(
      x,
      axis=(1, 2),
      dtype=precision.widened(x.dtype),
      where=inside(cells, x.shape[1:3])[..., None],
  )
  return total / jnp.prod(cells, axis=1)[:, None]
