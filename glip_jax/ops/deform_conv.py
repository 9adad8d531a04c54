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
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glip_jax.ops import precision

_TAPS = 9


class Reading(NamedTuple):
  """One convolution of a map of a pyramid.

  Attributes:
    level: which map is read.
    offsets: float[b p q 18], as in `modulated_deform_conv`.
    modulation: float[b p q 9].
    stride: distance of neighbouring outputs in pixels of the map.
    kernel: which kernel is applied.
  """

  level: int
  offsets: Array
  modulation: Array
  stride: int
  kernel: int


def modulated_deform_conv(
    x: Float[Array, 'b h w d'],
    offsets: Float[Array, 'b p q 18'],
    modulation: Float[Array, 'b p q 9'],
    kernel: Float[Array, '9 d e'],
    *,
    stride: int = 1,
    cells: Int[Array, 'b 2'] | None = None,
) -> Float[Array, 'b p q e']:
  """3x3 modulated deformable convolution with padding 1, without a bias.

  Args:
    x: input map; computed on in its own dtype, accumulated in float32.
    offsets: displacement of every tap in pixels, (dy, dx) interleaved.
    modulation: weight of every tap, usually a sigmoid's output.
    kernel: weights by tap, input and output channel.
    stride: distance of neighbouring outputs in input pixels.
    cells: (rows, columns) of `x` that each image owns, all by default; beyond
      them `x` must be zero.

  Returns:
    The map at p = ceil(h / stride), q = ceil(w / stride), float32.

  Raises:
    ValueError: `offsets` do not have the size of the output.
  """
  reading = Reading(0, offsets, modulation, stride, 0)
  if cells is None:
    cells = jnp.broadcast_to(jnp.array(x.shape[1:3]), (x.shape[0], 2))
  return pyramid_deform_conv([x], [cells], [reading], kernel[None])[0]


def pyramid_deform_conv(
    maps: Sequence[Float[Array, 'b _ _ d']],
    cells: Sequence[Int[Array, 'b 2']],
    readings: Sequence[Reading],
    kernels: Float[Array, 'k 9 d e'],
) -> list[Float[Array, 'b _ _ e']]:
  """Many deformable convolutions of many maps in one pass over the taps.

  One table holds all maps, and one loop reads for all convolutions: as exact
  as one call each, quicker to compile, and quicker to run where maps are
  small.

  Args:
    maps: of one width and any sizes, zero outside what each image owns.
    cells: (rows, columns) of each map that belong to each image: a point
      beyond them reads zero and its offset has no gradient.
    readings: what is read from which map.
    kernels: every kernel by tap, input and output channel.

  Returns:
    The result of each reading, float32.

  Raises:
    ValueError: the offsets of a reading do not have the size of its output.
  """
  for reading in readings:
    _check(maps[reading.level].shape[1:3], reading)
  # Rows of one kernel stand together, so that each needs one product.
  order = sorted(range(len(readings)), key=lambda i: readings[i].kernel)
  counts = [0] * kernels.shape[0]
  index, weight, pitch = [], [], []
  starts = np.cumsum(
      [0] + [(x.shape[1] + 2) * (x.shape[2] + 2) for x in maps[:-1]]
  )
  for i in order:
    reading = readings[i]
    rows, weights = _corners(
        maps[reading.level].shape[1:3], cells[reading.level], reading
    )
    index.append(rows + starts[reading.level])
    weight.append(weights)
    pitch += [maps[reading.level].shape[2] + 2] * rows.shape[-1]
    counts[reading.kernel] += rows.shape[-1]
  out = _scan_taps(
      jnp.concatenate([_ringed(x) for x in maps], axis=1),
      jnp.concatenate(index, axis=2),
      jnp.asarray(pitch, jnp.int32),
      jnp.concatenate(weight, axis=2),
      jnp.moveaxis(kernels, 1, 0),
      tuple(counts),
  )
  results = [None] * len(readings)
  start = 0
  for i in order:
    p, q = readings[i].offsets.shape[1:3]
    rows = jax.lax.slice_in_dim(out, start, start + p * q, axis=1)
    results[i] = rows.reshape(out.shape[0], p, q, -1)
    start += p * q
  return results


def reread_flat(
    values: Float[Array, 'b H W c'],
    size: tuple[int, int],
    own: Int[Array, 'b 2'],
    target: Int[Array, 'b 2'],
) -> Float[Array, 'b h w c']:
  """Reads a map as if its channels-first memory held a smaller map.

  The reference calls the convolution of the next coarser level with the
  offsets of the finer one, and its CUDA kernel indexes that memory with the
  coarser strides: it sees the first c*h*w numbers of the (c, H, W) block as
  (c, h, w). Released weights were trained with it, so it is reproduced, with
  the H, W, h, w of each image alone.

  Args:
    values: offsets or modulation of the finer level.
    size: (h, w) of the coarser level's canvas.
    own: (rows, columns) of the finer level that belong to each image.
    target: likewise of the coarser level; never more cells than `own`.

  Returns:
    The same memory seen at the coarser size, zero outside `target`.
  """
  read = functools.partial(_reread_flat, size=size)
  return jax.vmap(read)(values, own, target)


def _reread_flat(
    values: Float[Array, 'H W c'],
    own: Int[Array, '2'],
    target: Int[Array, '2'],
    *,
    size: tuple[int, int],
) -> Float[Array, 'h w c']:
  """`reread_flat` of one image."""
  num_channels = values.shape[-1]
  row, column, channel = np.meshgrid(
      *map(np.arange, (*size, num_channels)), indexing='ij'
  )
  place = (channel * target[0] + row) * target[1] + column
  from_channel, rest = jnp.divmod(place, own[0] * own[1])
  from_row, from_column = jnp.divmod(rest, own[1])
  index = from_row * values.shape[1] + from_column
  index = index * num_channels + from_channel
  # What lies outside reads a place of its own beyond the end: a zero, and no
  # two cells share a place, which the gradient's scatter profits from.
  beyond = values.size + np.arange(index.size).reshape(index.shape)
  index = jnp.where((row < target[0]) & (column < target[1]), index, beyond)
  return (
      values.reshape(-1)
      .at[index]
      .get(mode='fill', fill_value=0, unique_indices=True)
  )


def _check(size: tuple[int, int], reading: Reading) -> None:
  """Raises a ValueError if offsets do not fit the map that they read."""
  h, w = size
  found, stride = reading.offsets.shape[1:3], reading.stride
  if found != (-(-h // stride), -(-w // stride)):
    raise ValueError(
        f'offsets of size {found} do not fit a map of size {(h, w)} at stride'
        f' {stride}: they must have one row per output'
    )


def _ringed(x: Float[Array, 'b h w d']) -> Float[Array, 'b r d']:
  """Rows of a map with a ring of zeros around it."""
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return x.reshape(x.shape[0], -1, x.shape[-1])


def _corners(
    size: tuple[int, int], cells: Int[Array, 'b 2'], reading: Reading
) -> tuple[Int[Array, '9 b n'], Float[Array, '9 b n 4']]:
  """Row of the top-left corner in the ringed table, and four corner weights."""
  own_h, own_w = (cells[:, axis, None, None, None] for axis in (0, 1))
  b, p, q, _ = reading.offsets.shape
  offsets = precision.widen(reading.offsets).reshape(b, p, q, _TAPS, 2)
  tap = np.arange(_TAPS)
  rows = np.arange(p)[:, None, None] * reading.stride - 1 + tap // 3
  columns = np.arange(q)[None, :, None] * reading.stride - 1 + tap % 3
  y = offsets[..., 0] + rows.astype(np.float32)
  x = offsets[..., 1] + columns.astype(np.float32)
  inside = (y > -1) & (y < own_h) & (x > -1) & (x < own_w)
  # A point outside reads the ring's first row with weight zero; `where` keeps
  # its offset's gradient exactly zero too.
  y, x = jnp.where(inside, y, -1.0), jnp.where(inside, x, -1.0)
  top, left = jnp.floor(y), jnp.floor(x)
  fy, fx = y - jax.lax.stop_gradient(top), x - jax.lax.stop_gradient(left)
  weight = jnp.stack(
      [(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], axis=-1
  )
  scale = jnp.where(inside, precision.widen(reading.modulation), 0.0)
  weight = weight * scale[..., None]
  index = (
      (top.astype(jnp.int32) + 1) * (size[1] + 2) + left.astype(jnp.int32) + 1
  )
  index = jnp.moveaxis(index.reshape(b, p * q, _TAPS), -1, 0)
  weight = jnp.moveaxis(weight.reshape(b, p * q, _TAPS, 4), 2, 0)
  return index, weight


def _read(table: Float[Array, 'b r d'], rows: Int[Array, 'b n']):
  take = lambda t, i: t.at[i].get(mode='promise_in_bounds')
  return jax.vmap(take)(table, rows)


def _add(table: Float[Array, 'b r d'], rows: Int[Array, 'b n'], values):
  add = lambda t, i, v: t.at[i].add(v, mode='promise_in_bounds')
  return jax.vmap(add)(table, rows, values)


def _steps(pitch: Int[Array, 'n']) -> tuple:
  """From the top-left corner's row to the rows of all four corners."""
  return 0, 1, pitch, pitch + 1


def _segments(x: Float[Array, 'b n d'], counts: tuple[int, ...]):
  """The rows of each kernel."""
  ends = np.cumsum(counts)[:-1]
  return jnp.split(x, ends, axis=1)


def _flat(x: Float[Array, 'b n d']) -> Float[Array, 'm d']:
  return x.reshape(-1, x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _scan_taps(table, index, pitch, weight, kernels, counts):
  """Sum over taps of (interpolated row) @ (kernel of the tap and segment)."""

  def tap(total, inputs):
    rows, weights, matrices = inputs
    sample = sum(
        _read(table, rows + step) * weights[..., c, None]
        for c, step in enumerate(_steps(pitch))
    ).astype(table.dtype)
    products = [
        jnp.einsum(
            'bnd,de->bne',
            rows,
            matrix.astype(table.dtype),
            preferred_element_type=precision.widened(table.dtype),
        )
        for rows, matrix in zip(
            _segments(sample, counts), matrices, strict=True
        )
    ]
    return total + jnp.concatenate(products, axis=1), None

  b, n = index.shape[1:]
  start = jnp.zeros((b, n, kernels.shape[-1]), precision.widened(table.dtype))
  return jax.lax.scan(tap, start, (index, weight, kernels))[0]


def _scan_taps_forward(table, index, pitch, weight, kernels, counts):
  out = _scan_taps(table, index, pitch, weight, kernels, counts)
  return out, (table, index, pitch, weight, kernels)


def _scan_taps_backward(counts, saved, gradient):
  table, index, pitch, weight, kernels = saved
  gradient = gradient.astype(table.dtype)
  gradients = _segments(gradient, counts)
  product = functools.partial(
      jnp.einsum, preferred_element_type=precision.widened(table.dtype)
  )

  def tap(d_table, inputs):
    rows, weights, matrices = inputs
    corners = [_read(table, rows + step) for step in _steps(pitch)]
    sample = sum(v * weights[..., c, None] for c, v in enumerate(corners))
    samples = _segments(sample.astype(table.dtype), counts)
    # Contracting one axis, not two: XLA's CPU loops are twice as quick then.
    d_matrices = jnp.stack([
        product('nd,ne->de', _flat(s), _flat(g))
        for s, g in zip(samples, gradients, strict=True)
    ])
    d_sample = jnp.concatenate(
        [
            product('bne,de->bnd', g, matrix.astype(table.dtype))
            for g, matrix in zip(gradients, matrices, strict=True)
        ],
        axis=1,
    )
    d_weights = jnp.stack([jnp.sum(v * d_sample, -1) for v in corners], -1)
    for c, step in enumerate(_steps(pitch)):
      d_table = _add(d_table, rows + step, d_sample * weights[..., c, None])
    return d_table, (d_weights, d_matrices)

  start = jnp.zeros(table.shape, precision.widened(table.dtype))
  d_table, (d_weight, d_kernels) = jax.lax.scan(
      tap, start, (index, weight, kernels)
  )
  return (
      d_table.astype(table.dtype),
      None,
      None,
      d_weight.astype(weight.dtype),
      d_kernels.astype(kernels.dtype),
  )


_scan_taps.defvjp(_scan_taps_forward, _scan_taps_backward)
