"""Feature pyramid (arXiv 1612.03144) with the two extra levels P6 and P7."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glip_jax.ops import extents, resample

# Stride-2 convolutions pad one pixel on each side, not SAME.
_PAD = ((1, 1), (1, 1))


class FPN(nn.Module):
  """Maps at strides 8, 16, 32 to five levels P3..P7 of one width.

  P6 comes from P5 (not C5) and P7 from relu(P6), as in the reference, which
  also drops blocks of P3 and P4 in training (DropBlock, arXiv 1810.12890).

  Attributes:
    width: channels of every level.
    drop_block_rate: chance to drop a pixel's block; 0 switches it off.
    dtype: of the matrix products.
  """

  width: int = 256
  drop_block_rate: float = 0.3
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      maps: tuple[Float[Array, 'b _ _ _'], ...],
      extent: Int[Array, 'b 2'],
      *,
      train: bool = False,
  ) -> tuple[Float[Array, 'b _ _ d'], ...]:
    """Builds the pyramid.

    Args:
      maps: C3, C4, C5; each half the size of the one before.
      extent: (h, w) in pixels that each image spans, multiples of 32.
      train: True switches DropBlock on (rng 'dropout').

    Returns:
      P3, P4, P5, P6, P7; meaningless outside the extent.
    """
    drop = DropBlock(self.drop_block_rate, name='drop_block')
    cells = [extents.own_cells(extent, 2**i) for i in range(3, 8)]
    levels, above = [], None
    for level, x in reversed(list(zip((3, 4, 5), maps, strict=True))):
      x = nn.Conv(self.width, (1, 1), dtype=self.dtype, name=f'inner{level}')(x)
      if above is not None:
        x = x + resample.upsample_nearest(above)
      # Blocks are dropped on the way out only, never on the way down.
      own = cells[level - 3]
      dropped = x if above is None else drop(x, own, train=train)
      levels.insert(0, self._conv(dropped, own, f'layer{level}'))
      above = x
    levels.append(self._conv(levels[-1], cells[2], 'p6', stride=2))
    levels.append(self._conv(nn.relu(levels[-1]), cells[3], 'p7', stride=2))
    for level, x in enumerate(levels, start=3):
      self.sow('intermediates', f'level{level}', x)
    return tuple(levels)

  def _conv(
      self,
      x: Float[Array, 'b h w d'],
      cells: Int[Array, 'b 2'],
      name: str,
      stride: int = 1,
  ) -> Float[Array, 'b p q e']:
    return nn.Conv(
        self.width,
        (3, 3),
        strides=(stride, stride),
        padding=_PAD,
        dtype=self.dtype,
        name=name,
    )(extents.zero_outside(x, cells))


class DropBlock(nn.Module):
  """Drops square blocks of a map, the same ones in every channel."""

  rate: float
  block: int = 3

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b h w d'],
      cells: Int[Array, 'b 2'],
      *,
      train: bool,
  ) -> Float[Array, 'b h w d']:
    if not train or not self.rate:
      return x
    key = self.make_rng('dropout')
    # In float32: a half-precision sum loses count of the places.
    seeds = jax.random.bernoulli(
        key, self.rate / self.block**2, (*x.shape[:3], 1)
    ).astype(jnp.float32)
    dropped = nn.max_pool(seeds, (self.block, self.block), padding='SAME')
    # What is kept makes up for what is dropped, padding aside.
    own = extents.inside(cells, x.shape[1:3])[..., None].astype(jnp.float32)
    keep = (1 - dropped) * own
    keep *= own.sum() / jnp.maximum(keep.sum(), 1)
    return x * keep.astype(x.dtype)
