"""From queries to the few detections of an image: the best pairs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glip_jax.detectors.query import classes
from glip_jax.ops import precision
from glip_jax.types import Batch, Detections, Outputs


def decode(
    outputs: Outputs,
    batch: Batch,
    *,
    score_threshold: float | Float[Array, ''] = 0.0,
    max_detections: int = 100,
    unknown: bool = False,
) -> Detections:
  """Turns outputs into detections: the best pairs of a query and a phrase.

  The score of a pair is the phrase's probability. That of an unknown object is
  the query's objectness times the probability that it is none of the phrases'
  best: of an object head if there is one, else of anything but 'none'.

  Args:
    outputs: of the model; needs `quality`.
    batch: its `size` and `prompt.spans` are used.
    score_threshold: pairs of a lower score are left out.
    max_detections: size k of the result.
    unknown: True also gives unknown objects, with label -1.

  Returns:
    Detections, best first, clipped to the edges of their image. Phrases
    without tokens have none.

  Raises:
    ValueError: if `outputs` lack `quality`.
  """
  spans = jnp.asarray(batch.prompt.spans)
  chances = jnp.exp(classes.log_probabilities(outputs, spans))
  scores = chances[..., :-1]
  allowed = jnp.any(spans, axis=-1)[:, None] & outputs.valid[..., None]
  if unknown:
    doubt = _objectness(outputs, chances) * (1 - jnp.max(scores, axis=-1))
    scores = jnp.concatenate([scores, doubt[..., None]], axis=-1)
    allowed = jnp.concatenate([allowed, outputs.valid[..., None]], axis=-1)
  allowed &= scores >= score_threshold
  best, query, column = _best_pairs(
      jnp.where(allowed, scores, -1.0), max_detections
  )
  valid = best >= 0
  size = jnp.asarray(batch.size)
  edges = size[:, None, [1, 0, 1, 0]].astype(outputs.boxes.dtype)
  boxes = jnp.clip(outputs.boxes, 0.0, edges)
  boxes = jnp.take_along_axis(boxes, query[..., None], axis=1)
  label = jnp.where(column < spans.shape[1], column, -1)
  return Detections(
      boxes=jnp.where(valid[..., None], boxes, 0.0),
      scores=jnp.where(valid, best, 0.0),
      labels=jnp.where(valid, label, 0),
      valid=valid,
  )


def _objectness(
    outputs: Outputs, chances: Float[Array, 'b r k']
) -> Float[Array, 'b r']:
  """Probability that each query is an object, named or not."""
  if outputs.objectness is None:
    return 1.0 - chances[..., -1]
  return jax.nn.sigmoid(precision.widen(outputs.objectness))


def _best_pairs(
    scores: Float[Array, 'b r c'], count: int
) -> tuple[Float[Array, 'b k'], Int[Array, 'b k'], Int[Array, 'b k']]:
  """(score, query, column) of the best entries, padded with scores of -1."""
  flat = scores.reshape(scores.shape[0], -1)
  room = ((0, 0), (0, max(count - flat.shape[1], 0)))
  flat = jnp.pad(flat, room, constant_values=-1.0)
  best, index = jax.lax.top_k(flat, count)
  index = jnp.where(best >= 0, index, 0)
  return best, *jnp.divmod(index, scores.shape[-1])
