"""From queries to the few detections of an image, under one of two rules.

By phrases, which is that of evaluations: the best pairs of a query and a
phrase. By tokens, which is that of Hugging Face's post-processing: every query
once, named by the tokens that it likes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glip_jax import types
from glip_jax.ops import phrases, precision

# The reference never takes the last of 256 tokens for a name.
_LAST = 255


def decode(
    outputs: types.Outputs,
    batch: types.Batch,
    *,
    rule: str = 'phrases',
    score_threshold: float | Float[Array, ''] = 0.0,
    text_threshold: float | Float[Array, ''] = 0.25,
    max_detections: int = 300,
    aggregate: str = 'mean',
) -> types.Detections:
  """Detections under the rule of a config; nothing is suppressed.

  Args:
    outputs: of the last layer.
    batch: its `size` and `prompt` are used.
    rule: 'phrases' or 'hf': `best_pairs` or `best_queries`.
    score_threshold: what scores at or below it is left out.
    text_threshold: see `best_queries`.
    max_detections: size k of the result, at most all there are.
    aggregate: 'mean' or 'max' of the sigmoids of a phrase's tokens.

  Returns:
    Detections, best first, clipped to the image.
  """
  options = dict(
      score_threshold=score_threshold,
      max_detections=max_detections,
      aggregate=aggregate,
  )
  if rule == 'phrases':
    return best_pairs(outputs, batch, **options)
  return best_queries(outputs, batch, text_threshold=text_threshold, **options)


def best_pairs(
    outputs: types.Outputs,
    batch: types.Batch,
    *,
    score_threshold: float | Float[Array, ''],
    max_detections: int,
    aggregate: str,
) -> types.Detections:
  """The best pairs of a query and a phrase; nothing is suppressed.

  Args:
    outputs: of the last layer.
    batch: its `size` and `prompt.spans` are used.
    score_threshold: pairs at or below it are left out.
    max_detections: size k of the result, at most all pairs.
    aggregate: 'mean' or 'max' of the sigmoids of a phrase's tokens.

  Returns:
    Detections, best first, clipped to the image.
  """
  spans = jnp.asarray(batch.prompt.spans)
  scores = phrases.phrase_scores(
      jax.nn.sigmoid(precision.widen(outputs.logits)), spans, mode=aggregate
  )
  possible = jnp.any(spans, axis=-1)[:, None] & outputs.valid[..., None]
  scores = jnp.where(possible, scores, -1.0)
  b, q, c = scores.shape
  best, index = jax.lax.top_k(scores.reshape(b, -1), min(max_detections, q * c))
  query, label = jnp.divmod(index, c)
  return _detections(outputs, batch, query, best, label, score_threshold)


def best_queries(
    outputs: types.Outputs,
    batch: types.Batch,
    *,
    score_threshold: float | Float[Array, ''],
    text_threshold: float | Float[Array, ''],
    max_detections: int,
    aggregate: str,
) -> types.Detections:
  """The best queries, each named by its tokens, as Hugging Face's processor.

  The score is that of the best token of the whole prompt, delimiters among
  them. The processor gives its detections in the order of the queries and
  does not clip them.

  Args:
    outputs: of the last layer.
    batch: its `size` and `prompt` are used.
    score_threshold: queries at or below it are left out.
    text_threshold: tokens over it name their query, but the first and the
      256th of the prompt.
    max_detections: size k of the result, at most all queries.
    aggregate: as for `best_pairs`; decides on the label alone.

  Returns:
    Detections with `tokens`, best first, clipped to the image. The label is
    the phrase that scores best, -1 where the prompt has none.
  """
  mask = jnp.asarray(batch.prompt.mask)[:, None]
  chances = jax.nn.sigmoid(precision.widen(outputs.logits))
  chances = jnp.where(mask, chances, 0.0)
  scores = jnp.where(outputs.valid, chances.max(-1), -1.0)
  best, query = jax.lax.top_k(scores, min(max_detections, scores.shape[1]))
  chances = jnp.take_along_axis(chances, query[..., None], axis=1)
  place = jnp.arange(mask.shape[-1])
  named = (chances > text_threshold) & (place > 0) & (place < _LAST)
  spans = jnp.asarray(batch.prompt.spans)
  exists = jnp.any(spans, axis=-1)[:, None]
  fit = phrases.phrase_scores(chances, spans, mode=aggregate)
  label = jnp.argmax(jnp.where(exists, fit, -1.0), axis=-1)
  label = jnp.where(jnp.any(exists, axis=-1), label, -1)
  found = _detections(outputs, batch, query, best, label, score_threshold)
  return found.replace(tokens=named & found.valid[..., None])


def _detections(
    outputs: types.Outputs,
    batch: types.Batch,
    query: Int[Array, 'b k'],
    scores: Float[Array, 'b k'],
    label: Int[Array, 'b k'],
    threshold: float | Float[Array, ''],
) -> types.Detections:
  """Those over a threshold, boxes clipped to the image."""
  boxes = jnp.take_along_axis(outputs.boxes, query[..., None], axis=1)
  sides = jnp.tile(jnp.asarray(batch.size)[:, None, ::-1], 2)
  boxes = jnp.clip(boxes, 0.0, sides.astype(boxes.dtype))
  valid = scores > jnp.maximum(threshold, 0.0)
  return types.Detections(
      jnp.where(valid[..., None], boxes, 0.0),
      jnp.where(valid, scores, 0.0),
      label,
      valid,
  )
