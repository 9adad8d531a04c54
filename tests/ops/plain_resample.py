"""Bilinear resizing with aligned corners by gathers of the four neighbours."""

import jax
import jax.numpy as jnp


def upsample_bilinear(x, size, own, target):
  """See `glip_jax.ops.resample`."""

  def resize(x, own, target):
    row = jnp.arange(size[0])
    column = jnp.arange(size[1])
    y, fy = _neighbours(row, own[0], target[0])
    z, fz = _neighbours(column, own[1], target[1])
    last = jnp.array(x.shape[:2]) - 1
    take = lambda i, j: x[
        jnp.minimum(i, last[0])[:, None], jnp.minimum(j, last[1])[None, :]
    ].astype(jnp.float32)
    fy, fz = fy[:, None, None], fz[None, :, None]
    top = take(y, z) * (1 - fz) + take(y, z + 1) * fz
    bottom = take(y + 1, z) * (1 - fz) + take(y + 1, z + 1) * fz
    inside = (row < target[0])[:, None] & (column < target[1])
    result = top * (1 - fy) + bottom * fy
    return jnp.where(inside[..., None], result, 0).astype(x.dtype)

  return jax.vmap(resize)(x, own, target)


def _neighbours(place, own, target):
  position = place * ((own - 1) / jnp.maximum(target - 1, 1))
  low = jnp.floor(position)
  return low.astype(int), position - low
