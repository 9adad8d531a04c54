"""The learning problem of the dense head: one anchor per location.

Training matches anchors to boxes by ATSS and sums token focal, GIoU and
centerness losses; decoding is top-k and non-maximum suppression. Both are pure
functions of `Outputs` and `Batch`, of static shape, and ignore regions that
are not `valid`: sums and detections of an image depend neither on its bucket
nor on its batch. (`loss` divides by the positives of the whole batch.)

Boxes and anchors of GLIP's `Outputs` end at their last pixel. Ground truth and
detections are from edge to edge; here they are converted (inclusive.py).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax.detectors.glip import inclusive, selection
from glip_jax.ops import assign, losses, phrases, precision
from glip_jax.ops import boxes as box_ops
from glip_jax.types import Batch, Detections, Outputs

# The last token column of a full-length prompt says 'no object'; a shorter
# prompt is cut before it and has none.
_FULL_LENGTH = 256
# Below this a sum of centerness counts as this: no box is that far off-centre.
_MIN_WEIGHT = 1e-6


class LossSums(NamedTuple):
  """What `loss` is made of, summed over the regions of each image.

  Attributes:
    token: focal losses over valid regions and tokens.
    box: GIoU losses of the positives, weighted by their centerness.
    centerness: cross-entropies of the positives.
    weight: centerness of the positives, the normaliser of `box`.
    num_positives: number of positives, the normaliser of the others.
  """

  token: Float[Array, 'b']
  box: Float[Array, 'b']
  centerness: Float[Array, 'b']
  weight: Float[Array, 'b']
  num_positives: Float[Array, 'b']


def loss(
    outputs: Outputs,
    batch: Batch,
    *,
    reg_weight: float = 2.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
    top_k: int = 9,
) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
  """Training loss of GLIP's dense head.

  Normalised over the batch of all devices: token and centerness losses by the
  number of positives, box losses by the sum of their centerness.

  Args:
    outputs: of the model; needs `quality`, `anchors` and `level_sizes`.
    batch: needs `targets`.
    reg_weight: weight of the box loss.
    alpha: weight of positive (region, token) pairs.
    gamma: focusing exponent of the token loss.
    top_k: ATSS candidates per level and box.

  Returns:
    The total, and the scalars to log: `loss_token`, `loss_box` (weighted) and
    `loss_centerness`, which add up to it, and `num_positives`.

  Raises:
    ValueError: if `outputs` or `batch` lack what is needed.
  """
  sums = loss_sums(outputs, batch, alpha=alpha, gamma=gamma, top_k=top_k)
  sums = jax.tree.map(jnp.sum, sums)
  count = jnp.maximum(sums.num_positives, 1.0)
  terms = {
      'loss_token': sums.token / count,
      'loss_box': reg_weight * sums.box / jnp.maximum(sums.weight, _MIN_WEIGHT),
      'loss_centerness': sums.centerness / count,
  }
  return sum(terms.values()), terms | {'num_positives': sums.num_positives}


def loss_sums(
    outputs: Outputs,
    batch: Batch,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    top_k: int = 9,
) -> LossSums:
  """What `loss` normalises, image by image: independent of the batch.

  Arguments are those of `loss`.

  Raises:
    ValueError: if `outputs` or `batch` lack what is needed.
  """
  _check(outputs)
  boxes = _truth(batch)
  matched = match(outputs, batch, top_k=top_k)
  box, quality, weight = _box_losses(outputs, boxes, matched)
  # Recomputed in the backward pass: its residuals would be [b r t] arrays.
  token_loss = jax.checkpoint(
      functools.partial(_token_losses, alpha=alpha, gamma=gamma)
  )
  token = token_loss(
      outputs.logits,
      _token_targets(jnp.asarray(batch.targets.tokens), matched),
      outputs.valid,
      jnp.asarray(batch.prompt.mask),
  )
  return LossSums(
      token=token,
      box=jnp.sum(box, axis=1),
      centerness=jnp.sum(quality, axis=1),
      weight=jnp.sum(weight, axis=1),
      num_positives=jnp.sum(matched >= 0, axis=1, dtype=jnp.float32),
  )


def match(
    outputs: Outputs, batch: Batch, *, top_k: int = 9
) -> Int[Array, 'b r']:
  """Index of the ground-truth box that each region learns, -1 for none.

  Args:
    outputs: of the model; needs `anchors` and `level_sizes`.
    batch: needs `targets`.
    top_k: ATSS candidates per level and box.

  Raises:
    ValueError: if `outputs` or `batch` lack what is needed.
  """
  _check(outputs)
  boxes, targets = _truth(batch), batch.targets
  return assign.assign_atss(
      outputs.anchors,
      outputs.valid,
      boxes,
      jnp.asarray(targets.valid) & ~jnp.asarray(targets.crowd),
      level_sizes=outputs.level_sizes,
      top_k=top_k,
  )


def _truth(batch: Batch) -> Float[Array, 'b m 4']:
  """The ground truth's boxes, up to their last pixel."""
  if batch.targets is None:
    raise ValueError('batch.targets=None: the dense loss needs ground truth')
  boxes = jnp.asarray(batch.targets.boxes)
  return inclusive.from_edges(boxes, jnp.asarray(batch.scale))


def _check(outputs: Outputs) -> None:
  """Raises a ValueError if `outputs` are not those of a dense head."""
  for name in ('quality', 'anchors'):
    if getattr(outputs, name) is None:
      raise ValueError(f'outputs.{name}=None: the dense objective needs it')
  num_regions = sum(h * w for h, w in outputs.level_sizes)
  if num_regions != outputs.logits.shape[1]:
    raise ValueError(
        f'outputs.level_sizes={outputs.level_sizes} hold {num_regions} regions,'
        f' the logits {outputs.logits.shape[1]}'
    )


def _token_targets(
    tokens: Bool[Array, 'b m t'], matched: Int[Array, 'b r']
) -> Bool[Array, 'b r t']:
  """The tokens that each region should score: those of its box, or none."""
  positive = (matched >= 0)[..., None]
  own = jnp.take_along_axis(tokens, jnp.maximum(matched, 0)[..., None], axis=1)
  if tokens.shape[-1] < _FULL_LENGTH:
    return positive & own
  no_object = jnp.arange(tokens.shape[-1]) == _FULL_LENGTH - 1
  # Neither has a box that no phrase names a token.
  return jnp.where(positive & jnp.any(own, -1, keepdims=True), own, no_object)


def _token_losses(
    logits: Float[Array, 'b r t'],
    targets: Bool[Array, 'b r t'],
    valid: Bool[Array, 'b r'],
    token_mask: Bool[Array, 'b t'],
    *,
    alpha: float,
    gamma: float,
) -> Float[Array, 'b']:
  """Sums of focal losses over the valid regions of each image."""
  logits = jnp.where(valid[..., None], logits, 0.0)
  pairs = losses.region_word_focal_loss(
      logits, targets, token_mask=token_mask, alpha=alpha, gamma=gamma
  )
  return jnp.sum(pairs, axis=(1, 2), where=valid[..., None])


def _box_losses(
    outputs: Outputs, boxes: Float[Array, 'b m 4'], matched: Int[Array, 'b r']
) -> tuple[Float[Array, 'b r'], ...]:
  """(weighted GIoU loss, centerness loss, centerness); zero at negatives."""
  positive = matched >= 0
  index = jnp.maximum(matched, 0)[..., None]
  targets = jnp.take_along_axis(boxes, index, axis=1)
  # Negatives compare their anchor with itself: finite and without gradient,
  # whatever the network predicts there.
  targets = jnp.where(positive[..., None], targets, outputs.anchors)
  predicted = jnp.where(positive[..., None], outputs.boxes, outputs.anchors)
  # The coder limits how much larger than its anchor a box can be; targets pass
  # through it as in GLIP, so that they are never out of reach.
  deltas = box_ops.encode_boxes(targets, outputs.anchors)
  targets = box_ops.decode_boxes(deltas, outputs.anchors)
  weight = losses.centerness(outputs.anchors, targets)
  box = weight * losses.giou_loss(predicted, targets)
  quality = losses.sigmoid_cross_entropy(
      jnp.where(positive, outputs.quality, 0.0), weight
  )
  return tuple(jnp.where(positive, x, 0.0) for x in (box, quality, weight))


def decode(
    outputs: Outputs,
    batch: Batch,
    *,
    score_threshold: float | Float[Array, ''] = 0.05,
    pre_nms_top_k: int = 1000,
    nms_threshold: float | Float[Array, ''] = 0.6,
    max_detections: int = 100,
    aggregate: str = 'mean',
    unknown: bool = False,
) -> Detections:
  """Turns outputs into detections, as GLIP's ATSS post-processor.

  A (region, phrase) pair is a candidate if its phrase score is above the
  threshold; the best of each level by phrase score times centerness survive,
  are clipped, suppressed per phrase over all levels, and scored by the root of
  that product. Two deliberate differences: detections come best first, and
  ties never make them more than `max_detections`.

  Args:
    outputs: of the model; needs `quality`, `anchors` and `level_sizes`.
    batch: its `size`, `scale` and `prompt.spans` are used.
    score_threshold: phrase scores at or below it are no candidates.
    pre_nms_top_k: candidates per level.
    nms_threshold: IoU above which the worse of two boxes goes.
    max_detections: size k of the result.
    aggregate: 'mean' or 'max' over the tokens of a phrase.
    unknown: True also gives unknown objects, with label -1, whose phrase score
      is one minus that of the best phrase: nothing but centerness says that
      there is an object.

  Returns:
    Detections, best first. Phrases without tokens have none. It is their last
    pixel that is clipped, to the image's: at the border of a resized image an
    edge is off the image's by the difference of the two sizes of a pixel.

  Raises:
    ValueError: if `outputs` lack what is needed or `aggregate` is unknown.
  """
  _check(outputs)
  spans = jnp.asarray(batch.prompt.spans)
  scores = phrases.phrase_scores(
      jax.nn.sigmoid(precision.widen(outputs.logits)), spans, mode=aggregate
  )
  possible = jnp.any(spans, axis=-1)[:, None] & outputs.valid[..., None]
  if unknown:
    doubt = 1 - jnp.max(scores, axis=-1, keepdims=True)
    scores = jnp.concatenate([scores, doubt], axis=-1)
    possible = jnp.concatenate([possible, outputs.valid[..., None]], axis=-1)
  candidate = (scores > score_threshold) & possible
  scores *= jax.nn.sigmoid(precision.widen(outputs.quality))[..., None]
  boxes = box_ops.clip_boxes(outputs.boxes, jnp.asarray(batch.size))
  select = functools.partial(
      selection.select,
      level_sizes=outputs.level_sizes,
      pre_nms_top_k=pre_nms_top_k,
      nms_threshold=nms_threshold,
      max_detections=max_detections,
  )
  # No candidate's score is negative: -1 marks all the others.
  found = jax.vmap(select)(jnp.where(candidate, scores, -1.0), boxes)
  edges = inclusive.to_edges(found.boxes, jnp.asarray(batch.scale))
  label = jnp.where(found.labels < spans.shape[1], found.labels, -1)
  return found.replace(
      boxes=jnp.where(found.valid[..., None], edges, 0.0),
      labels=label if unknown else found.labels,
  )
