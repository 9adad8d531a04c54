"""Anchors of the dense head: one square at each cell of each pyramid level.

Sizes are (h, w) in cells, strides and extents in pixels; boxes are xyxy in the
inclusive-pixel convention (width = x2 - x1 + 1). Regions are ordered as
everywhere: one level after the other, rows first.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax.ops import extents

STRIDES = (8, 16, 32, 64, 128)


def pyramid_sizes(
    height: int, width: int, *, strides: Sequence[int] = STRIDES
) -> tuple[tuple[int, int], ...]:
  """Returns (h, w) in cells of each level of a canvas given in pixels."""
  return tuple((-(-height // s), -(-width // s)) for s in strides)


def level_anchors(
    size: tuple[int, int], stride: int, *, anchor_scale: float = 8.0
) -> Float[Array, 'r 4']:
  """The anchors of one level.

  The first anchor is centred on the middle of the first `stride` pixels, so
  at stride 8 and scale 8 it is [-28, -28, 35, 35].

  Args:
    size: (h, w) of the level in cells.
    stride: pixels per cell.
    anchor_scale: side of the anchors in strides.

  Returns:
    float32 boxes, rows first.
  """
  rows, columns = jnp.meshgrid(
      jnp.arange(size[0]), jnp.arange(size[1]), indexing='ij'
  )
  corners = jnp.stack([columns, rows] * 2, axis=-1).reshape(-1, 4) * stride
  centre = (stride - 1) / 2
  half = (anchor_scale * stride - 1) / 2
  cell = jnp.array(
      [centre - half, centre - half, centre + half, centre + half], jnp.float32
  )
  return corners.astype(jnp.float32) + cell


def pyramid_anchors(
    level_sizes: Sequence[tuple[int, int]],
    *,
    strides: Sequence[int] = STRIDES,
    anchor_scale: float = 8.0,
) -> Float[Array, 'r 4']:
  """The anchors of all levels, concatenated.

  Args:
    level_sizes: (h, w) of each level in cells.
    strides: pixels per cell of each level.
    anchor_scale: side of the anchors in strides; 8 gives GLIP's 64 to 1024
      pixels, less suits images that are smaller than its 800 pixels.

  Returns:
    float32 boxes.

  Raises:
    ValueError: if there are not as many strides as levels.
  """
  return jnp.concatenate([
      level_anchors(size, stride, anchor_scale=anchor_scale)
      for size, stride in zip(level_sizes, strides, strict=True)
  ])


def anchors_inside(
    extent: Int[Array, 'b 2'],
    level_sizes: Sequence[tuple[int, int]],
    *,
    strides: Sequence[int] = STRIDES,
) -> Bool[Array, 'b r']:
  """Which anchors belong to each image rather than to its padding.

  Args:
    extent: (h, w) in pixels that the network treats as the image.
    level_sizes: (h, w) of each level of the canvas in cells.
    strides: pixels per cell of each level.

  Returns:
    True where the cell is among the first ceil(extent / stride) rows and
    columns of its level: the cells that the image has when it is alone.

  Raises:
    ValueError: if there are not as many strides as levels.
  """
  masks = []
  for size, stride in zip(level_sizes, strides, strict=True):
    inside = extents.inside(extents.own_cells(extent, stride), size)
    masks.append(inside.reshape(inside.shape[0], -1))
  return jnp.concatenate(masks, axis=1)
