"""DyConv: the dynamic head's convolution of a pyramid (arXiv 2106.08322)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glip_jax.models import linear
from glip_jax.ops import deform_conv, extents, precision, resample

# The convolutions of a DyConv, by what they read.
BRANCHES = ('coarser', 'same', 'finer')
_COARSER, _SAME, _FINER = range(3)

Levels = tuple[Float[Array, 'b _ _ d'], ...]
Cells = tuple[Int[Array, 'b 2'], ...]


class DyConv(nn.Module):
  """Scale-aware, spatially deformable, task-aware convolution of a pyramid.

  Every level gathers from itself, from the finer level (stride 2) and from the
  coarser one (upsampled), all three sampled at the offsets that the level
  itself predicts. The branches are weighed by an attention over scales,
  averaged, and passed through DyReLU. Two behaviours of the reference that
  released weights depend on: the branches are averaged, not summed; and the
  coarser map reads the offsets as flat memory (`deform_conv.reread_flat`).

  Attributes:
    width: channels in and out.
    num_groups: of the GroupNorm after each convolution.
    dtype: of the matrix products.
  """

  width: int
  num_groups: int = 16
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, levels: Levels, cells: Cells) -> Levels:
    """Convolves a pyramid.

    Args:
      levels: finest first.
      cells: (rows, columns) of each level that belong to each image.

    Returns:
      Levels of the same shapes; meaningless at cells outside.
    """
    levels = tuple(map(extents.zero_outside, levels, cells))
    offset = nn.Conv(
        27,
        (3, 3),
        padding=((1, 1), (1, 1)),
        kernel_init=nn.initializers.zeros,
        dtype=self.dtype,
        name='offset',
    )
    attention = ScaleAttention(dtype=self.dtype, name='scale_attention')
    activation = DyReLU(dtype=self.dtype, name='dyrelu')
    readings, owners = [], []
    for i, x in enumerate(levels):
      raw = precision.widen(offset(x))
      own = _readings(
          levels, cells, i, raw[..., :18], jax.nn.sigmoid(raw[..., 18:])
      )
      readings += own
      owners += [i] * len(own)
    branches = DeformConvNorm(
        self.width, self.num_groups, dtype=self.dtype, name='convs'
    )(levels, cells, readings)
    outputs = []
    for i, x in enumerate(levels):
      own = [
          y
          if reading.kernel != _COARSER
          else resample.upsample_bilinear(
              y, x.shape[1:3], cells[i + 1], cells[i]
          )
          for y, reading, owner in zip(branches, readings, owners, strict=True)
          if owner == i
      ]
      weighed = [attention(y, cells[i]) for y in own]
      outputs.append(activation(sum(weighed) / len(own), cells[i]))
    return tuple(outputs)


def _readings(
    levels: Levels,
    cells: Cells,
    i: int,
    offsets: Float[Array, 'b h w 18'],
    modulation: Float[Array, 'b h w 9'],
) -> list[deform_conv.Reading]:
  """What level i reads: itself, the finer level, the coarser level."""
  readings = [deform_conv.Reading(i, offsets, modulation, 1, _SAME)]
  if i > 0:
    readings.append(deform_conv.Reading(i - 1, offsets, modulation, 2, _FINER))
  if i + 1 < len(levels):
    small = levels[i + 1].shape[1:3]
    readings.append(
        deform_conv.Reading(
            i + 1,
            deform_conv.reread_flat(offsets, small, cells[i], cells[i + 1]),
            deform_conv.reread_flat(modulation, small, cells[i], cells[i + 1]),
            1,
            _COARSER,
        )
    )
  return readings


class DeformConvNorm(nn.Module):
  """The three modulated deformable convolutions, each with its GroupNorm.

  Attributes:
    width: channels out.
    num_groups: of the GroupNorms.
    dtype: of the matrix products.
  """

  width: int
  num_groups: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self, levels: Levels, cells: Cells, readings: list[deform_conv.Reading]
  ) -> list[Float[Array, 'b _ _ e']]:
    """Returns the result of each reading, normalised over its own cells."""
    shape = (9, levels[0].shape[-1], self.width)
    kernels = jnp.stack(
        [self.param(f'{name}_kernel', _centred, shape) for name in BRANCHES]
    )
    biases = [
        self.param(f'{name}_bias', nn.initializers.zeros, (self.width,))
        for name in BRANCHES
    ]
    norms = [
        nn.GroupNorm(
            self.num_groups,
            epsilon=1e-5,
            use_fast_variance=False,
            dtype=self.dtype,
            name=f'{name}_norm',
        )
        for name in BRANCHES
    ]
    maps = [x.astype(self.dtype) for x in levels]
    outputs = deform_conv.pyramid_deform_conv(maps, cells, readings, kernels)
    results = []
    for y, reading in zip(outputs, readings, strict=True):
      own = -(-cells[reading.level] // reading.stride)
      inside = extents.inside(own, y.shape[1:3])[..., None]
      results.append(
          norms[reading.kernel](
              y + biases[reading.kernel],
              mask=jnp.broadcast_to(inside, y.shape),
          )
      )
    return results


def _centred(
    key: Array, shape: tuple[int, int, int], dtype: Any = jnp.float32
) -> Float[Array, '9 d e']:
  """A kernel that starts nearly as a 1x1 convolution.

  Nine equal taps would blur what small objects are before anything is learnt;
  the outer taps start at a tenth of the centre's deviation.
  """
  fan_in = shape[1] ** -0.5
  scale = jnp.full((9, 1, 1), 0.1 * fan_in).at[4].set(fan_in)
  return (scale * jax.random.normal(key, shape)).astype(dtype)


class ScaleAttention(nn.Module):
  """Weighs a whole branch by a hard sigmoid of its pooled content."""

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self, x: Float[Array, 'b h w d'], cells: Int[Array, 'b 2']
  ) -> Float[Array, 'b h w d']:
    pooled = extents.own_mean(x, cells)
    score = nn.relu(linear.Dense(1, dtype=pooled.dtype, name='score')(pooled))
    return x * _hard_sigmoid(score)[:, None, None, :].astype(x.dtype)


class DyReLU(nn.Module):
  """Maximum of two lines whose coefficients come from the pooled map."""

  reduction: int = 4
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self, x: Float[Array, 'b h w d'], cells: Int[Array, 'b 2']
  ) -> Float[Array, 'b h w d']:
    d = x.shape[-1]
    y = extents.own_mean(x, cells)
    y = nn.relu(
        linear.Dense(d // self.reduction, dtype=y.dtype, name='squeeze')(y)
    )
    y = linear.Dense(4 * d, dtype=y.dtype, name='expand')(y)
    y = _hard_sigmoid(y)[:, None, None, :].astype(x.dtype) - 0.5
    slope, intercept, slope2, intercept2 = jnp.split(y, 4, axis=-1)
    return jnp.maximum(
        x * (2 * slope + 1) + intercept, x * (2 * slope2) + intercept2
    )


def _hard_sigmoid(x):
  return jnp.clip(x + 3.0, 0.0, 6.0) / 6.0
