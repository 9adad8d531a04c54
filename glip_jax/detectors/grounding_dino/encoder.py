"""The encoder: image and text tell each other, then each looks at itself."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax.detectors.grounding_dino.pyramid import Geometry
from glip_jax.models import attention, deformable_attention, fusion
from glip_jax.ops import positions, text_blocks

norm = functools.partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)
_TEXT_TEMPERATURE = 10_000.0


class TextLayer(nn.Module):
  """Self-attention of tokens within their blocks, and an MLP; post-norm."""

  num_heads: int
  mlp_width: int
  dropout_rate: float
  dtype: Any

  @nn.compact
  def __call__(
      self,
      text: Float[Array, 'b t d'],
      waves: Float[Array, 'b t d'],
      attend: Bool[Array, 'b t t'],
      train: bool,
  ) -> Float[Array, 'b t d']:
    drop = nn.Dropout(self.dropout_rate, deterministic=not train)
    query = text + waves.astype(text.dtype)
    y = attention.MultiHeadAttention(
        self.num_heads, self.dropout_rate, self.dtype, name='attention'
    )(query, query, text, attend, train=train)
    text = norm(dtype=self.dtype, name='attention_norm')(text + drop(y))
    y = attention.FeedForward(
        self.mlp_width, self.dropout_rate, self.dtype, name='mlp'
    )(text, train=train)
    return norm(dtype=self.dtype, name='mlp_norm')(text + drop(y))


class ImageLayer(nn.Module):
  """Deformable attention of the positions, and an MLP; post-norm."""

  num_heads: int
  num_points: int
  mlp_width: int
  dropout_rate: float
  dtype: Any

  @nn.compact
  def __call__(
      self,
      image: Float[Array, 'b n d'],
      waves: Float[Array, 'b n d'],
      geometry: Geometry,
      train: bool,
  ) -> Float[Array, 'b n d']:
    drop = nn.Dropout(self.dropout_rate, deterministic=not train)
    centre = geometry.centres[:, :, None] * geometry.valid_xy[:, None] - 0.5
    y = deformable_attention.DeformableAttention(
        self.num_heads, self.num_points, self.dtype, name='attention'
    )(
        image + waves.astype(image.dtype),
        centre,
        jnp.ones_like(centre[:, :, :1]),
        image,
        geometry.within(geometry.valid),
        geometry.sizes,
    )
    image = norm(dtype=self.dtype, name='attention_norm')(image + drop(y))
    y = attention.FeedForward(
        self.mlp_width, self.dropout_rate, self.dtype, name='mlp'
    )(image, train=train)
    return norm(dtype=self.dtype, name='mlp_norm')(image + drop(y))


class EncoderLayer(nn.Module):
  """Fusion, then a layer of the text, then a layer of the image."""

  sizes: Any  # The family's config of the encoder.
  dtype: Any

  @nn.compact
  def __call__(self, carry, fixed, geometry: Geometry, train: bool):
    image, text = carry
    own, waves, text_waves, mask, attend = self.sizes, *fixed
    image, text = fusion.BiAttention(
        width=own.fusion.width,
        num_heads=own.fusion.num_heads,
        layer_scale=own.fusion.layer_scale,
        dropout_rate=own.fusion.dropout_rate,
        drop_path_rate=own.fusion.drop_path_rate,
        dtype=self.dtype,
        name='fusion',
    )(image, text, geometry.within(geometry.valid), mask, train=train)
    self.sow('intermediates', 'fusion_image', image)
    self.sow('intermediates', 'fusion_text', text)
    text = TextLayer(
        own.text_num_heads,
        own.text_mlp_width,
        own.dropout_rate,
        self.dtype,
        name='text',
    )(text, text_waves, attend, train)
    image = ImageLayer(
        own.num_heads,
        own.num_points,
        own.mlp_width,
        own.dropout_rate,
        self.dtype,
        name='image',
    )(image, waves, geometry, train)
    self.sow('intermediates', 'text_layer', text)
    self.sow('intermediates', 'image_layer', image)
    return (image, text), None


class Encoder(nn.Module):
  """A stack of encoder layers under one scan.

  Attributes:
    sizes: `config.model.encoder`.
    dtype: of the matrix products.
  """

  sizes: Any
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      image: Float[Array, 'b n d'],
      waves: Float[Array, 'b n d'],
      geometry: Geometry,
      text: Float[Array, 'b t d'],
      mask: Bool[Array, 'b t'],
      blocks: Int[Array, 'b t'],
      *,
      train: bool = False,
  ) -> tuple[Float[Array, 'b n d'], Float[Array, 'b t d']]:
    """Encodes both.

    Args:
      image: positions of the pyramid.
      waves: what tells positions apart.
      geometry: where they lie.
      text: tokens.
      mask: False at padding tokens.
      blocks: of tokens that see each other.
      train: True switches dropout and drop path on (rng 'dropout').

    Returns:
      Image and text features of the same shapes.
    """
    text_waves = positions.sine_points(
        text_blocks.positions(blocks).astype(jnp.float32) * (2 * jnp.pi),
        text.shape[-1],
        temperature=_TEXT_TEMPERATURE,
    )
    fixed = waves, text_waves, mask, text_blocks.attend(blocks)
    layer = EncoderLayer
    if self.sizes.remat:
      layer = nn.remat(layer, static_argnums=(4,), prevent_cse=False)
    layers = nn.scan(
        layer,
        variable_axes={'params': 0, 'intermediates': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=(nn.broadcast, nn.broadcast, nn.broadcast),
        length=self.sizes.depth,
    )
    (image, text), _ = layers(self.sizes, self.dtype, name='layers')(
        (image, text), fixed, geometry, train
    )
    return image, text
