"""Multi-head attention (arXiv 1706.03762) and the MLP after it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glip_jax.models import linear
from glip_jax.ops import precision

_init = nn.initializers.xavier_uniform()


class MultiHeadAttention(nn.Module):
  """Queries that gather values by the likeness of keys.

  Attributes:
    num_heads: divides the width of the queries.
    dropout_rate: of the attention weights, in training.
    dtype: of the matrix products.
  """

  num_heads: int
  dropout_rate: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      query: Float[Array, 'b q d'],
      key: Float[Array, 'b k e'],
      value: Float[Array, 'b k f'],
      attend: Bool[Array, '#b #q k'] | None = None,
      *,
      train: bool = False,
  ) -> Float[Array, 'b q d']:
    """Attends.

    Args:
      query: what looks.
      key: what is looked at.
      value: what is gathered.
      attend: False where a query does not see a key; a query that sees none
        gathers all evenly.
      train: True switches dropout on (rng 'dropout').
    """
    d = query.shape[-1]
    # Heads before tokens: XLA's CPU products of it take half as long.
    heads = lambda x: jnp.swapaxes(
        x.reshape(*x.shape[:2], self.num_heads, -1), 1, 2
    )
    query = heads(self._dense(d, 'query')(query))
    key = heads(self._dense(d, 'key')(key))
    value = heads(self._dense(d, 'value')(value))
    scores = jnp.einsum(
        'bhqc,bhkc->bhqk',
        query * query.shape[-1] ** -0.5,
        key,
        preferred_element_type=precision.widened(self.dtype),
    )
    if attend is not None:
      lowest = jnp.finfo(scores.dtype).min
      scores = jnp.where(attend[:, None], scores, lowest)
    weights = nn.Dropout(self.dropout_rate, deterministic=not train)(
        jax.nn.softmax(scores, axis=-1)
    )
    y = jnp.einsum('bhqk,bhkc->bhqc', weights.astype(self.dtype), value)
    y = jnp.swapaxes(y, 1, 2)
    return self._dense(d, 'out')(y.reshape(*y.shape[:2], d))

  def _dense(self, width: int, name: str) -> linear.Dense:
    return linear.Dense(width, dtype=self.dtype, kernel_init=_init, name=name)


class FeedForward(nn.Module):
  """Two dense layers with a ReLU between them.

  Attributes:
    width: of the hidden layer.
    dropout_rate: of the hidden layer, in training.
    dtype: of the matrix products.
  """

  width: int
  dropout_rate: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self, x: Float[Array, '*n d'], *, train: bool = False
  ) -> Float[Array, '*n d']:
    """Applies both layers to the last axis."""
    dense = lambda width, name: linear.Dense(
        width, dtype=self.dtype, kernel_init=_init, name=name
    )
    y = nn.relu(dense(self.width, 'mlp_in')(x))
    y = nn.Dropout(self.dropout_rate, deterministic=not train)(y)
    return dense(x.shape[-1], 'mlp_out')(y)
