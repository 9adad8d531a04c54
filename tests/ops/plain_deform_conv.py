"""Modulated deformable convolution as it is written down.

Four gathers with their own tests of the border, an im2col matrix of nine taps
and one product, one convolution after the other. The benchmarks put it in the
place of the fast form.
"""

import jax.numpy as jnp
import numpy as np

from glip_jax.ops import precision


def pyramid_deform_conv(maps, cells, readings, kernels):
  """See `glip_jax.ops.deform_conv`."""
  return [
      _convolve(maps[r.level], cells[r.level], r, kernels[r.kernel])
      for r in readings
  ]


def _convolve(x, cells, reading, kernel):
  b, h, w, d = x.shape
  p, q = reading.offsets.shape[1:3]
  offsets = reading.offsets.reshape(b, p, q, 9, 2)
  tap = np.arange(9)
  rows = np.arange(p)[:, None, None] * reading.stride - 1 + tap // 3
  columns = np.arange(q)[:, None] * reading.stride - 1 + tap % 3
  y, z = offsets[..., 0] + rows, offsets[..., 1] + columns
  own_h, own_w = (cells[:, i, None, None, None] for i in (0, 1))
  inside = (y > -1) & (y < own_h) & (z > -1) & (z < own_w)
  top, left = jnp.floor(y), jnp.floor(z)
  fy, fx = y - top, z - left
  image = jnp.arange(b)[:, None, None, None]

  def corner(down, right, weight):
    i, j = top.astype(int) + down, left.astype(int) + right
    within = inside & (i >= 0) & (i < own_h) & (j >= 0) & (j < own_w)
    value = x[image, jnp.clip(i, 0, h - 1), jnp.clip(j, 0, w - 1)]
    return value * jnp.where(within, weight, 0)[..., None].astype(x.dtype)

  sample = (
      corner(0, 0, (1 - fy) * (1 - fx))
      + corner(0, 1, (1 - fy) * fx)
      + corner(1, 0, fy * (1 - fx))
      + corner(1, 1, fy * fx)
  )
  sample *= reading.modulation[..., None].astype(x.dtype)
  return jnp.einsum(
      'bpqn,ne->bpqe',
      sample.reshape(b, p, q, 9 * d),
      kernel.reshape(9 * d, -1).astype(x.dtype),
      preferred_element_type=precision.widened(x.dtype),
  )
