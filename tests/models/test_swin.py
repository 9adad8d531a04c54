"""The backbone on its own."""

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.models import swin

SIZES = dict(embed_dim=8, depths=(2, 1, 1, 1), num_heads=(1, 2, 2, 4), window=3)


@pytest.mark.slow
def test_recomputing_blocks_changes_neither_names_nor_gradients():
  rng = np.random.default_rng(0)
  image = jnp.asarray(rng.normal(size=(2, 64, 64, 3)), jnp.float32)
  extent = jnp.array([[64, 64], [32, 64]])
  plain, recomputed = (swin.Swin(**SIZES, remat=x) for x in (False, True))
  shapes, same = (
      jax.eval_shape(model.init, jax.random.key(0), image, extent)['params']
      for model in (plain, recomputed)
  )
  assert jax.tree.structure(shapes) == jax.tree.structure(same)
  params = jax.tree.map(
      lambda x: 0.3 * rng.standard_normal(x.shape, np.float32), shapes
  )

  def gradient(model):
    def total(params):
      maps = model.apply(
          {'params': params},
          image,
          extent,
          train=True,
          rngs={'dropout': jax.random.key(1, impl='rbg')},
      )
      return sum(jnp.sum(jnp.sin(x)) for x in maps)

    return compiling.quick_jit(jax.grad(total))(params)

  # The same blocks are dropped too: the rate is high and the draw the same.
  jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-4),
      gradient(recomputed),
      gradient(plain),
  )
