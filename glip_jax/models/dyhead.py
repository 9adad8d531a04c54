"""Dynamic head tower: fusion, text layer and DyConv, block after block.

Each block lets image and text attend to each other (BiAttention), refines the
text with a BERT layer, and runs the dynamic head's convolution (arXiv
2106.08322) on the image. Blocks are stacked under one scan, so parameters of
all blocks stand in one array with the block first.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glip_jax.models import bert, linear
from glip_jax.ops import deform_conv, resample

# The convolutions of a DyConv, by what they read.
BRANCHES = ('coarser', 'same', 'finer')
_COARSER, _SAME, _FINER = range(3)

Levels = tuple[Float[Array, 'b _ _ d'], ...]


class DyHead(nn.Module):
  """The tower between the two encoders and the detection head.

  Attributes:
    width: channels of every level.
    depth: number of blocks.
    num_groups: of every GroupNorm.
    fusion: makes the fusion module of a block (called with its name), or None
      for late fusion (variant A), where blocks have no text layer either.
    text_num_heads: attention heads of the text layers.
    text_mlp_width: hidden width of their MLPs.
    text_dropout_rate: their dropout in training.
    remat: True recomputes blocks in the backward pass: less memory.
    unroll: blocks that one iteration of the scan holds; more compile time,
      less overhead for small models.
    dtype: of the matrix products.
  """

  width: int = 256
  depth: int = 6
  num_groups: int = 16
  fusion: Callable[..., nn.Module] | None = None
  text_num_heads: int = 12
  text_mlp_width: int = 3072
  text_dropout_rate: float = 0.1
  remat: bool = True
  unroll: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      levels: Levels,
      text: Float[Array, 'b t e'],
      mask: Bool[Array, 'b t'],
      *,
      train: bool = False,
  ) -> tuple[Levels, Float[Array, 'b t e']]:
    """Runs all blocks.

    Args:
      levels: pyramid, finest first.
      text: word features.
      mask: False at padding words.
      train: True switches dropout on.

    Returns:
      Levels and text of the same shapes.
    """
    block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
    blocks = nn.scan(
        block,
        variable_axes={'params': 0, 'intermediates': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=(nn.broadcast, nn.broadcast),
        length=self.depth,
        unroll=self.unroll,
    )(
        width=self.width,
        num_groups=self.num_groups,
        fusion=self.fusion,
        text_num_heads=self.text_num_heads,
        text_mlp_width=self.text_mlp_width,
        text_dropout_rate=self.text_dropout_rate,
        dtype=self.dtype,
        name='blocks',
    )
    (levels, text), _ = blocks((levels, text), mask, train)
    return levels, text


class Block(nn.Module):
  """One block, in the form that nn.scan wants."""

  width: int
  num_groups: int
  fusion: Callable[..., nn.Module] | None
  text_num_heads: int
  text_mlp_width: int
  text_dropout_rate: float
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self, carry: tuple[Levels, Any], mask: Bool[Array, 'b t'], train: bool
  ) -> tuple[tuple[Levels, Any], None]:
    levels, text = carry
    if self.fusion is not None:
      levels, text = self._fuse(levels, text, mask, train)
      text = bert.BertLayer(
          self.text_num_heads,
          self.text_mlp_width,
          self.text_dropout_rate,
          clamp=50_000.0,
          dtype=self.dtype,
          name='text',
      )(text, mask, train=train)
      self.sow('intermediates', 'lang_text', text)
    levels = DyConv(
        self.width, self.num_groups, dtype=self.dtype, name='dyconv'
    )(levels)
    for i, x in enumerate(levels, start=3):
      self.sow('intermediates', f'dyconv_p{i}', x)
    return (levels, text), None

  def _fuse(self, levels: Levels, text, mask, train):
    flat = flatten_levels(levels)
    flat, text = self.fusion(name='fusion')(flat, text, mask, train=train)
    sizes = [x.shape[1:3] for x in levels]
    levels = split_levels(flat, sizes)
    for i, x in enumerate(levels, start=3):
      self.sow('intermediates', f'fuse_p{i}', x)
    self.sow('intermediates', 'fuse_text', text)
    return levels, text


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
  def __call__(self, levels: Levels) -> Levels:
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
      raw = offset(x).astype(jnp.float32)
      own = _readings(levels, i, raw[..., :18], jax.nn.sigmoid(raw[..., 18:]))
      readings += own
      owners += [i] * len(own)
    branches = DeformConvNorm(
        self.width, self.num_groups, dtype=self.dtype, name='convs'
    )(levels, readings)
    outputs = []
    for i, x in enumerate(levels):
      size = x.shape[1:3]
      own = [
          attention(resample.upsample_bilinear(y, size))
          for y, owner in zip(branches, owners, strict=True)
          if owner == i
      ]
      outputs.append(activation(sum(own) / len(own)))
    return tuple(outputs)


def _readings(
    levels: Levels,
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
            deform_conv.reread_flat(offsets, small),
            deform_conv.reread_flat(modulation, small),
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
      self, levels: Levels, readings: list[deform_conv.Reading]
  ) -> list[Float[Array, 'b _ _ e']]:
    """Returns the result of each reading."""
    init = nn.initializers.variance_scaling(
        1.0, 'fan_in', 'uniform', in_axis=(0, 1), out_axis=2
    )
    shape = (9, levels[0].shape[-1], self.width)
    kernels = jnp.stack(
        [self.param(f'{name}_kernel', init, shape) for name in BRANCHES]
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
    outputs = deform_conv.pyramid_deform_conv(maps, readings, kernels)
    return [
        norms[reading.kernel](y + biases[reading.kernel])
        for y, reading in zip(outputs, readings, strict=True)
    ]


class ScaleAttention(nn.Module):
  """Weighs a whole branch by a hard sigmoid of its pooled content."""

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, 'b h w d']) -> Float[Array, 'b h w d']:
    pooled = x.mean(axis=(1, 2), dtype=jnp.float32)
    score = nn.relu(linear.Dense(1, dtype=jnp.float32, name='score')(pooled))
    return x * _hard_sigmoid(score)[:, None, None, :].astype(x.dtype)


class DyReLU(nn.Module):
  """Maximum of two lines whose coefficients come from the pooled map."""

  reduction: int = 4
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, 'b h w d']) -> Float[Array, 'b h w d']:
    d = x.shape[-1]
    y = x.mean(axis=(1, 2), dtype=jnp.float32)
    y = nn.relu(
        linear.Dense(d // self.reduction, dtype=jnp.float32, name='squeeze')(y)
    )
    y = linear.Dense(4 * d, dtype=jnp.float32, name='expand')(y)
    y = _hard_sigmoid(y)[:, None, None, :].astype(x.dtype) - 0.5
    slope, intercept, slope2, intercept2 = jnp.split(y, 4, axis=-1)
    return jnp.maximum(
        x * (2 * slope + 1) + intercept, x * (2 * slope2) + intercept2
    )


def flatten_levels(levels: Levels) -> Float[Array, 'b n d']:
  """All positions of a pyramid in one axis: levels in order, rows first."""
  return jnp.concatenate(
      [x.reshape(x.shape[0], -1, x.shape[-1]) for x in levels], axis=1
  )


def split_levels(
    flat: Float[Array, 'b n d'], sizes: list[tuple[int, int]]
) -> Levels:
  """Undoes `flatten_levels`; `sizes` are the (h, w) of the levels."""
  counts = [h * w for h, w in sizes]
  ends = [sum(counts[: i + 1]) for i in range(len(counts) - 1)]
  parts = jnp.split(flat, ends, axis=1)
  return tuple(
      x.reshape(x.shape[0], h, w, x.shape[-1])
      for x, (h, w) in zip(parts, sizes, strict=True)
  )


def _hard_sigmoid(x):
  return jnp.clip(x + 3.0, 0.0, 6.0) / 6.0
