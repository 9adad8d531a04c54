"""Normalisation of pictures."""

import jax.numpy as jnp
import numpy as np
from PIL import Image

from glip_jax.ops import images

MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


def test_agrees_with_the_reference_on_its_padded_batch(golden):
  arrays = np.load(golden / 'parts' / 'preprocess.npz')
  picture = Image.fromarray(arrays['rgb_uint8'])
  batch, sizes = np.zeros((2, 64, 64, 3), np.uint8), [(24, 34), (45, 64)]
  for i, (h, w) in enumerate(sizes):
    batch[i, :h, :w] = picture.resize((w, h), Image.Resampling.BILINEAR)
  out = images.normalize(
      jnp.asarray(batch), jnp.asarray(sizes), mean=MEAN, std=STD, bgr=True
  )
  want = arrays['batch'].transpose(0, 2, 3, 1)
  np.testing.assert_allclose(out, want, atol=1e-5)


def test_padding_is_zero_after_normalisation():
  image = np.full((2, 4, 6, 3), 200, np.uint8)
  size = jnp.array([[2, 3], [4, 6]])
  out = images.normalize(jnp.asarray(image), size, mean=MEAN, std=STD, bgr=True)
  want = (200 - np.array(MEAN)) / np.array(STD)
  np.testing.assert_allclose(out[1, 0, 0], want, rtol=1e-6)
  np.testing.assert_array_equal(out[0, 2:], 0)
  np.testing.assert_array_equal(out[0, :, 3:], 0)
  np.testing.assert_allclose(out[0, 1, 2], want, rtol=1e-6)


def test_channels_are_swapped_before_the_mean_where_asked():
  image = np.zeros((1, 1, 1, 3), np.uint8)
  image[..., 0] = 255
  size = jnp.array([[1, 1]])
  swapped, kept = (
      images.normalize(
          jnp.asarray(image), size, mean=(0.0,) * 3, std=(255.0,) * 3, bgr=b
      )
      for b in (True, False)
  )
  np.testing.assert_array_equal(swapped[0, 0, 0], [0, 0, 1])
  np.testing.assert_array_equal(kept[0, 0, 0], [1, 0, 0])
