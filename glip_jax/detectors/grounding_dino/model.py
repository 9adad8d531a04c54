"""The whole model: two encoders, an exchange, queries chosen by the text."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from glip_jax import types
from glip_jax.detectors.grounding_dino import decoder, denoising, encoder
from glip_jax.detectors.grounding_dino import pyramid as pyramid_lib
from glip_jax.models import linear
from glip_jax.ops import activations, precision, text_blocks
from glip_jax.ops import boxes as box_ops

# Proposals are this far inside the image, and have this side on the first
# level, twice it on the next; both in [0, 1].
_MARGIN = 0.01
_SIDE = 0.05
# The logit of a coordinate of a position that has no box: its sigmoid is 1.
_NOWHERE = 1e4
# Logits of padding tokens: no sigmoid is left of them.
_NEVER = -1e4


@struct.dataclass
class Outputs(types.Outputs):
  """Outputs of the last layer, and what only training looks at.

  `auxiliary` are those of the earlier layers of the decoder.

  Attributes:
    encoder: outputs of the positions that queries were made of.
    denoising: outputs of noised true boxes after each layer; none where there
      are none.
  """

  encoder: types.Outputs | None = None
  denoising: tuple[types.Outputs, ...] = ()


class GroundingDino(nn.Module):
  """Scores object queries against the tokens of a prompt.

  Attributes:
    config: `config.model`.
    dtype: of the matrix products.
  """

  config: Any
  dtype: Any = jnp.float32

  def setup(self):
    """Makes the parts, by the names that parameters have."""
    own, dtype = self.config, self.dtype
    self.backbone = own.backbone.build(dtype, normed=own.stages)
    self.pyramid = pyramid_lib.Pyramid(own.width, own.num_groups, dtype)
    self.language = own.language.build(dtype)
    dense = lambda: linear.Dense(own.width, dtype=dtype)
    self.text_projection = dense()
    self.level_embedding = self.param(
        'level_embedding',
        nn.initializers.normal(1.0),
        (len(own.stages) + 1, own.width),
    )
    self.encoder = encoder.Encoder(own.encoder, dtype)
    self.proposal, self.proposal_norm = dense(), encoder.norm(dtype=dtype)
    self.proposal_boxes = decoder.StackedMlp(1, (own.width,) * 3 + (4,))
    self.queries = self.param(
        'queries',
        nn.initializers.normal(1.0),
        (own.decoder.num_queries, own.width),
    )
    self.decoder = decoder.Decoder(own.decoder, dtype)
    if own.decoder.scale_logits:
      count = 1 if own.decoder.share_heads else own.decoder.depth
      prior = own.decoder.prior
      init = nn.initializers.constant(np.log(prior / (1 - prior)))
      self.class_bias = self.param('class_bias', init, (count,))
      self.proposal_bias = self.param('proposal_bias', init, ())

  @property
  def _stride(self) -> int:
    """Of the first level."""
    return 4 * 2 ** self.config.stages[0]

  def encode_image(
      self,
      image: Float[Array, 'b h w 3'],
      extent: Int[Array, 'b 2'],
      *,
      train: bool = False,
  ) -> tuple[Float[Array, 'b _ _ d'], ...]:
    """Pyramid of a normalised image, before it has seen any prompt."""
    maps = self.backbone(image, extent, train=train)
    maps = tuple(maps[i] for i in self.config.stages)
    return self.pyramid(maps, self._stride, extent)

  def encode_text(
      self,
      ids: Int[Array, 'b t'],
      mask: Bool[Array, 'b t'],
      *,
      train: bool = False,
  ) -> types.Text:
    """Token features of a prompt, each of its phrases read alone."""
    blocks = text_blocks.text_blocks(ids, mask, self.config.delimiters)
    tokens = self.language(ids, mask, blocks, train=train)
    tokens = self.text_projection(tokens)
    self.sow('intermediates', 'text_features', tokens)
    return types.Text(tokens, mask, blocks)

  def ground(
      self,
      levels: tuple[Float[Array, 'b _ _ d'], ...],
      text: types.Text,
      size: Int[Array, 'b 2'],
      extent: Int[Array, 'b 2'],
      *,
      chosen: Int[Array, 'b q'] | None = None,
      truth: types.Batch | None = None,
      train: bool = False,
  ) -> Outputs:
    """Object queries scored against every token.

    Args:
      levels: from `encode_image`.
      text: from `encode_text`.
      size: as in `__call__`.
      extent: as in `__call__`.
      chosen: as in `__call__`.
      truth: as in `__call__`.
      train: as in `__call__`.
    """
    size = jnp.asarray(size)
    geometry = pyramid_lib.Geometry.of(
        [x.shape[1:3] for x in levels], self._stride, size, extent
    )
    places = pyramid_lib.waves(geometry, self.config.width)
    places = [x + e for x, e in zip(places, self.level_embedding, strict=True)]
    image, tokens = self.encoder(
        pyramid_lib.flat(levels),
        pyramid_lib.flat(places),
        geometry,
        text.tokens,
        text.mask,
        text.blocks,
        train=train,
    )
    text = text.replace(tokens=tokens)
    start = self._propose(image, text, geometry, chosen)
    inputs = decoder.Inputs(image, geometry, text.tokens, text.mask)
    return self._refine(start, inputs, text, size, truth, train=train)

  def _propose(
      self,
      image: Float[Array, 'b n d'],
      text: types.Text,
      geometry: pyramid_lib.Geometry,
      chosen: Int[Array, 'b q'] | None,
  ) -> '_Proposals':
    """The positions that the text likes best."""
    reference, possible = _proposals(geometry)
    feature = jnp.where(possible[..., None], image, 0)
    feature = self.proposal_norm(self.proposal(feature))
    scaled = self.config.decoder.scale_logits
    logits = self._classify(
        feature, text, self.proposal_bias if scaled else None
    )
    best = jnp.max(logits, axis=-1, initial=_NEVER, where=text.mask[:, None])
    own = geometry.within(geometry.cells)
    best = jnp.where(own, best, -jnp.inf)
    self.sow('intermediates', 'object_query', feature)
    self.sow('intermediates', 'best', best)
    if chosen is None:
      count = min(self.config.decoder.num_queries, best.shape[1])
      chosen = jax.lax.top_k(best, count)[1]
    self.sow('intermediates', 'chosen', chosen)
    pick = lambda x: jnp.take_along_axis(x, chosen[..., None], axis=1)
    heads = jax.tree.map(lambda x: x[0], self.proposal_boxes())
    boxes = pick(reference) + decoder.apply_mlp(heads, pick(feature))
    boxes = jax.nn.sigmoid(boxes)
    self.sow('intermediates', 'class_logits', logits)
    self.sow('intermediates', 'references', boxes)
    valid = jnp.take_along_axis(own, chosen, axis=1)
    return _Proposals(pick(logits), boxes, valid)

  def _refine(
      self,
      start: '_Proposals',
      inputs: decoder.Inputs,
      text: types.Text,
      size: Int[Array, 'b 2'],
      truth: types.Batch | None,
      *,
      train: bool,
  ) -> Outputs:
    """Outputs of every layer of the decoder."""
    b, q = start.valid.shape
    content = jnp.broadcast_to(self.queries[:q], (b, q, self.config.width))
    reference = jax.lax.stop_gradient(start.boxes)
    attend, count = start.valid[:, None], 0
    if truth is not None and self.config.denoising.on:
      noised = denoising.noised_truth(
          self.make_rng('dropout'), truth, text.tokens, self.config.denoising
      )
      count = noised.valid.shape[1]
      content = jnp.concatenate([noised.content, content], axis=1)
      reference = jnp.concatenate([noised.reference, reference], axis=1)
      attend = denoising.attend(noised, start.valid)
    hidden, boxes = self.decoder(
        content.astype(self.dtype),
        reference,
        inputs.replace(attend=attend),
        train=train,
    )
    bias = self.class_bias if self.config.decoder.scale_logits else None
    logits = self._classify(hidden, text, bias)
    self.sow('intermediates', 'logits', logits)
    self.sow('intermediates', 'region_embeddings', hidden[-1][:, count:])
    self.sow('intermediates', 'word_embeddings', text.tokens)
    whole = lambda i: _outputs(
        logits[i, :, count:], boxes[i, :, count:], start.valid, size
    )
    part = lambda i: _outputs(
        logits[i, :, :count], boxes[i, :, :count], noised.valid, size
    )
    last = whole(-1)
    depth = len(boxes)
    return Outputs(
        last.logits,
        last.boxes,
        None,
        None,
        last.valid,
        auxiliary=tuple(whole(i) for i in range(depth - 1)),
        encoder=_outputs(start.logits, start.boxes, start.valid, size),
        denoising=tuple(part(i) for i in range(depth)) if count else (),
    )

  def _classify(
      self,
      feature: Float[Array, '*y b q d'],
      text: types.Text,
      bias: Float[Array, '*z'] | None,
  ) -> Float[Array, '*y b q t']:
    """Queries times tokens, in float32 at least."""
    logits = jnp.einsum(
        '...bqd,btd->...bqt',
        feature,
        text.tokens,
        preferred_element_type=precision.widened(self.dtype),
    )
    if bias is not None:
      bias = bias.reshape(*bias.shape, *[1] * (3 if bias.ndim else 0))
      logits = logits * feature.shape[-1] ** -0.5 + bias
    return jnp.where(text.mask[:, None], logits, _NEVER)

  def __call__(
      self,
      image: Float[Array, 'b h w 3'],
      size: Int[Array, 'b 2'],
      extent: Int[Array, 'b 2'],
      ids: Int[Array, 'b t'],
      mask: Bool[Array, 'b t'],
      *,
      chosen: Int[Array, 'b q'] | None = None,
      truth: types.Batch | None = None,
      train: bool = False,
  ) -> Outputs:
    """Object queries scored against the tokens of the prompt.

    Args:
      image: normalised, zero beyond each image; sides multiples of 32.
      size: (h, w) of each image: where queries may look, and what their boxes
        are relative to.
      extent: (h, w) that the network treats as the image: all that the answer
        depends on beside the size, whatever the canvas and the batch.
      ids: token ids.
      mask: False at padding tokens.
      chosen: positions that queries are made of, best first, instead of those
        that the text likes best.
      truth: true boxes to add noised ones of, where the config says so.
      train: True switches dropout and drop path on.

    Returns:
      One region per query, best first.
    """
    extent = jnp.asarray(extent)
    levels = self.encode_image(image, extent, train=train)
    text = self.encode_text(ids, mask, train=train)
    return self.ground(
        levels,
        text,
        size,
        extent,
        chosen=chosen,
        truth=truth,
        train=train,
    )


@struct.dataclass
class _Proposals:
  """What queries start from.

  Attributes:
    logits: float[b q t] of the positions that they were made of.
    boxes: float[b q 4] (cx, cy, w, h) in [0, 1].
    valid: bool[b q] False where an image has fewer positions than queries.
  """

  logits: Array
  boxes: Array
  valid: Array


def _proposals(
    geometry: pyramid_lib.Geometry,
) -> tuple[Float[Array, 'b n 4'], Bool[Array, 'b n']]:
  """Logits of a box around every position, and where one is possible."""
  side = _SIDE * 2.0**geometry.level
  sides = jnp.broadcast_to(
      jnp.asarray(side, jnp.float32)[None, :, None], geometry.centres.shape
  )
  box = jnp.concatenate([geometry.centres, sides], axis=-1)
  possible = jnp.all((box > _MARGIN) & (box < 1 - _MARGIN), axis=-1)
  possible &= geometry.within(geometry.valid)
  logit = activations.inverse_sigmoid(jnp.where(possible[..., None], box, 0.5))
  return jnp.where(possible[..., None], logit, _NOWHERE), possible


def _outputs(
    logits: Float[Array, 'b q t'],
    boxes: Float[Array, 'b q 4'],
    valid: Bool[Array, 'b q'],
    size: Int[Array, 'b 2'],
) -> types.Outputs:
  """Outputs whose boxes are edges in pixels of the input image."""
  edges = box_ops.from_relative(boxes, jnp.asarray(size))
  return types.Outputs(logits, edges, None, None, valid)
