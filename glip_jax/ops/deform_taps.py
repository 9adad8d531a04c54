"""The core of deformable convolution: tap by tap, over rows of a table.

The taps are scanned one after the other, so that no im2col matrix is ever
stored. The backward pass is written by hand: it saves the inputs only, reads
the corners again and adds rows to the table's gradient in float32.

On CPU the outputs are visited in blocks (`blocks`), so that what a tap
reads, makes and adds up stays in the cache; accelerators take all outputs of a
kernel at once (`forms`).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glip_jax.ops import blocks, forms, precision

# Outputs of a block over all images: with 256 channels a tap's sample and sum
# take 1 MB each, which stays in the cache, and its product is still large
# enough to be quick.
_SMALLEST, _LARGEST = 512, 2048


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def scan_taps(
    table: Float[Array, 'b r d'],
    index: Int[Array, 't b n'],
    pitch: Int[Array, 't n'],
    weight: Float[Array, 't b n 4'],
    kernels: Float[Array, 't k d e'] | None,
    counts: tuple[int, ...],
) -> Float[Array, 'b n e']:
  """Sum over taps of (interpolated row) @ (kernel of the tap and segment).

  Args:
    table: rows that are read.
    index: row of the top-left corner of each tap of each output.
    pitch: rows from a corner to the one below it.
    weight: of the four corners: top-left, top-right, bottom-left,
      bottom-right.
    kernels: of each tap, for each segment; None sums the rows themselves.
    counts: outputs of each segment; segments stand one after the other.

  Returns:
    The outputs, accumulated in float32 at least. Corners must lie in the table:
    they are read unchecked.
  """
  return forms.select(
      'deform_blocks',
      functools.partial(_in_blocks, counts=counts),
      functools.partial(_at_once, counts=counts),
      table,
      index,
      pitch,
      weight,
      kernels,
  )


def _at_once(table, index, pitch, weight, kernels, *, counts):
  """Segment by segment, all outputs of a segment together."""
  kernels = _by_segment(kernels)
  parts = []
  for segment, own in enumerate(_segments(counts)):
    corners = index[:, :, own], pitch[:, own], weight[:, :, own]
    parts.append(_taps(table, *corners, _kernel(kernels, segment)))
  return jnp.concatenate(parts, axis=1)


def _in_blocks(table, index, pitch, weight, kernels, *, counts):
  """Block by block."""
  layout = _blocks(counts, index.shape[1])
  kernels = _by_segment(kernels)

  def block(inputs):
    *corners, segment = inputs
    return _taps(table, *corners, _kernel(kernels, segment))

  corners = layout.cut(index, 2), layout.cut(pitch, 1), layout.cut(weight, 2)
  return layout.join(jax.lax.map(block, (*corners, layout.segment)), 1)


def _taps(
    table: Float[Array, 'b r d'],
    index: Int[Array, 't b n'],
    pitch: Int[Array, 't n'],
    weight: Float[Array, 't b n 4'],
    kernel: Float[Array, 't d e'] | None,
) -> Float[Array, 'b n e']:
  """Outputs of one kernel."""

  def tap(total, inputs):
    rows, step, weights, matrix = inputs
    sample = _interpolate(_read_corners(table, rows, step), weights)
    if matrix is not None:
      sample = _product('bnd,de->bne', sample.astype(table.dtype), matrix)
    return total + sample, None

  width = table.shape[-1] if kernel is None else kernel.shape[-1]
  start = jnp.zeros((*index.shape[1:], width), precision.widened(table.dtype))
  kernel = _like(table, kernel)
  return jax.lax.scan(tap, start, (index, pitch, weight, kernel))[0]


def _scan_taps_forward(table, index, pitch, weight, kernels, counts):
  out = scan_taps(table, index, pitch, weight, kernels, counts)
  return out, (table, index, pitch, weight, kernels)


def _scan_taps_backward(counts, saved, gradient):
  table, _, _, weight, kernels = saved
  d_table, d_weight, d_kernels = forms.select(
      'deform_blocks',
      functools.partial(_backward_in_blocks, counts=counts),
      functools.partial(_backward_at_once, counts=counts),
      gradient.astype(table.dtype),
      *saved,
  )
  return (
      d_table.astype(table.dtype),
      None,
      None,
      d_weight.astype(weight.dtype),
      jax.tree.map(
          lambda d, k: jnp.moveaxis(d, 0, 1).astype(k.dtype), d_kernels, kernels
      ),
  )


def _backward_at_once(
    gradient, table, index, pitch, weight, kernels, *, counts
):
  """Gradients of table, weight and kernels; the kernels' segments first."""
  d_table = jnp.zeros(table.shape, precision.widened(table.dtype))
  kernels = _by_segment(kernels)
  d_weight, d_kernels = [], []
  for segment, own in enumerate(_segments(counts)):
    corners = index[:, :, own], pitch[:, own], weight[:, :, own]
    d_table, d_own, d_kernel = _taps_backward(
        d_table, gradient[:, own], table, *corners, _kernel(kernels, segment)
    )
    d_weight.append(d_own)
    d_kernels.append(d_kernel)
  d_kernels = jax.tree.map(lambda *d: jnp.stack(d), *d_kernels)
  return d_table, jnp.concatenate(d_weight, axis=2), d_kernels


def _backward_in_blocks(
    gradient, table, index, pitch, weight, kernels, *, counts
):
  """The same, block by block."""
  layout = _blocks(counts, index.shape[1])
  kernels = _by_segment(kernels)

  def block(totals, inputs):
    d_table, d_kernels = totals
    gradient, *corners, segment = inputs
    d_table, d_weight, d_kernel = _taps_backward(
        d_table, gradient, table, *corners, _kernel(kernels, segment)
    )
    add = lambda total, d: total.at[segment].add(d)
    return (d_table, jax.tree.map(add, d_kernels, d_kernel)), d_weight

  wide = precision.widened(table.dtype)
  start = jax.tree.map(lambda x: jnp.zeros(x.shape, wide), (table, kernels))
  corners = layout.cut(index, 2), layout.cut(pitch, 1), layout.cut(weight, 2)
  (d_table, d_kernels), d_weight = jax.lax.scan(
      block, start, (layout.cut(gradient, 1), *corners, layout.segment)
  )
  return d_table, layout.join(d_weight, 2), d_kernels


def _taps_backward(d_table, gradient, table, index, pitch, weight, kernel):
  """Adds to the table's gradient; those of one kernel's weights and itself."""

  def tap(d_table, inputs):
    rows, pitch, weights, matrix = inputs
    corners = _read_corners(table, rows, pitch)
    d_sample, d_matrix = gradient, None
    if matrix is not None:
      sample = _interpolate(corners, weights).astype(table.dtype)
      # Contracting one axis, not two: XLA's CPU loops are twice as quick then.
      d_matrix = _product('nd,ne->de', _flat(sample), _flat(gradient))
      d_sample = _product('bne,de->bnd', gradient, matrix)
    d_weights = forms.select(
        'sums_by_product', _dots_by_product, _dots, corners, d_sample
    )
    for c, step in enumerate(_steps(pitch)):
      d_table = _add(d_table, rows + step, d_sample * weights[..., c, None])
    return d_table, (d_weights, d_matrix)

  d_table, (d_weight, d_kernel) = jax.lax.scan(
      tap, d_table, (index, pitch, weight, _like(table, kernel))
  )
  return d_table, d_weight, d_kernel


scan_taps.defvjp(_scan_taps_forward, _scan_taps_backward)


def _blocks(counts: tuple[int, ...], num_images: int) -> blocks.Blocks:
  """Blocks of outputs of all images together that suit the cache."""
  return blocks.Blocks.between(
      counts,
      max(_SMALLEST // num_images, 1),
      max(_LARGEST // num_images, 1),
  )


def _segments(counts: tuple[int, ...]) -> list[slice]:
  """The outputs of each kernel."""
  ends = np.cumsum(counts)
  return [
      slice(end - count, end) for end, count in zip(ends, counts, strict=True)
  ]


def _by_segment(kernels: Float[Array, 't k d e'] | None):
  """Kernels with their segments first; None is a tree without leaves."""
  return jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), kernels)


def _kernel(kernels: Float[Array, 'k t d e'] | None, segment):
  return jax.tree.map(lambda x: x[segment], kernels)


def _like(table: Array, kernel: Float[Array, 't d e'] | None):
  """A kernel in the type of what it is applied to."""
  return jax.tree.map(lambda x: x.astype(table.dtype), kernel)


def _steps(pitch: Int[Array, 'n']) -> tuple:
  """From the top-left corner's row to the rows of all four corners."""
  return 0, 1, pitch, pitch + 1


def _read_corners(table, rows, pitch) -> list[Float[Array, 'b n d']]:
  """The four rows of the table around each point."""
  take = jax.vmap(lambda t, i: t.at[i].get(mode='promise_in_bounds'))
  return [take(table, rows + step) for step in _steps(pitch)]


def _interpolate(corners, weights) -> Float[Array, 'b n d']:
  """Weighted sum of the corners."""
  return sum(v * weights[..., c, None] for c, v in enumerate(corners))


def _dots(corners, d_sample) -> Float[Array, 'b n 4']:
  """The weights' gradients: each corner times the sample's, over channels."""
  return jnp.stack(
      [jnp.sum(precision.widen(v) * d_sample, axis=-1) for v in corners],
      axis=-1,
  )


def _dots_by_product(corners, d_sample) -> Float[Array, 'b n 4']:
  """The same; XLA's CPU sums over the last axis are six times as slow."""
  return jnp.stack(
      [
          jnp.einsum('bnd,bnd->bn', precision.widen(v), d_sample)
          for v in corners
      ],
      axis=-1,
  )


def _add(table: Float[Array, 'b r d'], rows: Int[Array, 'b n'], values):
  add = lambda t, i, v: t.at[i].add(v, mode='promise_in_bounds')
  return jax.vmap(add)(table, rows, values)


def _product(equation: str, x: Array, y: Array) -> Array:
  """A product of matrices, accumulated in float32 at least."""
  wide = precision.widened(x.dtype)
  return jnp.einsum(equation, x, y, preferred_element_type=wide)


def _flat(x: Float[Array, 'b n d']) -> Float[Array, 'm d']:
  return x.reshape(-1, x.shape[-1])
