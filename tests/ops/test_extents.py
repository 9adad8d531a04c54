"""Which cells of a padded map belong to the image, against loops."""

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax.ops import extents

EXTENT = jnp.array([[64, 96], [32, 160], [0, 0]])


def test_an_image_owns_as_many_cells_as_it_has_alone():
  np.testing.assert_array_equal(
      extents.own_cells(EXTENT, 128), [[1, 1], [1, 2], [1, 1]]
  )
  np.testing.assert_array_equal(
      extents.own_cells(EXTENT, 16), [[4, 6], [2, 10], [1, 1]]
  )


def test_what_is_outside_becomes_zero_and_gets_no_gradient():
  cells = extents.own_cells(EXTENT, 16)
  x = np.random.default_rng(0).normal(size=(3, 5, 11, 2)).astype(np.float32)
  out = extents.zero_outside(jnp.asarray(x), cells)
  total = lambda x: jnp.sum(extents.zero_outside(x, cells))
  gradient = jax.grad(total)(jnp.asarray(x))
  for b, i, j in np.ndindex(3, 5, 11):
    own = i < cells[b, 0] and j < cells[b, 1]
    np.testing.assert_array_equal(out[b, i, j], x[b, i, j] if own else 0)
    np.testing.assert_array_equal(gradient[b, i, j], float(own))


def test_the_mean_is_over_the_image_whatever_stands_outside():
  cells = extents.own_cells(EXTENT, 16)
  x = np.random.default_rng(0).normal(size=(3, 5, 11, 2)).astype(np.float32)
  x = np.where(extents.inside(cells, (5, 11))[..., None], x, np.nan)
  mean = extents.own_mean(jnp.asarray(x), cells)
  for b in range(3):
    want = x[b, : cells[b, 0], : cells[b, 1]].mean(axis=(0, 1))
    np.testing.assert_allclose(mean[b], want, rtol=1e-5)
