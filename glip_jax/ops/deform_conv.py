"""Modulated deformable convolution (DCNv2, arXiv 1811.11168), channels last.

A 3x3 kernel reads each of its nine taps at a learned fractional position,
bilinearly, times a learned modulation. Taps are numbered k = 3 * i + j; offset
channels are (dy, dx) pairs per tap. A point at y <= -1, y >= h (or the same in
x) reads zero; missing corners read zero.

The map is kept as a table of rows with a ring of zeros around it, so that
missing corners need no test, and the taps are scanned one after the other, so
that no im2col matrix is ever stored. The backward pass is written by hand: it
saves the inputs only and reads the corners again.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_TAPS = 9


def modulated_deform_conv(
    x: Float[Array, 'b h w d'],
    offsets: Float[Array, 'b p q 18'],
    modulation: Float[Array, 'b p q 9'],
    kernel: Float[Array, '9 d e'],
    *,
    stride: int = 1,
) -> Float[Array, 'b p q e']:
  """3x3 modulated deformable convolution with padding 1, without a bias.

  Args:
    x: input map; computed on in its own dtype, accumulated in float32.
    offsets: displacement of every tap in pixels, (dy, dx) interleaved.
    modulation: weight of every tap, usually a sigmoid's output.
    kernel: weights by tap, input and output channel.
    stride: distance of neighbouring outputs in input pixels.

  Returns:
    The map at p = ceil(h / stride), q = ceil(w / stride), float32.

  Raises:
    ValueError: `offsets` do not have the size of the output.
  """
  b, h, w, _ = x.shape
  p, q = offsets.shape[1:3]
  if (p, q) != (-(-h // stride), -(-w // stride)):
    raise ValueError(
        f'offsets of size {(p, q)} do not fit a map of size {(h, w)} at stride'
        f' {stride}: they must have one row per output'
    )
  index, weight = _corners(offsets, modulation, (h, w), stride)
  table = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  table = table.reshape(b, (h + 2) * (w + 2), -1)
  out = _scan_taps(table, index, weight, kernel, w + 2)
  return out.reshape(b, p, q, -1)


def reread_flat(
    values: Float[Array, 'b H W c'], size: tuple[int, int]
) -> Float[Array, 'b h w c']:
  """Reads a map as if its channels-first memory held a smaller map.

  The reference calls the convolution of the next coarser level with the
  offsets of the finer one, and its CUDA kernel indexes that memory with the
  coarser strides: it sees the first c*h*w numbers of the (c, H, W) block as
  (c, h, w). Released weights were trained with it, so it is reproduced.

  Args:
    values: offsets or modulation of the finer level.
    size: (h, w) of the coarser level; h * w must not exceed H * W.

  Returns:
    The same memory seen at the coarser size.
  """
  b, big_h, big_w, c = values.shape
  h, w = size
  needed = c * h * w
  channels = -(-needed // (big_h * big_w))
  flat = jnp.moveaxis(values[..., :channels], -1, 1).reshape(b, -1)
  return jnp.moveaxis(flat[:, :needed].reshape(b, c, h, w), 1, -1)


def _corners(
    offsets: Float[Array, 'b p q 18'],
    modulation: Float[Array, 'b p q 9'],
    size: tuple[int, int],
    stride: int,
) -> tuple[Int[Array, '9 b n'], Float[Array, '9 b n 4']]:
  """Row of the top-left corner in the ringed table, and four corner weights."""
  h, w = size
  b, p, q, _ = offsets.shape
  offsets = offsets.astype(jnp.float32).reshape(b, p, q, _TAPS, 2)
  tap = jnp.arange(_TAPS)
  y = offsets[..., 0] + (
      jnp.arange(p)[:, None, None] * stride - 1 + tap // 3
  ).astype(jnp.float32)
  x = offsets[..., 1] + (
      jnp.arange(q)[None, :, None] * stride - 1 + tap % 3
  ).astype(jnp.float32)
  inside = (y > -1) & (y < h) & (x > -1) & (x < w)
  # A point outside reads the ring's first row with weight zero; `where` keeps
  # its offset's gradient exactly zero too.
  y, x = jnp.where(inside, y, -1.0), jnp.where(inside, x, -1.0)
  top, left = jnp.floor(y), jnp.floor(x)
  fy, fx = y - jax.lax.stop_gradient(top), x - jax.lax.stop_gradient(left)
  weight = jnp.stack(
      [(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], axis=-1
  )
  scale = jnp.where(inside, modulation.astype(jnp.float32), 0.0)
  weight = weight * scale[..., None]
  index = (top.astype(jnp.int32) + 1) * (w + 2) + left.astype(jnp.int32) + 1
  index = jnp.moveaxis(index.reshape(b, p * q, _TAPS), -1, 0)
  weight = jnp.moveaxis(weight.reshape(b, p * q, _TAPS, 4), 2, 0)
  return index, weight


def _read(table: Float[Array, 'b r d'], rows: Int[Array, 'b n']):
  take = lambda t, i: t.at[i].get(mode='promise_in_bounds')
  return jax.vmap(take)(table, rows)


def _add(table: Float[Array, 'b r d'], rows: Int[Array, 'b n'], values):
  add = lambda t, i, v: t.at[i].add(v, mode='promise_in_bounds')
  return jax.vmap(add)(table, rows, values)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _scan_taps(table, index, weight, kernel, pitch):
  """Sum over taps of (interpolated row) @ (kernel of the tap)."""

  def tap(total, inputs):
    rows, weights, matrix = inputs
    sample = sum(
        _read(table, rows + step) * weights[..., c, None]
        for c, step in enumerate((0, 1, pitch, pitch + 1))
    )
    sample = sample.astype(table.dtype)
    product = jnp.einsum(
        'bnd,de->bne',
        sample,
        matrix.astype(table.dtype),
        preferred_element_type=jnp.float32,
    )
    return total + product, None

  b, n = index.shape[1:]
  start = jnp.zeros((b, n, kernel.shape[-1]), jnp.float32)
  return jax.lax.scan(tap, start, (index, weight, kernel))[0]


def _scan_taps_forward(table, index, weight, kernel, pitch):
  out = _scan_taps(table, index, weight, kernel, pitch)
  return out, (table, index, weight, kernel)


def _scan_taps_backward(pitch, saved, gradient):
  table, index, weight, kernel = saved
  steps = (0, 1, pitch, pitch + 1)
  gradient = gradient.astype(table.dtype)

  def tap(d_table, inputs):
    rows, weights, matrix = inputs
    corners = [_read(table, rows + step) for step in steps]
    sample = sum(v * weights[..., c, None] for c, v in enumerate(corners))
    d_matrix = jnp.einsum(
        'bnd,bne->de',
        sample.astype(table.dtype),
        gradient,
        preferred_element_type=jnp.float32,
    )
    d_sample = jnp.einsum(
        'bne,de->bnd',
        gradient,
        matrix.astype(table.dtype),
        preferred_element_type=jnp.float32,
    )
    d_weights = jnp.stack([jnp.sum(v * d_sample, -1) for v in corners], -1)
    for c, step in enumerate(steps):
      d_table = _add(d_table, rows + step, d_sample * weights[..., c, None])
    return d_table, (d_weights, d_matrix)

  start = jnp.zeros(table.shape, jnp.float32)
  d_table, (d_weight, d_kernel) = jax.lax.scan(
      tap, start, (index, weight, kernel)
  )
  return (
      d_table.astype(table.dtype),
      None,
      d_weight.astype(weight.dtype),
      d_kernel.astype(kernel.dtype),
  )


_scan_taps.defvjp(_scan_taps_forward, _scan_taps_backward)
