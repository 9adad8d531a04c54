"""The whole model: two encoders, a tower between them, a head."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax import types


class GroundedDetector(nn.Module):
  """Scores the regions of an image against the tokens of a prompt.

  Attributes:
    backbone: (image, extent) -> maps at strides 4, 8, 16, 32.
    neck: (the last three maps, extent) -> pyramid.
    language: (ids, mask) -> token features.
    tower: (pyramid, tokens, mask, extent) -> pyramid and tokens, after the
      exchange between them; with `fusion=None` it takes no tokens.
    head: (pyramid, tokens, mask, extent) -> Outputs.
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
    """Pyramid of a normalised image, before it has seen any prompt.

    Without fusion no prompt is ever seen by the tower, so it is part of this.
    """
    maps = self.backbone(image, extent, train=train)
    levels = self.neck(maps[1:], extent, train=train)
    if not self.tower.fusion:
      levels, _ = self.tower(levels, None, None, extent, train=train)
    return levels

  def encode_text(
      self,
      ids: Int[Array, 'b t'],
      mask: Bool[Array, 'b t'],
      *,
      train: bool = False,
  ) -> types.Text:
    """Token features of a prompt, before they have seen any image."""
    return types.Text(self.language(ids, mask, train=train), mask)

  def ground(
      self,
      levels: tuple[Float[Array, 'b _ _ d'], ...],
      text: types.Text,
      extent: Int[Array, 'b 2'],
      *,
      train: bool = False,
  ) -> types.Outputs:
    """Every position of the pyramid scored against every token.

    Args:
      levels: from `encode_image`.
      text: from `encode_text`.
      extent: as in `__call__`.
      train: as in `__call__`.
    """
    tokens = text.tokens
    if self.tower.fusion:
      levels, tokens = self.tower(
          levels, tokens, text.mask, extent, train=train
      )
    return self.head(levels, tokens, text.mask, extent, train=train)

  def __call__(
      self,
      image: Float[Array, 'b h w 3'],
      extent: Int[Array, 'b 2'],
      ids: Int[Array, 'b t'],
      mask: Bool[Array, 'b t'],
      *,
      train: bool = False,
  ) -> types.Outputs:
    """Regions of the image scored against the tokens of the prompt.

    Args:
      image: normalised, zero beyond each image; sides multiples of 32.
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
    return self.ground(levels, text, extent, train=train)
