"""GELU against the error function of the standard library."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.ops import activations

POINTS = np.linspace(-9, 9, 181)


@pytest.mark.parametrize('dtype, bound', [('f8', 1e-14), ('f4', 1e-6)])
def test_values_and_slopes(dtype, bound):
  density = np.exp(-(POINTS**2) / 2) / math.sqrt(2 * math.pi)
  share = np.array([(1 + math.erf(x / math.sqrt(2))) / 2 for x in POINTS])
  with jax.enable_x64(True):
    x = jnp.asarray(POINTS, dtype)
    value, slope = jax.jvp(activations.gelu, (x,), (jnp.ones_like(x),))
  assert value.dtype == dtype
  np.testing.assert_allclose(value, POINTS * share, atol=bound)
  np.testing.assert_allclose(slope, share + POINTS * density, atol=bound)


def test_half_precision_is_rounded_once():
  x = jnp.asarray(POINTS, jnp.bfloat16)
  want = activations.gelu(x.astype(jnp.float32)).astype(jnp.bfloat16)
  mine = activations.gelu(x)
  assert mine.dtype == jnp.bfloat16
  np.testing.assert_array_equal(
      np.asarray(mine, np.float32), np.asarray(want, np.float32)
  )
