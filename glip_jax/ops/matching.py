"""Which query learns which box: the assignment of least total cost.

A set has no order, so a set loss first pairs its elements (DETR, arXiv
2005.12872, section 3.1). The Hungarian algorithm is optax's.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from glip_jax.ops import precision

# Sums of costs below it stay finite.
_LIMIT = 1e30


def match(
    cost: Float[Array, 'b q m'], valid: Bool[Array, 'b m']
) -> Int[Array, 'b m']:
  """The query that each truth gets, so that their costs add up to the least.

  What an image is answered depends on its valid truths alone: neither on how
  many others there are nor on where they stand. Without gradient.

  Args:
    cost: of giving query q to truth m. A cost that is not finite, or of 1e30
      and more, forbids the pair.
    valid: False at padding.

  Returns:
    Index of the query; no query is given twice. -1 at padding, and where there
    is none: of more truths than queries the dearest go without.
  """
  cost = jax.lax.stop_gradient(precision.widen(cost))
  return jax.vmap(_match)(jnp.swapaxes(cost, 1, 2), valid)


def _match(
    cost: Float[Array, 'm q'], valid: Bool[Array, 'm']
) -> Int[Array, 'm']:
  """As `match` for one image, truths before queries."""
  m, q = cost.shape
  # The algorithm takes one truth after the other, so padding comes last: it
  # gets queries that are left. What has no query gets a forbidden one.
  order = jnp.argsort(~valid, stable=True)
  cost = jnp.pad(cost, ((0, 0), (0, max(m - q, 0))), constant_values=jnp.inf)[
      order
  ]
  real = valid[order][:, None]
  allowed = real & (jnp.abs(cost) < _LIMIT)
  forbidden = jnp.where(real, _more_than_any(cost, allowed), 0.0)
  truth, query = optax.assignment.hungarian_algorithm(
      jnp.where(allowed, cost, forbidden)
  )
  query = jnp.where(allowed[truth, query], query, -1)
  return jnp.full(m, -1, query.dtype).at[order[truth]].set(query)


def _more_than_any(
    cost: Float[Array, 'm q'], allowed: Bool[Array, 'm q']
) -> Float[Array, '']:
  """A cost that no saving among the allowed ones makes up for."""
  low = jnp.min(cost, initial=0.0, where=allowed)
  high = jnp.max(cost, initial=0.0, where=allowed)
  num_truths = jnp.sum(jnp.any(allowed, axis=1))
  return high + (high - low) * num_truths + 1.0
