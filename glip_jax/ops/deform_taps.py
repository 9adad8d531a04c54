"""The core of deformable sampling: tap by tap, over rows of a table.

The taps are scanned one after the other, so that no im2col matrix is ever
stored. The backward pass is written by hand: it saves the inputs only, reads
the corners again and adds rows to the table's gradient in float32.

On CPU the outputs are visited in blocks (`blocks`), so that what a tap
reads, makes and adds up stays in the cache; accelerators take all outputs of a
kernel at once (`forms`).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from glip_jax.ops import blocks, forms, precision, ringed

# Numbers in a tap's sample of a block over all images, 2 MB at most: it and
# the sum stay in the cache, and its product is still large enough to be quick.
_SMALLEST, _LARGEST = 2**17, 2**19


def _as_given(fixed, weight):
  return weight, fixed


class Plan(NamedTuple):
  """What is known of a scan before there are arrays.

  Attributes:
    counts: outputs of each segment; segments stand one after the other.
    axis: of the outputs, in every array of `fixed` and `places`.
    corners: (fixed, places of some outputs) -> weight, (index, pitch), where
      index 't b n' is the row of the top-left corner of each tap of each
      output, pitch 't #b #n' the rows from a corner to the one below it, and
      weight 't b n 4' that of the corners: top-left, top-right, bottom-left,
      bottom-right. It is asked block by block. By default fixed is (index,
      pitch) and places are weight.
  """

  counts: tuple[int, ...]
  axis: int = 2
  corners: Callable[..., Any] = _as_given


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def scan_taps(
    table: Float[Array, 'b r d'],
    fixed: PyTree[Int[Array, '...']],
    places: PyTree[Float[Array, '...']],
    kernels: Float[Array, 't k d e'] | None,
    plan: Plan,
) -> Float[Array, 'b n e']:
  """Sum over taps of (interpolated row) @ (kernel of the tap and segment).

  Args:
    table: rows that are read.
    fixed: what says where outputs read, and has no gradient.
    places: what says where outputs read, and by which weights.
    kernels: of each tap, for each segment; None sums the rows themselves.
    plan: how `fixed` and `places` are understood.

  Returns:
    The outputs, accumulated in float32 at least. Corners must lie in the table:
    they are read unchecked.
  """
  return forms.select(
      'deform_blocks',
      functools.partial(_in_blocks, plan=plan),
      functools.partial(_at_once, plan=plan),
      table,
      fixed,
      places,
      kernels,
  )


def _at_once(table, fixed, places, kernels, *, plan):
  """Segment by segment, all outputs of a segment together."""
  kernels = _by_segment(kernels)
  parts = [
      _taps(table, *own, _kernel(kernels, segment), plan.corners)
      for segment, own in enumerate(_segments((fixed, places), plan))
  ]
  return jnp.concatenate(parts, axis=1)


def _in_blocks(table, fixed, places, kernels, *, plan):
  """Block by block."""
  layout = _blocks(table, plan.counts)
  kernels = _by_segment(kernels)

  def block(inputs):
    own, segment = inputs
    return _taps(table, *own, _kernel(kernels, segment), plan.corners)

  cut = lambda x: layout.cut(x, plan.axis)
  inputs = jax.tree.map(cut, (fixed, places)), layout.segment
  return layout.join(jax.lax.map(block, inputs), 1)


def _taps(
    table: Float[Array, 'b r d'],
    fixed: PyTree[Int[Array, '...']],
    places: PyTree[Float[Array, '...']],
    kernel: Float[Array, 't d e'] | None,
    corners: Callable[..., Any],
) -> Float[Array, 'b n e']:
  """Outputs of one kernel."""
  weight, (index, pitch) = corners(fixed, places)

  def tap(total, inputs):
    rows, step, weights, matrix = inputs
    sample = ringed.interpolate(ringed.read(table, rows, step), weights)
    if matrix is not None:
      sample = _product('bnd,de->bne', sample.astype(table.dtype), matrix)
    return total + sample, None

  width = table.shape[-1] if kernel is None else kernel.shape[-1]
  start = jnp.zeros((*index.shape[1:], width), precision.widened(table.dtype))
  inputs = index, pitch, weight, _like(table, kernel)
  return jax.lax.scan(tap, start, inputs)[0]


def _scan_taps_forward(table, fixed, places, kernels, plan):
  out = scan_taps(table, fixed, places, kernels, plan)
  return out, (table, fixed, places, kernels)


def _scan_taps_backward(plan, saved, gradient):
  table, _, _, kernels = saved
  d_table, d_places, d_kernels = forms.select(
      'deform_blocks',
      functools.partial(_backward_in_blocks, plan=plan),
      functools.partial(_backward_at_once, plan=plan),
      gradient.astype(table.dtype),
      *saved,
  )
  d_kernels = jax.tree.map(
      lambda d, k: jnp.moveaxis(d, 0, 1).astype(k.dtype), d_kernels, kernels
  )
  return d_table.astype(table.dtype), None, d_places, d_kernels


def _backward_at_once(gradient, table, fixed, places, kernels, *, plan):
  """Gradients of table, places and kernels; the kernels' segments first."""
  d_table = jnp.zeros(table.shape, precision.widened(table.dtype))
  kernels = _by_segment(kernels)
  d_places, d_kernels = [], []
  rows = _segments(gradient, plan._replace(axis=1))
  for segment, own in enumerate(_segments((fixed, places), plan)):
    kernel = _kernel(kernels, segment)
    d_table, d_own, d_kernel = _taps_backward(
        d_table, rows[segment], table, *own, kernel, plan.corners
    )
    d_places.append(d_own)
    d_kernels.append(d_kernel)
  d_places = jax.tree.map(lambda *d: jnp.concatenate(d, plan.axis), *d_places)
  return d_table, d_places, jax.tree.map(lambda *d: jnp.stack(d), *d_kernels)


def _backward_in_blocks(gradient, table, fixed, places, kernels, *, plan):
  """The same, block by block."""
  layout = _blocks(table, plan.counts)
  kernels = _by_segment(kernels)

  def block(totals, inputs):
    d_table, d_kernels = totals
    gradient, own, segment = inputs
    kernel = _kernel(kernels, segment)
    d_table, d_places, d_kernel = _taps_backward(
        d_table, gradient, table, *own, kernel, plan.corners
    )
    add = lambda total, d: total.at[segment].add(d)
    return (d_table, jax.tree.map(add, d_kernels, d_kernel)), d_places

  wide = precision.widened(table.dtype)
  start = jax.tree.map(lambda x: jnp.zeros(x.shape, wide), (table, kernels))
  own = jax.tree.map(lambda x: layout.cut(x, plan.axis), (fixed, places))
  (d_table, d_kernels), d_places = jax.lax.scan(
      block, start, (layout.cut(gradient, 1), own, layout.segment)
  )
  join = lambda d: layout.join(d, plan.axis)
  return d_table, jax.tree.map(join, d_places), d_kernels


def _taps_backward(d_table, gradient, table, fixed, places, kernel, corners):
  """Adds to the table's gradient; those of places and of one kernel."""
  weight, pull, (index, pitch) = jax.vjp(
      functools.partial(corners, fixed), places, has_aux=True
  )

  def tap(d_table, inputs):
    rows, pitch, weights, matrix = inputs
    read = ringed.read(table, rows, pitch)
    d_sample, d_matrix, by_product = gradient, None, _dots_of_narrow
    if matrix is not None:
      sample = ringed.interpolate(read, weights).astype(table.dtype)
      # Contracting one axis, not two: XLA's CPU loops are twice as quick then.
      d_matrix = _product('nd,ne->de', _flat(sample), _flat(gradient))
      d_sample = _product('bne,de->bnd', gradient, matrix)
      by_product = _dots_by_product
    d_weights = forms.select(
        'sums_by_product', by_product, _dots, read, d_sample
    )
    for c, step in enumerate(ringed.steps(pitch)):
      d_table = ringed.add(
          d_table, rows + step, d_sample * weights[..., c, None]
      )
    return d_table, (d_weights, d_matrix)

  d_table, (d_weight, d_kernel) = jax.lax.scan(
      tap, d_table, (index, pitch, weight, _like(table, kernel))
  )
  return d_table, *pull(d_weight.astype(weight.dtype)), d_kernel


scan_taps.defvjp(_scan_taps_forward, _scan_taps_backward)


def _blocks(
    table: Float[Array, 'b r d'], counts: tuple[int, ...]
) -> blocks.Blocks:
  """Blocks of outputs of all images together that suit the cache.

  Where a program is exported for any number of images, they suit one image.
  """
  num_images, _, width = table.shape
  if not isinstance(num_images, int):
    num_images = 1
  width *= num_images
  return blocks.Blocks.between(
      counts, max(_SMALLEST // width, 1), max(_LARGEST // width, 1)
  )


def _segments(arrays: PyTree, plan: Plan) -> list[PyTree]:
  """The outputs of each kernel."""
  ends = np.cumsum(plan.counts)
  cut = functools.partial(jax.lax.slice_in_dim, axis=plan.axis)
  return [
      jax.tree.map(lambda x, end=end, n=n: cut(x, end - n, end), arrays)
      for end, n in zip(ends.tolist(), plan.counts, strict=True)
  ]


def _by_segment(kernels: Float[Array, 't k d e'] | None):
  """Kernels with their segments first; None is a tree without leaves."""
  return jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), kernels)


def _kernel(kernels: Float[Array, 'k t d e'] | None, segment):
  return jax.tree.map(lambda x: x[segment], kernels)


def _like(table: Array, kernel: Float[Array, 't d e'] | None):
  """A kernel in the type of what it is applied to."""
  return jax.tree.map(lambda x: x.astype(table.dtype), kernel)


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


def _dots_of_narrow(corners, d_sample) -> Float[Array, 'b n 4']:
  """The same in one product: quicker for rows as narrow as those of heads."""
  corners = precision.widen(jnp.stack(corners, axis=2))
  return jnp.einsum('bncd,bnd->bnc', corners, precision.widen(d_sample))


def _product(equation: str, x: Array, y: Array) -> Array:
  """A product of matrices, accumulated in float32 at least."""
  wide = precision.widened(x.dtype)
  return jnp.einsum(equation, x, y, preferred_element_type=wide)


def _flat(x: Float[Array, 'b n d']) -> Float[Array, 'm d']:
  return x.reshape(-1, x.shape[-1])
