"""Resizing of feature maps against direct formulas."""

import jax.numpy as jnp
import numpy as np
import plain_resample
import pytest

from glip_jax.ops import resample


def _naive_bilinear(x, size):
  b, h, w, d = x.shape
  out = np.zeros((b, *size, d))
  for i, j in np.ndindex(*size):
    y = i * (h - 1) / (size[0] - 1) if size[0] > 1 else 0
    z = j * (w - 1) / (size[1] - 1) if size[1] > 1 else 0
    top, left = int(y), int(z)
    low, right = min(top + 1, h - 1), min(left + 1, w - 1)
    fy, fx = y - top, z - left
    out[:, i, j] = (
        x[:, top, left] * (1 - fy) * (1 - fx)
        + x[:, top, right] * (1 - fy) * fx
        + x[:, low, left] * fy * (1 - fx)
        + x[:, low, right] * fy * fx
    )
  return out


@pytest.mark.parametrize(
    'small, large',
    [((3, 4), (6, 8)), ((2, 2), (3, 4)), ((1, 1), (2, 2)), ((1, 3), (1, 5))],
)
def test_bilinear_aligns_corners(small, large):
  x = np.random.default_rng(0).normal(size=(2, *small, 3)).astype(np.float32)
  whole = lambda size: jnp.array([size] * 2)
  out = resample.upsample_bilinear(
      jnp.asarray(x), large, whole(small), whole(large)
  )
  np.testing.assert_allclose(out, _naive_bilinear(x, large), atol=1e-5)


def test_each_image_aligns_its_own_corners():
  x = np.random.default_rng(0).normal(size=(3, 4, 5, 3)).astype(np.float32)
  own = np.array([[4, 5], [3, 2], [1, 4]])
  target = np.array([[8, 10], [5, 4], [2, 7]])
  out = resample.upsample_bilinear(
      jnp.asarray(x), (8, 11), jnp.asarray(own), jnp.asarray(target)
  )
  for b in range(3):
    (h, w), (p, q) = own[b], target[b]
    want = np.zeros((8, 11, 3))
    want[:p, :q] = _naive_bilinear(x[b : b + 1, :h, :w], (p, q))[0]
    np.testing.assert_allclose(out[b], want, atol=1e-5)
  plain = plain_resample.upsample_bilinear(
      jnp.asarray(x), (8, 11), jnp.asarray(own), jnp.asarray(target)
  )
  np.testing.assert_allclose(out, plain, atol=1e-5)


def test_nearest_repeats_pixels():
  x = np.random.default_rng(0).normal(size=(1, 2, 3, 2)).astype(np.float32)
  out = resample.upsample_nearest(jnp.asarray(x))
  np.testing.assert_array_equal(out, x.repeat(2, axis=1).repeat(2, axis=2))
