"""ResNet backbone (arXiv 1512.03385) with bottlenecks, channels last.

Built to torchvision's version 1.5: the stride is in the 3x3 convolution of a
bottleneck. Batch norms keep the statistics and weights that they start with.
Convolutions and the max-pool see zeros beyond each image's own extent, whatever
the canvas around it; the extent need not be a multiple of anything.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glip_jax.ops import extents, precision

_EXPANSION = 4  # Channels of a bottleneck's output over those of its inside.
_kernel_init = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


class ResNet(nn.Module):
  """Stages of bottlenecks; features at strides 4, 8, 16 and 32.

  Attributes:
    depths: blocks of each stage; fewer numbers are fewer stages.
    width: inside of the first stage's bottlenecks; it doubles at every stage,
      whose outputs are four times as wide.
    dtype: of the convolutions.
  """

  depths: Sequence[int] = (3, 4, 6, 3)
  width: int = 64
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      image: Float[Array, 'b h w 3'],
      extent: Int[Array, 'b 2'],
      *,
      train: bool = False,
  ) -> tuple[Float[Array, 'b _ _ _'], ...]:
    """Encodes a normalised image.

    Args:
      image: of any height and width.
      extent: (h, w) in pixels that each image spans; what is beyond it is not
        looked at.
      train: of no effect, as nothing here is random or counts; every backbone
        has it.

    Returns:
      The maps after each stage; at stride s an image owns the first
      ceil(extent / s) rows and columns, and what is outside is meaningless.
    """
    del train
    cells = functools.partial(extents.own_cells, extent)
    x = extents.zero_outside(image, cells(1))
    x = _conv(self.width, 7, 2, self.dtype, 'conv1')(x)
    x = nn.relu(FrozenBatchNorm(self.dtype, name='frozen_norm1')(x))
    # No value is below zero: zeros are as good as none at all.
    x = extents.zero_outside(x, cells(2))
    x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    maps = []
    for i, depth in enumerate(self.depths):
      for j in range(depth):
        stride = 2 if i and not j else 1
        x = Bottleneck(
            self.width * 2**i,
            stride,
            widen=not j,
            dtype=self.dtype,
            name=f'stage{i}_block{j}',
        )(x, cells(4 * 2**i // stride))
      maps.append(x)
      self.sow('intermediates', f'stage{i + 2}', x)
    return tuple(maps)


class Bottleneck(nn.Module):
  """1x1, 3x3 and 1x1 convolutions with norms, and a residual.

  Attributes:
    width: inside; the output is four times as wide.
    stride: of the 3x3 convolution.
    widen: True projects the residual, for what changes in width or stride.
    dtype: of the convolutions.
  """

  width: int
  stride: int = 1
  widen: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self, x: Float[Array, 'b h w d'], cells: Int[Array, 'b 2']
  ) -> Float[Array, 'b p q e']:
    """Applies the block.

    Args:
      x: the map before it.
      cells: (rows, columns) of it that each image owns.
    """
    norm = functools.partial(FrozenBatchNorm, self.dtype)
    conv = functools.partial(_conv, dtype=self.dtype)
    y = conv(self.width, 1, 1, name='conv1')(x)
    y = extents.zero_outside(nn.relu(norm(name='frozen_norm1')(y)), cells)
    y = conv(self.width, 3, self.stride, name='conv2')(y)
    y = nn.relu(norm(name='frozen_norm2')(y))
    y = conv(_EXPANSION * self.width, 1, 1, name='conv3')(y)
    y = norm(name='frozen_norm3')(y)
    if self.widen:
      x = conv(_EXPANSION * self.width, 1, self.stride, name='project')(x)
      x = norm(name='frozen_norm_project')(x)
    return nn.relu(x + y)


class FrozenBatchNorm(nn.Module):
  """Batch norm (arXiv 1502.03167) by stored statistics, none of it trained.

  Its four parameters get a gradient of zero. Weight decay would still shrink
  them: `optimizer.frozen=('frozen_norm',)` keeps it off, which is why modules
  of this class have names that begin so.

  Attributes:
    dtype: of the output; the norm itself is in float32 at least.
    epsilon: added to the variance.
  """

  dtype: Any = jnp.float32
  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x: Float[Array, 'b h w d']) -> Float[Array, 'b h w d']:
    """Normalises each channel."""
    zeros, ones = nn.initializers.zeros, nn.initializers.ones
    scale, bias, mean, variance = (
        jax.lax.stop_gradient(self.param(name, init, x.shape[-1:]))
        for name, init in (
            ('scale', ones),
            ('bias', zeros),
            ('mean', zeros),
            ('variance', ones),
        )
    )
    factor = scale * jax.lax.rsqrt(variance + self.epsilon)
    y = precision.widen(x) * factor + (bias - mean * factor)
    return y.astype(self.dtype)


def _conv(
    features: int, side: int, stride: int, dtype: Any, name: str
) -> nn.Conv:
  """A square convolution that pads evenly and has no bias."""
  return nn.Conv(
      features,
      (side, side),
      strides=(stride, stride),
      padding=side // 2,
      use_bias=False,
      dtype=dtype,
      kernel_init=_kernel_init,
      conv_general_dilated=_product if side == 1 else None,
      name=name,
  )


def _product(
    x: Float[Array, 'b h w d'],
    kernel: Float[Array, '1 1 d e'],
    strides: Sequence[int],
    *_: Any,
    **__: Any,
) -> Float[Array, 'b p q e']:
  """A 1x1 convolution as a product: on a CPU its gradient takes a third."""
  x = x[:, :: strides[0], :: strides[1]]
  y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
  return y.reshape(*x.shape[:-1], -1)
