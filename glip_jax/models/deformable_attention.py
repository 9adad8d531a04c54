"""Multi-scale deformable attention (arXiv 2010.04159).

A query reads few points of every level, at places that it chooses itself. The
reading is `ops.deform_attention`; here are its projections.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from glip_jax.models import linear
from glip_jax.ops import deform_attention, precision

_init = nn.initializers.xavier_uniform()


class DeformableAttention(nn.Module):
  """Queries that gather from points of a pyramid.

  Attributes:
    num_heads: divides the width.
    num_points: points that a head reads of every level.
    dtype: of the matrix products.
  """

  num_heads: int
  num_points: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      query: Float[Array, 'b q d'],
      centre: Float[Array, 'b q l 2'],
      reach: Float[Array, 'b q #l 2'],
      memory: Float[Array, 'b n d'],
      inside: Bool[Array, 'b n'],
      sizes: Sequence[tuple[int, int]],
  ) -> Float[Array, 'b q d']:
    """Gathers.

    Args:
      query: what chooses points and their weights.
      centre: (x, y) that offsets start from, in cells of each level's map; the
        middle of the first cell is at 0.
      reach: cells that an offset of one is long.
      memory: positions of all levels, one level after the other.
      inside: False at positions that read as zero.
      sizes: (h, w) of each level's map.
    """
    b, q, d = query.shape
    heads, points, levels = self.num_heads, self.num_points, len(sizes)
    value = self._dense(d, 'value', _init)(memory)
    value = jnp.where(inside[..., None], value, 0)
    shape = (b, q, heads, levels, points)
    offset = self._dense(
        heads * levels * points * 2,
        'offsets',
        nn.initializers.zeros,
        bias_init=_directions(heads, levels, points),
    )(query).reshape(*shape, 2)
    weight = self._dense(
        heads * levels * points, 'weights', nn.initializers.zeros
    )(query).reshape(b, q, heads, levels * points)
    weight = jax.nn.softmax(precision.widen(weight), axis=-1)
    place = centre[:, :, None, :, None]
    place = place + precision.widen(offset) * reach[:, :, None, :, None]
    y = deform_attention.deform_attention(
        value.reshape(b, -1, heads, d // heads),
        place,
        weight.reshape(shape),
        tuple(sizes),
    )
    y = y.astype(self.dtype).reshape(b, q, d)
    return self._dense(d, 'out', _init)(y)

  def _dense(self, width: int, name: str, init: Any, **options: Any):
    return linear.Dense(
        width, dtype=self.dtype, kernel_init=init, name=name, **options
    )


def _directions(heads: int, levels: int, points: int) -> Any:
  """Offsets at the start: every head looks its own way, points ever further."""
  angle = np.arange(heads) * (2 * math.pi / heads)
  way = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
  way /= np.abs(way).max(axis=-1, keepdims=True)
  steps = np.arange(1, points + 1)[:, None]
  bias = np.broadcast_to(
      way[:, None, None] * steps, (heads, levels, points, 2)
  ).reshape(-1)
  return lambda key, shape, dtype=jnp.float32: jnp.asarray(bias, dtype)
