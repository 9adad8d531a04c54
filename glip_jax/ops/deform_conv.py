"""Modulated deformable convolution (DCNv2, arXiv 1811.11168), channels last.

A 3x3 kernel reads each of its nine taps at a learned fractional position,
bilinearly, times a learned modulation. Taps are numbered k = 3 * i + j; offset
channels are (dy, dx) pairs per tap. A point at y <= -1, y >= h (or the same in
x) reads zero; missing corners read zero.

The map is kept as a table of rows with a ring of zeros around it, so that
missing corners need no test; `deform_taps` reads it.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glip_jax.ops import deform_taps, forms, precision, ringed

_TAPS = 9
# Rows of the maps that share a table: more leave the cache (256 channels in
# float32: 8 MB), fewer cost more loops to compile and to run.
_TABLE_ROWS = 8192


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
  """Many deformable convolutions of many maps in few passes over the taps.

  Small maps share one table, and one loop reads for all convolutions of them:
  as exact as one call each, quicker to compile and to run. A large map has a
  table and a loop of its own.

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
  results = [None] * len(readings)
  for levels in _tables([ringed.num_rows(x.shape[1:3]) for x in maps]):
    chosen = [i for i, r in enumerate(readings) if r.level in levels]
    # Rows of one kernel stand together, so that each needs one product.
    chosen.sort(key=lambda i: readings[i].kernel)
    if not chosen:
      continue
    own = [
        readings[i]._replace(level=readings[i].level - levels[0])
        for i in chosen
    ]
    found = _convolve_table(
        [maps[i] for i in levels], [cells[i] for i in levels], own, kernels
    )
    for i, result in zip(chosen, found, strict=True):
      results[i] = result
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


def _tables(sizes: Sequence[int]) -> list[list[int]]:
  """Neighbouring maps that share a table, by their numbers of rows."""
  if not forms.is_on('deform_tables'):
    return [list(range(len(sizes)))]
  tables, filled = [], _TABLE_ROWS + 1
  for i, size in enumerate(sizes):
    if filled + size > _TABLE_ROWS:
      tables.append([])
      filled = 0
    tables[-1].append(i)
    filled += size
  return tables


def _convolve_table(
    maps: Sequence[Float[Array, 'b _ _ d']],
    cells: Sequence[Int[Array, 'b 2']],
    readings: Sequence[Reading],
    kernels: Float[Array, 'k 9 d e'],
) -> list[Float[Array, 'b _ _ e']]:
  """The readings, which stand in order of their kernels, of some maps."""
  counts = [0] * kernels.shape[0]
  index, weight, pitch = [], [], []
  starts = ringed.starts([x.shape[1:3] for x in maps])
  for reading in readings:
    size = maps[reading.level].shape[1:3]
    rows, weights = _corners(size, cells[reading.level], reading)
    index.append(rows + starts[reading.level])
    weight.append(weights)
    pitch += [ringed.pitch(size)] * rows.shape[-1]
    counts[reading.kernel] += rows.shape[-1]
  out = deform_taps.scan_taps(
      ringed.table(maps),
      jnp.concatenate(index, axis=2),
      jnp.broadcast_to(jnp.asarray(pitch, jnp.int32), (_TAPS, len(pitch))),
      jnp.concatenate(weight, axis=2),
      jnp.moveaxis(kernels, 1, 0),
      tuple(counts),
  )
  results, start = [], 0
  for reading in readings:
    p, q = reading.offsets.shape[1:3]
    rows = jax.lax.slice_in_dim(out, start, start + p * q, axis=1)
    results.append(rows.reshape(out.shape[0], p, q, -1))
    start += p * q
  return results


def _check(size: tuple[int, int], reading: Reading) -> None:
  """Raises a ValueError if offsets do not fit the map that they read."""
  h, w = size
  found, stride = reading.offsets.shape[1:3], reading.stride
  if found != (-(-h // stride), -(-w // stride)):
    raise ValueError(
        f'offsets of size {found} do not fit a map of size {(h, w)} at stride'
        f' {stride}: they must have one row per output'
    )


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
  modulation = precision.widen(reading.modulation)
  index, weight = ringed.corners(
      y, x, modulation, (own_h, own_w), ringed.pitch(size)
  )
  index = jnp.moveaxis(index.reshape(b, p * q, _TAPS), -1, 0)
  weight = jnp.moveaxis(weight.reshape(b, p * q, _TAPS, 4), 2, 0)
  return index, weight
