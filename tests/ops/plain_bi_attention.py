"""Bidirectional attention as it is written down, the oracle of the fast form.

Every projection is made and both softmaxes are of whole matrices in memory, as
in the reference. The benchmarks put it in the place of the fast form.
"""

import jax
import jax.numpy as jnp

from glip_jax.ops import precision


def bi_attention(
    image,
    text,
    inside,
    mask,
    projections,
    *,
    num_heads,
    dropout_rate=0.0,
    dropout_key=None,
    drop=None,
):
  """See `glip_jax.ops.bi_attention`; `drop(weights, side)` may be given."""
  if drop is None:
    drop = _dropout(dropout_rate, dropout_key)
  heads = lambda x: x.reshape(*x.shape[:2], num_heads, -1)
  query = heads(projections.image_query(image))
  logits = jnp.einsum(
      'bnhd,bthd->bhnt',
      query * query.shape[-1] ** -0.5,
      heads(projections.text_key(text)),
      preferred_element_type=precision.widened(image.dtype),
  )
  logits = jnp.clip(logits, -50_000, 50_000)
  to_tokens = jax.nn.softmax(
      jnp.where(mask[:, None, None, :], logits, -9e15), axis=3
  )
  to_places = jax.nn.softmax(
      jnp.where(inside[:, None, :, None], logits, -9e15), axis=2
  )
  to_image = jnp.einsum(
      'bhnt,bthd->bnhd',
      drop(to_tokens, 0).astype(image.dtype),
      heads(projections.text_value(text)),
  )
  to_text = jnp.einsum(
      'bhnt,bnhd->bthd',
      drop(to_places, 1).astype(image.dtype),
      heads(projections.image_value(image)),
  )
  flat = lambda x: x.reshape(*x.shape[:2], -1)
  return (
      projections.image_out(flat(to_image)),
      projections.text_out(flat(to_text)),
  )


def _dropout(rate, key):
  def drop(weights, side):
    if key is None or not rate:
      return weights
    keep = jax.random.bernoulli(
        jax.random.fold_in(key, side), 1 - rate, weights.shape
    )
    return jnp.where(keep, weights / (1 - rate), 0)

  return drop
