"""The whole model: two encoders, a tower between them, a head."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax import types


class GroundedDetector(nn.Module):
  """Scores the regions of an image against the words of a prompt.

  Attributes:
    backbone: (image, extent) -> maps at strides 4, 8, 16, 32.
    neck: (the last three maps, extent) -> pyramid.
    language: (ids, mask) -> word features.
    tower: (pyramid, words, mask, extent) -> pyramid and words, after the
      exchange between them.
    head: (pyramid, words, mask, extent) -> Outputs.
  """

  backbone: nn.Module
  neck: nn.Module
  language: nn.Module
  tower: nn.Module
  head: nn.Module

  def encode_image(
      self,
      image: Float[Array, 'b h w 3'],
      extent: Int[Array, 'b 2'],
      *,
      train: bool = False,
  ) -> tuple[Float[Array, 'b _ _ d'], ...]:
    """Pyramid of a normalised image, before it has seen any prompt."""
    maps = self.backbone(image, extent, train=train)
    return self.neck(maps[1:], extent, train=train)

  def encode_text(
      self,
      ids: Int[Array, 'b t'],
      mask: Bool[Array, 'b t'],
      *,
      train: bool = False,
  ) -> types.Text:
    """Word features of a prompt, before they have seen any image."""
    return types.Text(self.language(ids, mask, train=train), mask)

  def __call__(
      self,
      image: Float[Array, 'b h w 3'],
      extent: Int[Array, 'b 2'],
      ids: Int[Array, 'b t'],
      mask: Bool[Array, 'b t'],
      *,
      train: bool = False,
  ) -> types.Outputs:
    """Regions of the image scored against the words of the prompt.

    Args:
      image: normalised, zero beyond each picture; sides multiples of 32.
      extent: (h, w) in pixels that each image spans, multiples of 32: all
        that the answer depends on, whatever the canvas and the batch. Regions
        outside are marked invalid.
      ids: token ids.
      mask: False at padding tokens.
      train: True switches dropout, drop path and DropBlock on.

    Returns:
      One region per pyramid position.
    """
    extent = jnp.asarray(extent)
    levels = self.encode_image(image, extent, train=train)
    text = self.encode_text(ids, mask, train=train)
    levels, words = self.tower(levels, text.tokens, mask, extent, train=train)
    return self.head(levels, words, mask, extent)
