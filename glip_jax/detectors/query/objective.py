"""The learning problem of queries: a set of boxes, each with a phrase or none.

Training pairs queries with true boxes at least cost, at every decoder layer
(DETR, arXiv 2005.12872, section 3.1). `loss` is a pure function of `Outputs`
and `Batch`, of static shape: what an image adds to the sums depends neither on
its bucket nor on its batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from glip_jax.detectors.query import classes
from glip_jax.ops import boxes as box_ops
from glip_jax.ops import losses, matching
from glip_jax.types import Batch, Outputs, Targets


class LossSums(NamedTuple):
  """What `loss` is made of, summed over the queries of each image.

  Attributes:
    label: cross-entropies of the classes, weighted.
    label_weight: their weights, the normaliser of `label`.
    box: L1 distances of the matched boxes, relative to the image.
    giou: their GIoU losses.
    objectness: cross-entropies of the objectness head over all queries, 0
      without one.
  """

  label: Float[Array, '*b']
  label_weight: Float[Array, '*b']
  box: Float[Array, '*b']
  giou: Float[Array, '*b']
  objectness: Float[Array, '*b']


class Truth(NamedTuple):
  """What queries can learn, by image.

  Attributes:
    boxes: edges in input pixels.
    label: index of the phrase; that of 'none', behind all phrases, for an
      object that the prompt does not name.
    valid: False at padding and at crowds, which are no targets.
    sides: (w, h, w, h) of the image, what boxes are relative to.
  """

  boxes: Float[Array, 'b m 4']
  label: Int[Array, 'b m']
  valid: Bool[Array, 'b m']
  sides: Float[Array, 'b 1 4']


def loss(
    outputs: Outputs,
    batch: Batch,
    *,
    num_groups: int = 1,
    match_class: float = 1.0,
    box_weight: float = 5.0,
    giou_weight: float = 2.0,
    none_weight: float = 0.1,
    object_weight: float = 1.0,
) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
  """Training loss of all decoder layers.

  Normalised over the batch of all devices: cross-entropies of classes by their
  weights, as DETR's are, all else by the number of true boxes. Each group of
  queries is assigned all true boxes, and the loss is the mean over groups
  (Group DETR, arXiv 2207.13085).

  Args:
    outputs: of the model; needs `quality`, and uses `auxiliary` and
      `objectness` where they are.
    batch: needs `targets`. An object whose `phrase` is negative is one that no
      phrase names: a query learns its box and the class 'none'.
    num_groups: into which the queries are divided, each as large.
    match_class: weight of minus the probability of the true class, in the
      assignment alone.
    box_weight: weight of the L1 distance between relative boxes (centre and
      sides), in assignment and loss.
    giou_weight: weight of the GIoU loss, in both.
    none_weight: weight of the cross-entropies of queries that learn 'none'.
    object_weight: weight of the objectness head's cross-entropies.

  Returns:
    The total, and the scalars to log: `loss_class`, `loss_box`, `loss_giou`,
    with an objectness head `loss_object`, and `loss_auxiliary`, the sum of all
    these at the earlier layers. They add up to the total. Beside them stands
    `num_boxes`.

  Raises:
    ValueError: if `outputs` or `batch` lack what is needed.
  """
  costs = dict(
      match_class=match_class,
      box_weight=box_weight,
      giou_weight=giou_weight,
  )
  truth = _truth(batch)
  num_boxes = jnp.sum(truth.valid, dtype=jnp.float32)
  sums = loss_sums(
      outputs, batch, num_groups=num_groups, **costs, none_weight=none_weight
  )
  sums = jax.tree.map(lambda x: jnp.sum(x, axis=(1, 2)) / num_groups, sums)
  count = jnp.maximum(num_boxes, 1.0)
  terms = {
      'loss_class': sums.label / sums.label_weight,
      'loss_box': box_weight * sums.box / count,
      'loss_giou': giou_weight * sums.giou / count,
  }
  if outputs.objectness is not None:
    terms['loss_object'] = object_weight * sums.objectness / count
  earlier = sum(jnp.sum(layers[:-1]) for layers in terms.values())
  terms = {name: layers[-1] for name, layers in terms.items()}
  terms['loss_auxiliary'] = earlier
  return sum(terms.values()), terms | {'num_boxes': num_boxes}


def loss_sums(
    outputs: Outputs,
    batch: Batch,
    *,
    num_groups: int = 1,
    match_class: float = 1.0,
    box_weight: float = 5.0,
    giou_weight: float = 2.0,
    none_weight: float = 0.1,
) -> LossSums:
  """What `loss` normalises, by layer, group and image, whatever the batch.

  Arguments are those of `loss`.

  Returns:
    Sums of shape [l g b], the last layer last.

  Raises:
    ValueError: if `outputs` or `batch` lack what is needed.
  """
  truth, spans = _truth(batch), jnp.asarray(batch.prompt.spans)

  def layer(outputs: Outputs) -> LossSums:
    chances = classes.log_probabilities(outputs, spans)
    cost = _cost(outputs, chances, truth, match_class, box_weight, giou_weight)
    matched = matching.match(cost, truth.valid)
    return _layer_sums(outputs, chances, truth, matched, none_weight)

  layers = (*outputs.auxiliary, outputs.replace(auxiliary=()))
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *layers)
  grouped = jax.tree.map(
      lambda x: x.reshape(*x.shape[:2], num_groups, -1, *x.shape[3:]), stacked
  )
  return jax.vmap(jax.vmap(layer, in_axes=1))(grouped)


def _truth(batch: Batch) -> Truth:
  """What the batch has to learn."""
  targets: Targets | None = batch.targets
  if targets is None:
    raise ValueError('batch.targets=None: the set loss needs ground truth')
  spans = jnp.asarray(batch.prompt.spans)
  phrase = jnp.asarray(targets.phrase)
  num_phrases = spans.shape[1]
  has_tokens = jnp.take_along_axis(
      jnp.any(spans, axis=-1), jnp.maximum(phrase, 0), axis=1
  )
  size = jnp.maximum(jnp.asarray(batch.size), 1)
  return Truth(
      boxes=jnp.asarray(targets.boxes),
      label=jnp.where((phrase >= 0) & has_tokens, phrase, num_phrases),
      valid=jnp.asarray(targets.valid) & ~jnp.asarray(targets.crowd),
      sides=size[:, None, [1, 0, 1, 0]].astype(jnp.float32),
  )


def _cost(
    outputs: Outputs,
    chances: Float[Array, 'b r k'],
    truth: Truth,
    match_class: float,
    box_weight: float,
    giou_weight: float,
) -> Float[Array, 'b r m']:
  """What it costs to give a query to a true box."""
  label = jnp.broadcast_to(
      truth.label[:, None], (*chances.shape[:2], truth.label.shape[1])
  )
  probability = jnp.exp(jnp.take_along_axis(chances, label, axis=-1))
  distance = _distance(
      outputs.boxes[:, :, None], truth.boxes[:, None], truth.sides[:, None]
  )
  overlap = box_ops.pairwise_generalized_iou(outputs.boxes, truth.boxes)
  return (
      box_weight * distance - giou_weight * overlap - match_class * probability
  )


def _layer_sums(
    outputs: Outputs,
    chances: Float[Array, 'b r k'],
    truth: Truth,
    matched: Int[Array, 'b m'],
    none_weight: float,
) -> LossSums:
  """The sums of one layer, whose queries `matched` learn the true boxes."""
  found = matched >= 0
  none = chances.shape[-1] - 1
  label = jnp.full(chances.shape[:2], none)
  label = _at_queries(matched, truth.label, label)
  entropy = -jnp.take_along_axis(chances, label[..., None], axis=-1)[..., 0]
  weight = jnp.where(label == none, none_weight, 1.0)
  index = jnp.maximum(matched, 0)[..., None]
  # Truths without a query compare their box with itself: finite, no gradient.
  boxes = jnp.take_along_axis(outputs.boxes, index, axis=1)
  boxes = jnp.where(found[..., None], boxes, truth.boxes)
  over_found = lambda x: jnp.sum(x, axis=1, where=found)
  objectness = jnp.zeros(len(boxes))
  if outputs.objectness is not None:
    is_object = _at_queries(matched, 1.0, jnp.zeros(chances.shape[:2]))
    objectness = jnp.sum(
        losses.sigmoid_cross_entropy(outputs.objectness, is_object), axis=1
    )
  return LossSums(
      label=jnp.sum(weight * entropy, axis=1),
      label_weight=jnp.sum(weight, axis=1),
      box=over_found(_distance(boxes, truth.boxes, truth.sides)),
      giou=over_found(losses.giou_loss(boxes, truth.boxes)),
      objectness=objectness,
  )


def _at_queries(
    matched: Int[Array, 'b m'],
    values: float | Int[Array, 'b m'],
    others: Num[Array, 'b r'],
) -> Num[Array, 'b r']:
  """Each truth's value at its query, `others` elsewhere."""
  rows = jnp.arange(len(matched))[:, None]
  # Truths without a query write behind the last one: nowhere.
  place = jnp.where(matched >= 0, matched, others.shape[1])
  return others.at[rows, place].set(values, mode='drop')


def _distance(
    boxes: Float[Array, '*#n 4'],
    others: Float[Array, '*#n 4'],
    sides: Float[Array, '*#n 4'],
) -> Float[Array, '*#n']:
  """L1 distance of centres and sides, relative to the image's sides."""
  apart = box_ops.to_centre(boxes) - box_ops.to_centre(others)
  return jnp.sum(jnp.abs(apart / sides), axis=-1)
