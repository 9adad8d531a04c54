"""Maps as rows of one table, each with a ring of zeros around it.

A bilinear sample reads four neighbouring rows; thanks to the ring, corners that
lie outside a map need no test. Points are in cells: the centre of cell i is at
i. A map of h by w cells has (h + 2) * (w + 2) rows, so that the row below
another is `pitch(size)` rows further on.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def pitch(size: tuple[int, int]) -> int:
  """Rows of the table from a cell to the one below it."""
  return size[1] + 2


def num_rows(size: tuple[int, int]) -> int:
  """Rows of a map with its ring."""
  return (size[0] + 2) * pitch(size)


def starts(sizes: Sequence[tuple[int, int]]) -> list[int]:
  """First row of each map, and behind the last one the end of the table."""
  return [0, *np.cumsum([num_rows(size) for size in sizes]).tolist()]


def table(maps: Sequence[Float[Array, 'b _ _ d']]) -> Float[Array, 'b r d']:
  """The rows of maps, which stand one after the other."""
  return jnp.concatenate([_rows(x) for x in maps], axis=1)


def _rows(x: Float[Array, 'b h w d']) -> Float[Array, 'b r d']:
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return x.reshape(x.shape[0], -1, x.shape[-1])


def corners(
    y: Float[Array, '*n'],
    x: Float[Array, '*n'],
    scale: Float[Array, '*n'],
    own: tuple[Int[Array, '#*n'], Int[Array, '#*n']],
    width: int | Int[Array, '#*n'],
) -> tuple[Int[Array, '*n'], Float[Array, '*n 4']]:
  """Where points read a ringed map, and the weights of what they read.

  Args:
    y: points in cells.
    x: likewise.
    scale: weight of each point.
    own: (rows, columns) of cells that are not zero. A point that is a cell or
      more outside reads zero, and neither it nor its weight has a gradient.
    width: rows of the table from a cell to the one below it.

  Returns:
    The row of the top-left corner, counted from the map's first one, and the
    weights of the four corners: top-left, top-right, bottom-left, bottom-right.
  """
  inside = (y > -1) & (y < own[0]) & (x > -1) & (x < own[1])
  # A point outside reads the ring's first row with weight zero; `where` keeps
  # its gradient exactly zero too.
  y, x = jnp.where(inside, y, -1.0), jnp.where(inside, x, -1.0)
  top, left = jnp.floor(y), jnp.floor(x)
  fy, fx = y - jax.lax.stop_gradient(top), x - jax.lax.stop_gradient(left)
  weight = jnp.stack(
      [(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], axis=-1
  )
  weight = weight * jnp.where(inside, scale, 0.0)[..., None]
  index = (top.astype(jnp.int32) + 1) * width + left.astype(jnp.int32) + 1
  return index, weight
