"""Bidirectional fusion: image regions and prompt tokens attend to each other.

The attention itself is `ops.bi_attention`; here are its norms, its weights and
the scales of its messages (GLIP, arXiv 2112.03857, equations 4-6).
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glip_jax.models import linear
from glip_jax.ops import bi_attention


class BiAttention(nn.Module):
  """Layer-scaled bidirectional cross-attention, pre-norm.

  As in the reference the message is added to the *layer-normed* input, and the
  un-normed one is dropped: released weights were trained so.

  Attributes:
    width: of queries, keys and values, over all heads.
    num_heads: attention heads.
    layer_scale: initial value of both learned message scales.
    dropout_rate: on both attention matrices, in training.
    drop_path_rate: chance that an image's messages are not heard, in training.
    dtype: of the matrix products.
  """

  width: int = 2048
  num_heads: int = 8
  layer_scale: float = 1.0
  dropout_rate: float = 0.1
  drop_path_rate: float = 0.0
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
      text: token features.
      inside: False at positions outside the image, which no token attends to.
      mask: False at padding tokens, which no position attends to.
      train: True switches dropout on (rng 'dropout').

    Returns:
      Image and text features of the same shapes.
    """
    image = self._norm('image_norm')(image)
    text = self._norm('text_norm')(text)
    dropped = train and self.dropout_rate
    to_image, to_text = bi_attention.bi_attention(
        image,
        text,
        inside,
        mask,
        self._projections(image.shape[-1], text.shape[-1]),
        num_heads=self.num_heads,
        dropout_rate=self.dropout_rate,
        dropout_key=self.make_rng('dropout') if dropped else None,
    )
    image_scale = self._scale('image_scale', image.shape[-1])
    text_scale = self._scale('text_scale', text.shape[-1])
    drop = nn.Dropout(
        self.drop_path_rate, broadcast_dims=(1, 2), deterministic=not train
    )
    image += drop(image_scale * to_image)
    return image, text + drop(text_scale * to_text)

  def _projections(self, image: int, text: int) -> bi_attention.Projections:
    """The weights, of the widths of image and text."""
    widths = dict(
        image_query=(image, self.width),
        text_key=(text, self.width),
        image_value=(image, self.width),
        text_value=(text, self.width),
        image_out=(self.width, image),
        text_out=(self.width, text),
    )
    return bi_attention.Projections(**{
        name: bi_attention.Affine(*linear.Weights(*width, name=name)())
        for name, width in widths.items()
    })

  def _norm(self, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(
        epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, name=name
    )

  def _scale(self, name: str, width: int):
    init = nn.initializers.constant(self.layer_scale)
    return self.param(name, init, (width,)).astype(self.dtype)
