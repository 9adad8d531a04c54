"""Bidirectional fusion: image regions and prompt words attend to each other.

One matrix of logits between all positions of all pyramid levels and all words
serves both directions: softmax over words gives the image its message, softmax
over positions gives the words theirs (GLIP, arXiv 2112.03857, equations 4-6).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glip_jax.models import linear
from glip_jax.ops import precision

_CLAMP = 50_000.0


class BiAttention(nn.Module):
  """Layer-scaled bidirectional cross-attention, pre-norm.

  As in the reference the message is added to the *layer-normed* input, and the
  un-normed one is dropped: released weights were trained so.

  Attributes:
    width: of queries, keys and values, over all heads.
    num_heads: attention heads.
    layer_scale: initial value of both learned message scales.
    dropout_rate: on both attention matrices, in training.
    dtype: of the matrix products.
  """

  width: int = 2048
  num_heads: int = 8
  layer_scale: float = 1.0
  dropout_rate: float = 0.1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      image: Float[Array, 'b n d'],
      text: Float[Array, 'b t e'],
      inside: Bool[Array, 'b n'],
      mask: Bool[Array, 'b t'],
      *,
      train: bool = False,
  ) -> tuple[Float[Array, 'b n d'], Float[Array, 'b t e']]:
    """Exchanges messages.

    Args:
      image: positions of all levels, one after the other.
      text: word features.
      inside: False at positions outside the image, which no word attends to.
      mask: False at padding words, which no position attends to.
      train: True switches dropout on (rng 'dropout').

    Returns:
      Image and text features of the same shapes.
    """
    image = self._norm('image_norm')(image)
    text = self._norm('text_norm')(text)
    logits = jnp.einsum(
        'bnhd,bthd->bhnt',
        self._split(image, 'image_query') * self._head_width**-0.5,
        self._split(text, 'text_key'),
        preferred_element_type=precision.widened(self.dtype),
    )
    logits = jnp.clip(logits, -_CLAMP, _CLAMP)
    drop = nn.Dropout(self.dropout_rate, deterministic=not train)
    # -9e15 is the reference's own; a finite number keeps the gradient finite.
    to_words = jax.nn.softmax(
        jnp.where(mask[:, None, None, :], logits, -9e15), axis=3
    )
    to_places = jax.nn.softmax(
        jnp.where(inside[:, None, :, None], logits, -9e15), axis=2
    )
    to_words = drop(to_words).astype(self.dtype)
    to_places = drop(to_places).astype(self.dtype)
    to_image = jnp.einsum(
        'bhnt,bthd->bnhd', to_words, self._split(text, 'text_value')
    )
    to_text = jnp.einsum(
        'bhnt,bnhd->bthd', to_places, self._split(image, 'image_value')
    )
    image_scale = self._scale('image_scale', image.shape[-1])
    text_scale = self._scale('text_scale', text.shape[-1])
    to_image = self._join(to_image, image.shape[-1], 'image_out')
    to_text = self._join(to_text, text.shape[-1], 'text_out')
    return image + image_scale * to_image, text + text_scale * to_text

  @property
  def _head_width(self) -> int:
    return self.width // self.num_heads

  def _norm(self, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(
        epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, name=name
    )

  def _scale(self, name: str, width: int):
    init = nn.initializers.constant(self.layer_scale)
    return self.param(name, init, (width,)).astype(self.dtype)

  def _split(self, x, name: str):
    x = linear.Dense(
        self.width,
        dtype=self.dtype,
        kernel_init=nn.initializers.xavier_uniform(),
        name=name,
    )(x)
    return x.reshape(*x.shape[:2], self.num_heads, self._head_width)

  def _join(self, x, width: int, name: str):
    return linear.Dense(
        width,
        dtype=self.dtype,
        kernel_init=nn.initializers.xavier_uniform(),
        name=name,
    )(x.reshape(*x.shape[:2], self.width))
