"""Changing the size of feature maps, channels last."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def upsample_bilinear(
    x: Float[Array, 'b h w d'], size: tuple[int, int]
) -> Float[Array, 'b p q d']:
  """Bilinear resizing with aligned corners, as two small matrix products.

  Output row i reads input row i * (h - 1) / (p - 1): the corner pixels of both
  maps coincide (torch's `align_corners=True`, which the reference uses).
  Computed in float32 whatever the type of the map.

  Args:
    x: the map to resize.
    size: (p, q) of the result.

  Returns:
    The resized map.
  """
  if x.shape[1:3] == tuple(size):
    return x
  rows = _interpolation(x.shape[1], size[0])
  columns = _interpolation(x.shape[2], size[1])
  y = x.astype(jnp.float32)
  y = jnp.einsum(
      'ph,bhwd,qw->bpqd',
      rows,
      y,
      columns,
      optimize='optimal',
      precision='highest',
  )
  return y.astype(x.dtype)


def upsample_nearest(
    x: Float[Array, 'b h w d'], factor: int = 2
) -> Float[Array, 'b p q d']:
  """Repeats every pixel `factor` times along both axes."""
  b, h, w, d = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, factor, w, factor, d))
  return x.reshape(b, h * factor, w * factor, d)


def _interpolation(n: int, count: int) -> np.ndarray:
  """float32[count n] matrix that interpolates n samples at count positions."""
  step = (n - 1) / (count - 1) if count > 1 else 0.0
  position = np.arange(count) * step
  low = np.minimum(np.floor(position).astype(int), n - 1)
  high = np.minimum(low + 1, n - 1)
  fraction = (position - low).astype(np.float32)
  matrix = np.zeros((count, n), np.float32)
  np.add.at(matrix, (np.arange(count), low), 1 - fraction)
  np.add.at(matrix, (np.arange(count), high), fraction)
  return matrix
