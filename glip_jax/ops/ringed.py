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
from jaxtyping import Array, Bool, Float, Int


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
    inside: Bool[Array, '*n'],
    width: int | Int[Array, '#*n'],
) -> tuple[Int[Array, '*n'], Float[Array, '*n 4']]:
  """Where points read a ringed map, and the weights of what they read.

  Args:
    y: points in cells.
    x: likewise.
    scale: weight of each point.
    inside: False where a point reads zero, and neither it nor its weight has a
      gradient; so it must be unless -1 <= y < rows and -1 <= x < columns.
    width: rows of the table from a cell to the one below it.

  Returns:
    The row of the top-left corner, counted from the map's first one, and the
    weights of the four corners: top-left, top-right, bottom-left, bottom-right.
  """
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


def steps(width: Int[Array, '#b #n']) -> tuple[int | Int[Array, '#b #n'], ...]:
  """From the top-left corner's row to the rows of all four corners."""
  return 0, 1, width, width + 1


def read(
    rows: Float[Array, 'b r d'],
    index: Int[Array, 'b n'],
    width: Int[Array, '#b #n'],
) -> list[Float[Array, 'b n d']]:
  """The four corners of each point, unchecked.

  Args:
    rows: a table.
    index: row of the top-left corner.
    width: rows from a corner to the one below it.
  """
  take = jax.vmap(lambda t, i: t.at[i].get(mode='promise_in_bounds'))
  return [take(rows, index + step) for step in steps(width)]


def interpolate(
    corners: Sequence[Float[Array, 'b n d']], weight: Float[Array, 'b n 4']
) -> Float[Array, 'b n d']:
  """Weighted sum of the corners."""
  return sum(v * weight[..., c, None] for c, v in enumerate(corners))


def add(
    rows: Float[Array, 'b r d'],
    index: Int[Array, 'b n'],
    values: Float[Array, 'b n d'],
) -> Float[Array, 'b r d']:
  """A table with values added to some of its rows, unchecked."""
  add_rows = lambda t, i, v: t.at[i].add(v, mode='promise_in_bounds')
  return jax.vmap(add_rows)(rows, index, values)
