"""DETR's encoder and decoder (arXiv 2005.12872, section A.3).

Layers are stacked under one scan: their parameters have the layer first. Norms
come after the residuals, as DETR has them, or before what is added
(`norm_first`, arXiv 2002.04745). Positions are added to queries and keys of
attention, never to values.
"""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glip_jax.models import attention


class Encoder(nn.Module):
  """Layers in which the cells of a map see each other.

  Attributes:
    depth: number of layers.
    num_heads: attention heads.
    mlp_width: hidden channels of the MLPs.
    dropout_rate: of attention, MLPs and residuals, in training.
    norm_first: True norms what attention and MLPs read, not what they and the
      residual add up to, and norms once more behind the last layer.
    remat: True recomputes layers in the backward pass: less memory.
    dtype: of the matrix products.
  """

  depth: int = 6
  num_heads: int = 8
  mlp_width: int = 2048
  dropout_rate: float = 0.1
  norm_first: bool = False
  remat: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b n d'],
      positions: Float[Array, 'b n d'],
      inside: Bool[Array, 'b n'],
      *,
      train: bool = False,
  ) -> Float[Array, 'b n d']:
    """Encodes cells.

    Args:
      x: features of the cells.
      positions: where each is in its image.
      inside: False at cells that no image owns: nothing sees them.
      train: True switches dropout on (rng 'dropout').
    """
    layers = _stack(EncoderLayer, self, inputs=2)(**_sizes(self, train))
    x = layers(x, positions, inside[:, None])[0]
    return _layer_norm(self.dtype, 'norm')(x) if self.norm_first else x


class Decoder(nn.Module):
  """Layers in which queries see each other and the cells of a map.

  Attributes: those of `Encoder`.
  """

  depth: int = 6
  num_heads: int = 8
  mlp_width: int = 2048
  dropout_rate: float = 0.1
  norm_first: bool = False
  remat: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b q d'],
      queries: Float[Array, 'b q d'],
      memory: Float[Array, 'b n d'],
      positions: Float[Array, 'b n d'],
      inside: Bool[Array, 'b n'],
      together: Bool[Array, '#b q q'] | None = None,
      *,
      train: bool = False,
  ) -> Float[Array, 'l b q d']:
    """Decodes queries.

    Args:
      x: what the queries hold at first.
      queries: which query each is: its position.
      memory: of the encoder.
      positions: of the memory's cells.
      inside: False at cells that no image owns.
      together: False where a query does not see another; None: all see all.
      train: True switches dropout on (rng 'dropout').

    Returns:
      What the queries hold after each layer, through one more norm that the
      layers share.
    """
    layers = _stack(DecoderLayer, self, inputs=5)(**_sizes(self, train))
    held = layers(
        x, queries, memory, memory + positions, inside[:, None], together
    )[1]
    return _layer_norm(self.dtype, 'norm')(held)


class EncoderLayer(nn.Module):
  """Self-attention and an MLP, in the form that nn.scan wants.

  Attributes: those of `Encoder`, and `train`.
  """

  num_heads: int
  mlp_width: int
  dropout_rate: float
  norm_first: bool
  train: bool
  dtype: Any

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b n d'],
      positions: Float[Array, 'b n d'],
      attend: Bool[Array, 'b 1 n'],
  ) -> tuple[Float[Array, 'b n d'], None]:
    """The cells after the layer, and nothing to stack."""
    attend_to, around = _attention(self), _residual(self)

    def look(x):
      seen = x + positions
      return attend_to(name='self_attention')(seen, seen, x, attend)

    x = around(x, look, 'attention_norm')
    return around(x, _feed_forward(self), 'mlp_norm'), None


class DecoderLayer(nn.Module):
  """Self-attention, attention to a memory and an MLP, for nn.scan.

  Attributes: those of `Encoder`, and `train`.
  """

  num_heads: int
  mlp_width: int
  dropout_rate: float
  norm_first: bool
  train: bool
  dtype: Any

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b q d'],
      queries: Float[Array, 'b q d'],
      memory: Float[Array, 'b n d'],
      keys: Float[Array, 'b n d'],
      attend: Bool[Array, 'b 1 n'],
      together: Bool[Array, '#b q q'] | None,
  ) -> tuple[Float[Array, 'b q d'], Float[Array, 'b q d']]:
    """The queries after the layer, twice: to go on with, and to stack."""
    attend_to, around = _attention(self), _residual(self)

    def look(x):
      seen = x + queries
      return attend_to(name='self_attention')(seen, seen, x, together)

    def find(x):
      gather = attend_to(name='cross_attention')
      return gather(x + queries, keys, memory, attend)

    x = around(x, look, 'attention_norm')
    x = around(x, find, 'cross_norm')
    x = around(x, _feed_forward(self), 'mlp_norm')
    return x, x


def _stack(layer: type, stack: nn.Module, *, inputs: int) -> Any:
  """The class of all layers of a stack; `inputs` do not change on the way."""
  return functools.partial(
      nn.scan(
          nn.remat(layer) if stack.remat else layer,
          variable_axes={'params': 0, 'intermediates': 0},
          split_rngs={'params': True, 'dropout': True},
          in_axes=(nn.broadcast,) * inputs,
          length=stack.depth,
      ),
      name='layers',
  )


def _sizes(stack: nn.Module, train: bool) -> dict[str, Any]:
  """The attributes of a stack that its layers have too."""
  names = ('num_heads', 'mlp_width', 'dropout_rate', 'norm_first', 'dtype')
  return {name: getattr(stack, name) for name in names} | {'train': train}


def _attention(layer: nn.Module) -> Any:
  """Makes attentions of a layer's sizes."""

  def make(name: str) -> Any:
    module = attention.MultiHeadAttention(
        layer.num_heads, layer.dropout_rate, dtype=layer.dtype, name=name
    )
    return functools.partial(module, train=layer.train)

  return make


def _feed_forward(layer: nn.Module) -> Any:
  """The MLP of a layer's sizes."""
  module = attention.FeedForward(
      layer.mlp_width, layer.dropout_rate, dtype=layer.dtype, name='mlp'
  )
  return functools.partial(module, train=layer.train)


def _residual(layer: nn.Module) -> Any:
  """Adds what a part of the layer makes of its input, with a norm."""
  drop = nn.Dropout(layer.dropout_rate, deterministic=not layer.train)

  def around(x: Any, part: Any, name: str) -> Any:
    norm = _layer_norm(layer.dtype, name)
    if layer.norm_first:
      return x + drop(part(norm(x)))
    return norm(x + drop(part(x)))

  return around


def _layer_norm(dtype: Any, name: str) -> nn.LayerNorm:
  return nn.LayerNorm(
      epsilon=1e-5, use_fast_variance=False, dtype=dtype, name=name
  )
