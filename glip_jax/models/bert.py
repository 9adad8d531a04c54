"""BERT text encoder (arXiv 1810.04805) and its post-norm layer."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax.models import linear
from glip_jax.ops import activations, precision, text_blocks, token_lengths

_init = nn.initializers.normal(0.02)
# At BERT's own width this is its 0.02; narrower models start as lively.
_kernel_init = nn.initializers.variance_scaling(0.25, 'fan_in', 'normal')


def _layer_norm(dtype: Any, name: str) -> nn.LayerNorm:
  return nn.LayerNorm(
      epsilon=1e-12, use_fast_variance=False, dtype=dtype, name=name
  )


class Bert(nn.Module):
  """Token, position and type embeddings, then a stack of post-norm layers.

  Attributes:
    vocab_size: rows of the token embedding.
    width: of the hidden state.
    depth: number of layers, stacked under one scan.
    num_heads: attention heads.
    mlp_width: hidden width of each layer's MLP.
    max_positions: rows of the position embedding.
    dropout_rate: on embeddings, attention and both residuals, in training.
    pooler: True also gives the whole prompt in one vector.
    dtype: of the matrix products.
  """

  vocab_size: int = 30522
  width: int = 768
  depth: int = 12
  num_heads: int = 12
  mlp_width: int = 3072
  max_positions: int = 512
  dropout_rate: float = 0.1
  pooler: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      ids: Int[Array, 'b t'],
      mask: Bool[Array, 'b t'],
      blocks: Int[Array, 'b t'] | None = None,
      *,
      train: bool = False,
  ) -> (
      Float[Array, 'b t d'] | tuple[Float[Array, 'b t d'], Float[Array, 'b d']]
  ):
    """Encodes tokens.

    Args:
      ids: token ids below `vocab_size`.
      mask: False at padding, which no token attends to.
      blocks: from `text_blocks`: tokens attend within their block and count
        positions from its start; None for one block of all.
      train: True switches dropout on (rng 'dropout').

    Returns:
      The last layer's hidden state; rows of padding are not meaningful. With
      `pooler` also tanh of a dense layer on the first token, [CLS].
    """
    t = ids.shape[1]
    if t > self.max_positions:
      raise ValueError(f'{t} tokens exceed max_positions={self.max_positions}')
    x = nn.Embed(
        self.vocab_size, self.width, embedding_init=_init, name='words'
    )(ids)
    positions = self.param(
        'positions', _sinusoids, (self.max_positions, self.width)
    )
    kinds = self.param('token_types', _init, (2, self.width))
    if blocks is None:
      x = x + kinds[0] + positions[:t]
    else:
      x = x + kinds[0] + positions[text_blocks.positions(blocks)]
    x = _layer_norm(self.dtype, 'norm')(x)
    self.sow('intermediates', 'embeddings', x)
    x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
    layers = nn.scan(
        _Step,
        variable_axes={'params': 0, 'intermediates': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=(nn.broadcast, nn.broadcast, nn.broadcast),
        length=self.depth,
    )
    x, _ = layers(
        num_heads=self.num_heads,
        mlp_width=self.mlp_width,
        dropout_rate=self.dropout_rate,
        dtype=self.dtype,
        name='layers',
    )(x, mask, blocks, train)
    self.sow('intermediates', 'hidden', x)
    if not self.pooler:
      return x
    pooled = linear.Dense(
        self.width, dtype=self.dtype, kernel_init=_kernel_init, name='pooler'
    )(x[:, 0])
    return x, jnp.tanh(pooled)


class BertLayer(nn.Module):
  """Self-attention and MLP with a norm after each residual.

  Tokens at the end that are padding in all prompts are left out, and come out
  as zeros (`token_lengths`); not in training, nor where stages are kept.

  Attributes:
    num_heads: attention heads.
    mlp_width: hidden width of the MLP.
    dropout_rate: on attention and both residuals, in training.
    clamp: bound on attention scores and MLP activations that the text layers
      of GLIP's head keep for half precision; None for plain BERT.
    leave_out: False computes padding tokens too.
    dtype: of the matrix products.
  """

  num_heads: int
  mlp_width: int
  dropout_rate: float = 0.1
  clamp: float | None = None
  leave_out: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      x: Float[Array, 'b t d'],
      mask: Bool[Array, 'b t'],
      blocks: Int[Array, 'b t'] | None = None,
      *,
      train: bool = False,
  ) -> Float[Array, 'b t d']:
    # In training gradients would keep what every branch saves for them, who
    # looks at stages compares all tokens, and branches can make no parameters.
    if not self.leave_out or train or self._writes():
      return self._transform(x, mask, blocks, train)
    layer = self.clone(parent=None, name=None, leave_out=False)
    weights = self.variables

    def run(x, mask):
      own = None if blocks is None else blocks[:, : x.shape[1]]
      return (), layer.apply(weights, x, mask, own)

    return token_lengths.without_padding(run, x, mask)[1]

  def _writes(self) -> bool:
    """Whether parameters or stages are made."""
    return any(map(self.is_mutable_collection, ('params', 'intermediates')))

  def _transform(self, x, mask, blocks, train) -> Float[Array, 'b t d']:
    """The layer on all tokens that are given."""
    drop = nn.Dropout(self.dropout_rate, deterministic=not train)
    sees = mask[:, None, :] if blocks is None else text_blocks.attend(blocks)
    y = self._attend(x, sees, drop)
    x = _layer_norm(self.dtype, 'attention_norm')(x + drop(y))
    y = self._clip(self._dense(self.mlp_width, 'mlp_in')(x))
    y = self._clip(activations.gelu(y))
    y = self._clip(self._dense(x.shape[-1], 'mlp_out')(y))
    return self._clip(_layer_norm(self.dtype, 'mlp_norm')(x + drop(y)))

  def _attend(self, x, sees, drop) -> Float[Array, 'b t d']:
    b, t, d = x.shape
    split = (b, t, self.num_heads, d // self.num_heads)
    query, key, value = (
        self._dense(d, name)(x).reshape(split)
        for name in ('query', 'key', 'value')
    )
    scores = jnp.einsum(
        'bqhd,bkhd->bhqk',
        query,
        key,
        preferred_element_type=precision.widened(self.dtype),
    )
    scores = self._clip(scores * split[-1] ** -0.5)
    lowest = jnp.finfo(jnp.float32).min
    scores = scores + jnp.where(sees[:, None], 0.0, lowest)
    weights = drop(jax.nn.softmax(scores, axis=-1)).astype(self.dtype)
    y = jnp.einsum('bhqk,bkhd->bqhd', weights, value).reshape(b, t, d)
    return self._dense(d, 'attention_out')(y)

  def _dense(self, width: int, name: str) -> linear.Dense:
    return linear.Dense(
        width, dtype=self.dtype, kernel_init=_kernel_init, name=name
    )

  def _clip(self, x):
    return x if self.clamp is None else jnp.clip(x, -self.clamp, self.clamp)


def _sinusoids(
    key: Array, shape: tuple[int, int], dtype: Any = jnp.float32
) -> Float[Array, 'p d']:
  """Waves over the positions, in which neighbours are alike from the start.

  Pre-trained weights replace them; a model that starts from nothing learns to
  join an adjective to its noun several times sooner than from random rows.
  """
  del key
  position = jnp.arange(shape[0])[:, None]
  rate = 1e4 ** (-jnp.arange(0, shape[1], 2) / shape[1])
  waves = jnp.stack(
      [jnp.sin(position * rate), jnp.cos(position * rate)], axis=-1
  )
  return (0.02 * waves.reshape(shape[0], -1)[:, : shape[1]]).astype(dtype)


class _Step(nn.Module):
  """A BertLayer in the form that nn.scan wants: (carry, ...) -> (carry, y)."""

  num_heads: int
  mlp_width: int
  dropout_rate: float
  dtype: Any

  @nn.compact
  def __call__(self, x, mask, blocks, train):
    layer = BertLayer(
        self.num_heads,
        self.mlp_width,
        self.dropout_rate,
        dtype=self.dtype,
        name='layer',
    )
    x = layer(x, mask, blocks, train=train)
    self.sow('intermediates', 'output', x)
    return x, None
