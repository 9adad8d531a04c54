"""Region-word alignment and boxes at every position of a pyramid."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glip_jax import types
from glip_jax.detectors.glip import dyhead
from glip_jax.models import linear
from glip_jax.ops import anchors as anchors_lib
from glip_jax.ops import boxes as boxes_lib
from glip_jax.ops import precision

_CLAMP = 50_000.0
_PRIOR = -float(np.log(99))  # logit of the prior probability 0.01


# The tower's output deviates by about 0.2 and e / 2 has a length of 0.5: this
# makes logits that differ by about 1 from the start. With a usual init they all
# lie near the prior, and so little reaches the features that classes are learnt
# late.
_projection_init = nn.initializers.variance_scaling(81.0, 'fan_out', 'normal')


class DenseHead(nn.Module):
  """One region per position: token logits, a box and a centerness.

  logit = x . W(e / 2) / exp(log_scale) + e . bias_lang + bias0, where e is the
  L2-normalised token feature; the projection sees e / 2 and the bias sees e, as
  in the reference.

  Attributes:
    strides: of the levels in input pixels.
    anchor_scale: side of a level's anchors over its stride.
    masked_text: True zeroes padding tokens before the alignment (variant A
      reads the encoder's masked output; fused variants the tower's).
    dtype: of the matrix products.
  """

  strides: tuple[int, ...] = anchors_lib.STRIDES
  anchor_scale: float = 8.0
  masked_text: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      levels: tuple[Float[Array, 'b _ _ d'], ...],
      text: Float[Array, 'b t e'],
      mask: Bool[Array, 'b t'],
      extent: Int[Array, 'b 2'],
      *,
      train: bool = False,
  ) -> types.Outputs:
    """Scores every position against every token and decodes its box.

    Args:
      levels: the tower's output, finest first.
      text: the tower's token features (the encoder's for variant A).
      mask: False at padding tokens.
      extent: (h, w) of each image in pixels; regions beyond it are not valid.
      train: as other heads take it; nothing here is random.

    Returns:
      Outputs with one region per position, levels in order, rows first.
    """
    del train
    sizes = tuple(tuple(x.shape[1:3]) for x in levels)
    x = dyhead.flatten_levels(levels)
    text = jnp.where(mask[..., None], text, 0) if self.masked_text else text
    anchors = anchors_lib.pyramid_anchors(
        sizes, strides=self.strides, anchor_scale=self.anchor_scale
    )
    deltas = self._deltas(x, sizes)
    quality = linear.Dense(1, dtype=self.dtype, name='centerness')(x)[..., 0]
    valid = anchors_lib.anchors_inside(extent, sizes, strides=self.strides)
    return types.Outputs(
        logits=self._align(x, text),
        boxes=boxes_lib.decode_boxes(deltas, anchors),
        quality=precision.widen(quality),
        anchors=jnp.broadcast_to(anchors, (x.shape[0], *anchors.shape)),
        valid=valid,
        level_sizes=sizes,
    )

  def _deltas(self, x, sizes) -> Float[Array, 'b r 4']:
    """Box deltas times the learned scale of their level."""
    scales = self.param('scales', nn.initializers.ones, (len(sizes),))
    counts = np.array([h * w for h, w in sizes])
    scales = jnp.repeat(scales, counts, total_repeat_length=counts.sum())
    deltas = linear.Dense(4, dtype=self.dtype, name='boxes')(x)
    deltas = precision.widen(deltas) * scales[:, None]
    self.sow('intermediates', 'deltas', deltas)
    return deltas

  def _align(self, x, text) -> Float[Array, 'b r t']:
    """Region-word logits."""
    text = precision.widen(text)
    norm = jnp.sqrt(jnp.sum(text**2, axis=-1, keepdims=True) + 1e-24)
    text = text / jnp.maximum(norm, 1e-12)
    bias = self.param('bias_lang', nn.initializers.zeros, (text.shape[-1],))
    bias0 = self.param('bias0', nn.initializers.constant(_PRIOR), (1,))
    log_scale = self.param('log_scale', nn.initializers.zeros, (1,))
    tokens = linear.Dense(
        x.shape[-1],
        dtype=self.dtype,
        kernel_init=_projection_init,
        name='text_projection',
    )(text / 2)
    self.sow('intermediates', 'projected_text', tokens)
    self.sow('intermediates', 'region_embeddings', x)
    self.sow('intermediates', 'word_embeddings', tokens)
    logits = jnp.einsum(
        'brd,btd->brt',
        x.astype(self.dtype),
        tokens,
        preferred_element_type=precision.widened(self.dtype),
    )
    logits = logits / jnp.exp(log_scale) + (text @ bias + bias0)[:, None, :]
    return jnp.clip(logits, -_CLAMP, _CLAMP)
