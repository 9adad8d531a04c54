"""What is computed in float32 even where matrix products are in bfloat16.

Statistics, positions, boxes and losses are. Where everything comes in float64,
for a yardstick of rounding, they stay in float64.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Num


def widened(dtype: Any) -> Any:
  """float32, or a float type that is wider still."""
  return jnp.promote_types(dtype, jnp.float32)


def widen(x: Num[Array, '*n']) -> Num[Array, '*n']:
  """An array in float32, or in its own float type if that is wider."""
  return x.astype(widened(x.dtype))
