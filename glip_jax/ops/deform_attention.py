"""The core of multi-scale deformable attention (arXiv 2010.04159).

Every query of every head reads a few points of each map of a pyramid,
bilinearly, and adds them up by weights. Heads are images of their own to
`deform_taps`, which reads the maps; a point of a map is a tap.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glip_jax.ops import deform_taps, precision, ringed


def deform_attention(
    values: Float[Array, 'b n heads d'],
    points: Float[Array, 'b q heads l p 2'],
    weights: Float[Array, 'b q heads l p'],
    level_sizes: Sequence[tuple[int, int]],
) -> Float[Array, 'b q heads d']:
  """Sum over levels and points of weight times bilinear sample.

  This is equation 3 of the paper without its projections. As in the paper's
  kernel, corners outside a map read zero, and a point that is a cell or more
  outside has no gradient.

  Args:
    values: cells of all maps, row by row, the maps one after the other; zero
      where a cell is padding.
    points: (x, y) in cells of the level's map; the centre of cell i is at i.
    weights: of each point; usually a softmax over all points of a head.
    level_sizes: (rows, columns) of each map.

  Returns:
    The sums, float32; values are read in their own dtype.

  Raises:
    ValueError: the maps do not have as many cells as there are values, or not
      every map has its points.
  """
  _check(values, points, level_sizes)
  index, weight = _corners(points, weights, level_sizes)
  num_taps, _, num_queries = index.shape
  pitches = [ringed.pitch(size) for size in level_sizes]
  pitch = np.repeat(np.int32(pitches), num_taps // len(pitches))
  out = deform_taps.scan_taps(
      _table(values, level_sizes),
      index,
      jnp.asarray(np.broadcast_to(pitch[:, None], (num_taps, num_queries))),
      weight,
      None,
      (num_queries,),
  )
  b, heads = values.shape[0], values.shape[2]
  return jnp.moveaxis(out.reshape(b, heads, num_queries, -1), 1, 2)


def _check(values, points, level_sizes) -> None:
  """Raises a ValueError if values or points do not fit the maps."""
  num_cells = sum(h * w for h, w in level_sizes)
  if values.shape[1] != num_cells:
    raise ValueError(
        f'{values.shape[1]} values do not fit maps of sizes'
        f' {list(level_sizes)}: they must have one row per cell, {num_cells}'
    )
  if points.shape[3] != len(level_sizes):
    raise ValueError(
        f'points of {points.shape[3]} levels do not fit'
        f' {len(level_sizes)} maps: each map must have its points'
    )


def _table(
    values: Float[Array, 'b n heads d'], sizes: Sequence[tuple[int, int]]
) -> Float[Array, 'm r d']:
  """A table of each head of each image."""
  b, _, heads, d = values.shape
  values = jnp.moveaxis(values, 2, 1).reshape(b * heads, -1, d)
  ends = np.cumsum([h * w for h, w in sizes])[:-1]
  parts = jnp.split(values, ends, axis=1)
  return ringed.table([
      part.reshape(b * heads, *size, d)
      for part, size in zip(parts, sizes, strict=True)
  ])


def _corners(points, weights, sizes):
  """Rows 't m q' and weights 't m q 4' of the corners of each tap."""
  b, q, heads, _, _ = weights.shape
  points = precision.widen(points)
  x, y, scale = (
      jnp.transpose(v, (3, 4, 0, 2, 1)).reshape(len(sizes), -1, b * heads, q)
      for v in (points[..., 0], points[..., 1], precision.widen(weights))
  )
  of_level = lambda numbers: jnp.int32(numbers)[:, None, None, None]
  rows, columns = (of_level(side) for side in zip(*sizes, strict=True))
  width = of_level([ringed.pitch(size) for size in sizes])
  index, weight = ringed.corners(y, x, scale, (rows, columns), width)
  index = index + of_level(ringed.starts(sizes)[:-1])
  return index.reshape(-1, b * heads, q), weight.reshape(-1, b * heads, q, 4)
