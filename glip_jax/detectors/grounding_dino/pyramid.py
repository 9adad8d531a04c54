"""The pyramid that queries read: where its cells lie, and how it is made.

Two sizes rule it. An image's *extent* is what the network computes on: a map
at stride s has ceil(extent / s) cells of it. Its *size* is what it is: cell i
of n is inside where floor(i * extent / n) < size, the reference's nearest
resizing of its mask. Alone and unpadded both are the same.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from glip_jax.ops import extents, positions

# Of the waves that tell positions apart; the reference's.
_TEMPERATURE = 20.0


@struct.dataclass
class Geometry:
  """Where the cells of a pyramid lie, levels one after the other.

  Attributes:
    sizes: (h, w) of each level's map, static.
    cells: int[b 2] (rows, columns) of each level that an image owns.
    valid: int[b 2] those that are inside the image.
  """

  sizes: tuple[tuple[int, int], ...] = struct.field(pytree_node=False)
  cells: tuple[Array, ...]
  valid: tuple[Array, ...]

  @classmethod
  def of(
      cls,
      sizes: Sequence[tuple[int, int]],
      stride: int,
      size: Int[Array, 'b 2'],
      extent: Int[Array, 'b 2'],
  ) -> 'Geometry':
    """The geometry of maps, the first of a stride, each next of twice it.

    Args:
      sizes: (h, w) of each map.
      stride: of the first map.
      size: (h, w) of each image in pixels.
      extent: (h, w) that the network treats as the image.
    """
    extent = jnp.maximum(jnp.asarray(extent), 1)
    strides = [stride * 2**i for i in range(len(sizes))]
    cells = tuple(extents.own_cells(extent, s) for s in strides)
    size = jnp.clip(jnp.asarray(size), 1, extent)
    valid = tuple(-(-size * own // extent) for own in cells)
    return cls(tuple(tuple(s) for s in sizes), cells, valid)

  @property
  def level(self) -> np.ndarray:
    """int[n] the level of each position."""
    counts = [h * w for h, w in self.sizes]
    return np.repeat(np.arange(len(counts)), counts)

  @property
  def place(self) -> np.ndarray:
    """int[n 2] (x, y) of each position in its map."""
    grids = [np.mgrid[:h, :w][::-1].reshape(2, -1).T for h, w in self.sizes]
    return np.concatenate(grids)

  def within(self, cells: Sequence[Int[Array, 'b 2']]) -> Bool[Array, 'b n']:
    """True at the first rows and columns of each level."""
    masks = [
        extents.inside(own, size).reshape(own.shape[0], -1)
        for own, size in zip(cells, self.sizes, strict=True)
    ]
    return jnp.concatenate(masks, axis=1)

  @property
  def valid_xy(self) -> Float[Array, 'b l 2']:
    """(columns, rows) of each level that are inside the image."""
    return jnp.stack([own[:, ::-1] for own in self.valid], axis=1).astype(
        jnp.float32
    )

  @property
  def centres(self) -> Float[Array, 'b n 2']:
    """(x, y) of each position's middle, in [0, 1] inside the image."""
    own = self.valid_xy[:, self.level]
    return (jnp.asarray(self.place, jnp.float32) + 0.5) / own


class Pyramid(nn.Module):
  """Maps of a backbone, brought to one width, and one coarser map.

  Attributes:
    width: channels of every level.
    num_groups: of the GroupNorms.
    dtype: of the matrix products.
  """

  width: int
  num_groups: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      maps: tuple[Float[Array, 'b _ _ _'], ...],
      stride: int,
      extent: Int[Array, 'b 2'],
  ) -> tuple[Float[Array, 'b _ _ d'], ...]:
    """Builds it.

    Args:
      maps: each half the size of the one before.
      stride: of the first map.
      extent: (h, w) in pixels that each image spans.

    Returns:
      A level for each map, and one of the last map at twice its stride;
      meaningless outside the extent.
    """
    levels = []
    for i, x in enumerate(maps):
      own = extents.own_cells(extent, stride * 2**i)
      levels.append(self._project(x, own, i))
    x = extents.zero_outside(maps[-1], own)
    own = extents.own_cells(extent, stride * 2 ** len(maps))
    levels.append(self._project(x, own, len(maps), coarser=True))
    for i, x in enumerate(levels):
      self.sow('intermediates', f'level{i}', x)
    return tuple(levels)

  def _project(
      self,
      x: Float[Array, 'b h w e'],
      cells: Int[Array, 'b 2'],
      level: int,
      *,
      coarser: bool = False,
  ) -> Float[Array, 'b p q d']:
    """One level: a convolution and a norm over the cells of the image."""
    side, stride, pad = (3, 2, (1, 1)) if coarser else (1, 1, (0, 0))
    y = nn.Conv(
        self.width,
        (side, side),
        strides=stride,
        padding=(pad, pad),
        dtype=self.dtype,
        kernel_init=nn.initializers.xavier_uniform(),
        name=f'conv{level}',
    )(x)
    inside = extents.inside(cells, y.shape[1:3])[..., None]
    return nn.GroupNorm(
        self.num_groups,
        epsilon=1e-5,
        use_fast_variance=False,
        dtype=self.dtype,
        name=f'norm{level}',
    )(y, mask=jnp.broadcast_to(inside, y.shape))


def waves(geometry: Geometry, width: int) -> list[Float[Array, 'b h w d']]:
  """Sine waves of the places in each level's map."""
  return [
      positions.sine_grid(own, size, width, temperature=_TEMPERATURE)
      for own, size in zip(geometry.valid, geometry.sizes, strict=True)
  ]


def flat(levels: Sequence[Float[Array, 'b _ _ d']]) -> Float[Array, 'b n d']:
  """Positions of all levels, one level after the other, rows first."""
  rows = [x.reshape(x.shape[0], -1, x.shape[-1]) for x in levels]
  return jnp.concatenate(rows, axis=1)
