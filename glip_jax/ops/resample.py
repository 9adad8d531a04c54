"""Changing the size of feature maps, channels last."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glip_jax.ops import precision


def upsample_bilinear(
    x: Float[Array, 'b h w d'],
    size: tuple[int, int],
    own: Int[Array, 'b 2'],
    target: Int[Array, 'b 2'],
) -> Float[Array, 'b p q d']:
  """Bilinear resizing with aligned corners, as two small matrix products.

  Of a map with n rows, output row i of m reads row i * (n - 1) / (m - 1): the
  corner pixels of both maps coincide (torch's `align_corners=True`, which the
  reference uses). n and m are those of each image, not of its canvas.
  Computed in float32 at least.

  Args:
    x: the map to resize.
    size: (p, q) of the result.
    own: (rows, columns) of `x` that each image owns.
    target: (rows, columns) of the result that each image owns.

  Returns:
    The resized map, zero outside what the image owns.
  """
  rows = _interpolation(own[:, 0], target[:, 0], (size[0], x.shape[1]))
  columns = _interpolation(own[:, 1], target[:, 1], (size[1], x.shape[2]))
  y = precision.widen(x)
  y = jnp.einsum('bph,bhwd->bpwd', rows, y, precision='highest')
  y = jnp.einsum('bqw,bpwd->bpqd', columns, y, precision='highest')
  return y.astype(x.dtype)


def upsample_nearest(
    x: Float[Array, 'b h w d'], factor: int = 2
) -> Float[Array, 'b p q d']:
  """Repeats every pixel `factor` times along both axes."""
  b, h, w, d = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, factor, w, factor, d))
  return x.reshape(b, h * factor, w * factor, d)


def _interpolation(
    own: Int[Array, 'b'], target: Int[Array, 'b'], shape: tuple[int, int]
) -> Float[Array, 'b p h']:
  """Matrices that interpolate the first `own` samples at `target` positions."""
  place = jnp.arange(shape[0])
  # In whole numbers: a rounded position beside a sample would lean on two.
  steps = jnp.maximum(target - 1, 1)[:, None]
  travelled = place * (own - 1)[:, None]
  low, fraction = travelled // steps, travelled % steps / steps
  samples = jnp.arange(shape[1])
  at = lambda rows: (samples == rows[..., None]).astype(jnp.float32)
  matrix = (
      at(low) * (1 - fraction)[..., None] + at(low + 1) * fraction[..., None]
  )
  return matrix * (place < target[:, None])[..., None]
