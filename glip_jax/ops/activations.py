"""Activation functions."""

import jax
from jaxtyping import Array, Float

from glip_jax.ops import precision


def gelu(x: Float[Array, '*n']) -> Float[Array, '*n']:
  """GELU (arXiv 1606.08415) with the error function, as released models use it.

  Computed in float32 at least. `jax.nn.gelu` takes the complementary error
  function for the sake of tails below 1e-7, and three times as long on CPU.
  """
  y = precision.widen(x)
  return (0.5 * y * (1 + jax.lax.erf(y * 0.5**0.5))).astype(x.dtype)
