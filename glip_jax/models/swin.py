"""Swin Transformer backbone (arXiv 2103.14030), channels last.

Built to the reference's version 1: pre-norm blocks, relative position bias,
windows shifted by half, maps padded right and bottom with zeros *after* the
first norm, so that padded tokens are real keys. The outputs of stages that a
detector reads carry their own LayerNorm. Windows are those of each image's own
extent, whatever the canvas around it; the extent need not be even anywhere.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glip_jax.models import linear
from glip_jax.ops import activations, extents, forms, precision

layer_norm = functools.partial(
    nn.LayerNorm, epsilon=1e-5, use_fast_variance=False
)
_bias_init = nn.initializers.truncated_normal(0.02)
# At Swin-T's last stage this is its 0.02; narrower models start as lively.
_kernel_init = nn.initializers.variance_scaling(
    0.25, 'fan_in', 'truncated_normal'
)


class Swin(nn.Module):
  """Four stages of windowed attention; features at strides 4, 8, 16 and 32.

  Attributes:
    embed_dim: width of the first stage; it doubles at every stage.
    depths: blocks per stage.
    num_heads: attention heads per stage.
    window: side of the attention window in tokens.
    normed: stages, from 0, whose outputs have a norm.
    drop_path_rate: chance to skip the last block; earlier ones in proportion.
    remat: True recomputes blocks in the backward pass: less memory, but on CPU,
      where the compiler undoes it.
    dtype: of the matrix products.
  """

  embed_dim: int = 96
  depths: Sequence[int] = (2, 2, 6, 2)
  num_heads: Sequence[int] = (3, 6, 12, 24)
  window: int = 7
  normed: Sequence[int] = (1, 2, 3)
  drop_path_rate: float = 0.2
  remat: bool = False
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
      image: height and width must be multiples of 32.
      extent: (h, w) in pixels that each image spans; beyond it the image is
        zero.
      train: True switches stochastic depth on (rng 'dropout').

    Returns:
      The maps after stages 1 to 4, those of `normed` layer-normed; at stride s
      an image owns the first ceil(extent / s) rows and columns, and what is
      outside is meaningless.

    Raises:
      ValueError: the image's size is not a multiple of 32.
    """
    if image.shape[1] % 32 or image.shape[2] % 32:
      raise ValueError(
          f'image size {image.shape[1:3]} is not a multiple of 32: pad it'
      )
    rates = np.linspace(0, self.drop_path_rate, sum(self.depths))
    # Of the arguments `train` is the one that is no array.
    block = (
        nn.remat(SwinBlock, static_argnums=(3,)) if self.remat else SwinBlock
    )
    x = PatchEmbed(self.embed_dim, dtype=self.dtype, name='patch_embed')(image)
    maps, first = [], 0
    for i, depth in enumerate(self.depths):
      cells = extents.own_cells(extent, 4 * 2**i)
      if i:
        own = extents.own_cells(extent, 4 * 2 ** (i - 1))
        x = extents.zero_outside(x, own)
        x = PatchMerging(dtype=self.dtype, name=f'merge{i}')(x)
      for j in range(depth):
        x = block(
            num_heads=self.num_heads[i],
            window=self.window,
            shift=self.window // 2 if j % 2 else 0,
            drop_path_rate=float(rates[first + j]),
            dtype=self.dtype,
            name=f'stage{i}_block{j}',
        )(x, cells, train)
      first += depth
      norm = layer_norm(dtype=self.dtype, name=f'norm{i}')
      maps.append(norm(x) if i in self.normed else x)
    for i, feature in enumerate(maps):
      self.sow('intermediates', f'stage{i + 2}', feature)
    return tuple(maps)


class PatchEmbed(nn.Module):
  """Non-overlapping 4x4 patches to tokens, then LayerNorm."""

  width: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, image: Float[Array, 'b h w 3']) -> Float[Array, 'b _ _ _']:
    x = nn.Conv(
        self.width,
        (4, 4),
        strides=(4, 4),
        padding='VALID',
        dtype=self.dtype,
        name='proj',
    )(image)
    return layer_norm(dtype=self.dtype, name='norm')(x)


class PatchMerging(nn.Module):
  """Halves the map: 2x2 neighbours joined, layer-normed and projected."""

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, 'b h w d']) -> Float[Array, 'b _ _ _']:
    b, h, w, d = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    # The reference joins (row, column) parities (0, 0) (1, 0) (0, 1) (1, 1).
    x = x.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, d)
    x = x.transpose(0, 1, 3, 4, 2, 5).reshape(b, x.shape[1], x.shape[3], 4 * d)
    x = layer_norm(dtype=self.dtype, name='norm')(x)
    return linear.Dense(
        2 * d,
        use_bias=False,
        dtype=self.dtype,
        kernel_init=_kernel_init,
        name='reduction',
    )(x)


class SwinBlock(nn.Module):
  """Windowed attention and an MLP, each after a norm, each with a residual."""

  num_heads: int
  window: int
  shift: int
  drop_path_rate: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b h w d'],
      cells: Int[Array, 'b 2'],
      train: bool = False,
  ) -> Float[Array, 'b h w d']:
    drop = nn.Dropout(
        self.drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train
    )
    y = layer_norm(dtype=self.dtype, name='norm1')(x)
    x = x + drop(self._attend(extents.zero_outside(y, cells), cells))
    y = layer_norm(dtype=self.dtype, name='norm2')(x)
    dense = functools.partial(
        linear.Dense, dtype=self.dtype, kernel_init=_kernel_init
    )
    y = dense(4 * x.shape[-1], name='mlp_in')(y)
    y = dense(x.shape[-1], name='mlp_out')(activations.gelu(y))
    return x + drop(y)

  def _attend(
      self, x: Float[Array, 'b h w d'], cells: Int[Array, 'b 2']
  ) -> Float[Array, 'b h w d']:
    """Pads, shifts, cuts into windows, attends and undoes it all."""
    b, h, w, d = x.shape
    m, s = self.window, self.shift
    rows, columns = -(-h // m), -(-w // m)
    x = jnp.pad(x, ((0, 0), (0, rows * m - h), (0, columns * m - w), (0, 0)))
    x = jnp.roll(x, (-s, -s), (1, 2)) if s else x
    x = x.reshape(b, rows, m, columns, m, d).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(b, rows * columns, m * m, d)
    blocked = _blocked_pairs((rows * m, columns * m), cells, m, s)
    x = WindowAttention(self.num_heads, m, self.dtype, name='attention')(
        x, blocked if s else None
    )
    x = x.reshape(b, rows, columns, m, m, d).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(b, rows * m, columns * m, d)
    x = jnp.roll(x, (s, s), (1, 2)) if s else x
    return x[:, :h, :w]


class WindowAttention(nn.Module):
  """Self-attention inside windows with a learned relative position bias."""

  num_heads: int
  window: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self, x: Float[Array, 'b n p d'], blocked: Bool[Array, 'b n p p'] | None
  ) -> Float[Array, 'b n p d']:
    """Attends within each of n windows of p tokens.

    Args:
      x: tokens by window.
      blocked: True where two tokens of a shifted window are no neighbours in
        the image; None where windows are not shifted.

    Returns:
      Tokens of the same shape.
    """
    b, n, p, d = x.shape
    heads, m = self.num_heads, self.window
    dense = functools.partial(
        linear.Dense, dtype=self.dtype, kernel_init=_kernel_init
    )
    qkv = dense(3 * d, name='qkv')(x).reshape(b, n, p, 3, heads, d // heads)
    # Heads before tokens: XLA's CPU products of it take half as long.
    first = forms.is_on('heads_first')
    query, key, value = jnp.moveaxis(qkv, (3, 4), (0, 3) if first else (0, 4))
    table = self.param(
        'relative_position_bias', _bias_init, ((2 * m - 1) ** 2, heads)
    )
    bias = table[_relative_index(m)].transpose(2, 0, 1)
    logits = jnp.einsum(
        'bnhpd,bnhqd->bnhpq' if first else 'bnphd,bnqhd->bnhpq',
        query * (d // heads) ** -0.5,
        key,
        preferred_element_type=precision.widened(self.dtype),
    )
    logits = logits + bias
    if blocked is not None:
      logits = logits + jnp.where(blocked, -100.0, 0.0)[:, :, None]
    attention = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
    if first:
      out = jnp.einsum('bnhpq,bnhqd->bnhpd', attention, value).swapaxes(2, 3)
    else:
      out = jnp.einsum('bnhpq,bnqhd->bnphd', attention, value)
    return dense(d, name='proj')(out.reshape(b, n, p, d))


def _relative_index(window: int) -> np.ndarray:
  """int[p p] row of the bias table for every pair of tokens in a window."""
  y, x = np.divmod(np.arange(window * window), window)
  dy = y[:, None] - y[None, :] + window - 1
  dx = x[:, None] - x[None, :] + window - 1
  return dy * (2 * window - 1) + dx


def _blocked_pairs(
    size: tuple[int, int], cells: Int[Array, 'b 2'], window: int, shift: int
) -> Bool[Array, 'b n p p']:
  """Pairs of a shifted window that the shift, not the image, put together.

  The reference tells regions apart on the map of the image alone, padded to
  whole windows: what the shift moved to the other end, what it did not, and
  here also what lies beyond that map.
  """
  own = -(-cells // window) * window

  def regions(axis: int) -> Int[Array, 'b n']:
    place = jnp.arange(size[axis])
    near = jnp.where(place < own[:, axis, None], 0, 1)
    return jnp.roll(jnp.where(place < shift, 2, near), -shift, axis=1)

  ids = regions(0)[:, :, None] * 3 + regions(1)[:, None, :]
  ids = ids.reshape(-1, size[0] // window, window, size[1] // window, window)
  ids = ids.transpose(0, 1, 3, 2, 4)
  ids = ids.reshape(ids.shape[0], -1, window * window)
  return ids[..., :, None] != ids[..., None, :]
