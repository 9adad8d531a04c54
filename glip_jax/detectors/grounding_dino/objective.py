"""The learning problem of queries: a set loss over tokens.

Training pairs queries and true boxes at the least total cost, layer by layer
(Hungarian matching), and sums focal losses over the tokens of the pairs, L1
and GIoU losses of their boxes. All are pure functions of static shape; what an
image adds depends neither on its bucket nor on its batch. (`loss` divides by
the true boxes of the whole batch.)
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax import types
from glip_jax.detectors.grounding_dino import config as config_lib
from glip_jax.detectors.grounding_dino import denoising
from glip_jax.ops import boxes as box_ops
from glip_jax.ops import losses, matching, precision

# Keeps the logarithm of a matching's class cost finite; the reference's.
_EPSILON = 1e-8


class LossSums(NamedTuple):
  """Losses of one layer, summed over the queries of each image."""

  token: Float[Array, '*b']
  box: Float[Array, '*b']
  giou: Float[Array, '*b']


def loss(
    outputs: types.Outputs,
    batch: types.Batch,
    config: config_lib.Loss,
    *,
    groups: int = 0,
) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
  """Training loss of all layers.

  Args:
    outputs: of the model.
    batch: needs `targets`.
    config: weights.
    groups: of the denoising queries, where the outputs hold some.

  Returns:
    The total, and the scalars to log: `loss_token`, `loss_box` and `loss_giou`
    of the last layer, `loss_auxiliary` of the others, `loss_encoder` of the
    proposals and `loss_denoising`, which add up to it, all weighted, and
    `num_boxes`.

  Raises:
    ValueError: the batch has no targets.
  """
  valid = _present(batch)
  count = jnp.maximum(jnp.sum(valid), 1).astype(jnp.float32)
  last = types.Outputs(outputs.logits, outputs.boxes, None, None, outputs.valid)
  layers = {
      'loss_encoder': [outputs.encoder] if outputs.encoder else [],
      'loss_auxiliary': outputs.auxiliary if config.auxiliary else (),
      'last': [last],
  }
  # All layers at once: a matching is a long loop of small steps.
  sums = _stacked(
      sum(map(list, layers.values()), []), layer_sums, batch, config
  )
  rows = _weighted(sums, config, count)
  terms, start = {}, 0
  for name, own in layers.items():
    terms[name] = rows[:, start : start + len(own)]
    start += len(own)
  names = ('loss_token', 'loss_box', 'loss_giou')
  parts = dict(zip(names, terms.pop('last')[:, 0], strict=True))
  parts |= {name: jnp.sum(own) for name, own in terms.items() if own.size}
  if outputs.denoising:
    noised = functools.partial(denoising_sums, groups=groups)
    sums = _stacked(outputs.denoising, noised, batch, config)
    parts['loss_denoising'] = jnp.sum(_weighted(sums, config, count * groups))
  parts = {name: jnp.asarray(x, jnp.float32) for name, x in parts.items()}
  return sum(parts.values()), parts | {'num_boxes': count}


def _stacked(
    layers: Sequence[types.Outputs],
    sums: Callable[..., LossSums],
    batch: types.Batch,
    config: config_lib.Loss,
) -> LossSums:
  """Sums of each layer, [l b]."""
  together = jax.tree.map(lambda *x: jnp.stack(x), *layers)
  return jax.vmap(lambda layer: sums(layer, batch, config))(together)


def layer_sums(
    outputs: types.Outputs, batch: types.Batch, config: config_lib.Loss
) -> LossSums:
  """What `loss` weighs and normalises, of one layer, image by image.

  Args:
    outputs: of the layer.
    batch: needs `targets`.
    config: costs of the matching, and the focal loss's constants.
  """
  query = match(outputs, batch, config)
  truth = batch.targets
  picked = query >= 0
  index = jnp.where(picked, query, 0)
  # Truths that get no query write beyond the end: nowhere.
  place = jnp.where(picked, query, outputs.logits.shape[1])
  tokens = jax.vmap(
      lambda rows, own: jnp.zeros(outputs.logits.shape[1:], bool)
      .at[rows]
      .set(own, mode='drop')
  )(place, jnp.asarray(truth.tokens))
  boxes = jnp.take_along_axis(outputs.boxes, index[..., None], axis=1)
  return _sums(
      outputs, tokens, boxes, jnp.asarray(truth.boxes), picked, batch, config
  )


def denoising_sums(
    outputs: types.Outputs,
    batch: types.Batch,
    config: config_lib.Loss,
    *,
    groups: int,
) -> LossSums:
  """The same of queries that were made of true boxes; no matching is needed.

  Args:
    outputs: of a layer's denoising queries.
    batch: needs `targets`.
    config: the focal loss's constants.
    groups: of the denoising queries.
  """
  row, positive = denoising.targets(batch, groups)
  truth = batch.targets
  tokens = jnp.asarray(truth.tokens)[:, row] & positive[..., None]
  boxes = jnp.asarray(truth.boxes)[:, row]
  return _sums(outputs, tokens, outputs.boxes, boxes, positive, batch, config)


def match(
    outputs: types.Outputs, batch: types.Batch, config: config_lib.Loss
) -> Int[Array, 'b m']:
  """The query that each true box gets, -1 for none.

  Args:
    outputs: of a layer.
    batch: needs `targets`.
    config: weights of the costs.
  """
  truth = batch.targets
  size = jnp.asarray(batch.size)
  found = box_ops.to_relative(outputs.boxes, size)
  boxes = box_ops.to_relative(jnp.asarray(truth.boxes), size)
  apart = jnp.abs(found[:, :, None] - boxes[:, None]).sum(-1)
  overlap = box_ops.pairwise_generalized_iou(
      box_ops.from_centre(found), box_ops.from_centre(boxes)
  )
  cost = (
      config.class_cost * _class_cost(outputs.logits, batch, config)
      + config.box_cost * apart
      - config.giou_cost * overlap
  )
  cost = jnp.where(outputs.valid[..., None], cost, jnp.inf)
  return matching.match(cost, _present(batch))


def _class_cost(logits, batch, config) -> Float[Array, 'b q m']:
  """Mean over a box's tokens of what naming it would change in the loss."""
  p = jax.nn.sigmoid(precision.widen(logits))
  miss = -jnp.log(1 - p + _EPSILON) * (1 - config.alpha) * p**config.gamma
  hit = -jnp.log(p + _EPSILON) * config.alpha * (1 - p) ** config.gamma
  tokens = jnp.asarray(batch.targets.tokens).astype(p.dtype)
  share = tokens / jnp.maximum(tokens.sum(-1, keepdims=True), 1)
  return jnp.einsum(
      'bqt,bmt->bqm', hit - miss, share, precision=jax.lax.Precision.HIGHEST
  )


def _sums(
    outputs: types.Outputs,
    tokens: Bool[Array, 'b q t'],
    found: Float[Array, 'b n 4'],
    boxes: Float[Array, 'b n 4'],
    picked: Bool[Array, 'b n'],
    batch: types.Batch,
    config: config_lib.Loss,
) -> LossSums:
  """Sums over pairs of found and true boxes, and over all queries' tokens."""
  pairs = losses.region_word_focal_loss(
      jnp.where(outputs.valid[..., None], outputs.logits, 0.0),
      tokens,
      token_mask=jnp.asarray(batch.prompt.mask),
      alpha=config.alpha,
      gamma=config.gamma,
  )
  size = jnp.asarray(batch.size)
  # Rows that are no pair compare a true box with itself: no gradient.
  found = box_ops.to_relative(jnp.where(picked[..., None], found, boxes), size)
  boxes = box_ops.to_relative(boxes, size)
  apart = jnp.abs(found - boxes).sum(-1)
  giou = losses.giou_loss(
      box_ops.from_centre(found), box_ops.from_centre(boxes)
  )
  return LossSums(
      jnp.sum(pairs, axis=(1, 2), where=outputs.valid[..., None]),
      jnp.sum(apart, axis=1, where=picked),
      jnp.sum(giou, axis=1, where=picked),
  )


def _weighted(
    sums: LossSums, config: config_lib.Loss, count: Float[Array, '']
) -> Float[Array, '3 l']:
  """The three losses of each layer over the whole batch."""
  weights = config.class_weight, config.box_weight, config.giou_weight
  rows = [w * jnp.sum(x, 1) for w, x in zip(weights, sums, strict=True)]
  return jnp.stack(rows) / count


def _present(batch: types.Batch) -> Bool[Array, 'b m']:
  """The true boxes that can be matched."""
  if batch.targets is None:
    raise ValueError('batch.targets=None: the set loss needs ground truth')
  return jnp.asarray(batch.targets.valid) & ~jnp.asarray(batch.targets.crowd)
