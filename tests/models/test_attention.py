"""Multi-head attention against Flax's own, and what its mask hides."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from glip_jax.models import attention

RNG = np.random.default_rng(0)


def _inputs(queries=5, keys=7, width=12):
  draw = lambda n: jnp.asarray(RNG.standard_normal((2, n, width)), jnp.float32)
  return draw(queries), draw(keys), draw(keys)


def test_it_equals_the_attention_of_flax():
  query, key, value = _inputs()
  attend = jnp.asarray(RNG.random((2, 5, 7)) < 0.6).at[:, :, 0].set(True)
  own = attention.MultiHeadAttention(3)
  weights = own.init(jax.random.key(0), query, key, value)['params']
  theirs = {
      name: dict(
          kernel=weights[name]['kernel'].reshape(shape),
          bias=weights[name]['bias'].reshape(bias),
      )
      for name, shape, bias in (
          ('query', (12, 3, 4), (3, 4)),
          ('key', (12, 3, 4), (3, 4)),
          ('value', (12, 3, 4), (3, 4)),
          ('out', (3, 4, 12), (12,)),
      )
  }
  want = nn.MultiHeadDotProductAttention(3).apply(
      {'params': theirs}, query, key, value, mask=attend[:, None]
  )
  got = own.apply({'params': weights}, query, key, value, attend)
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_what_is_not_attended_to_changes_nothing():
  query, key, value = _inputs()
  attend = jnp.arange(7)[None, None] < 4
  attend = jnp.broadcast_to(attend, (2, 1, 7))
  own = attention.MultiHeadAttention(3)
  weights = own.init(jax.random.key(0), query, key, value)
  short = own.apply(weights, query, key[:, :4], value[:, :4])
  got = own.apply(weights, query, key, value.at[:, 4:].set(1e6), attend)
  np.testing.assert_allclose(got, short, atol=1e-5)
