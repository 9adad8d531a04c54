"""The core of deformable convolution: tap by tap, over rows of a table.

The taps are scanned one after the other, so that no im2col matrix is ever
stored. The backward pass is written by hand: it saves the inputs only, reads
the corners again and adds rows to the table's gradient in float32.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glip_jax.ops import precision


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def scan_taps(
    table: Float[Array, 'b r d'],
    index: Int[Array, '9 b n'],
    pitch: Int[Array, 'n'],
    weight: Float[Array, '9 b n 4'],
    kernels: Float[Array, '9 k d e'],
    counts: tuple[int, ...],
) -> Float[Array, 'b n e']:
  """Sum over taps of (interpolated row) @ (kernel of the tap and segment).

  Args:
    table: rows that are read.
    index: row of the top-left corner of each tap of each output.
    pitch: rows from a corner to the one below it.
    weight: of the four corners: top-left, top-right, bottom-left,
      bottom-right.
    kernels: of each tap, for each segment.
    counts: outputs of each segment; segments stand one after the other.

  Returns:
    The outputs, accumulated in float32 at least. Corners must lie in the table:
    they are read unchecked.
  """

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


def _scan_taps_forward(table, index, pitch, weight, kernels, counts):
  out = scan_taps(table, index, pitch, weight, kernels, counts)
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
    # As a product: XLA's CPU sums over the last axis are six times as slow.
    d_weights = jnp.stack(
        [
            jnp.einsum('bnd,bnd->bn', precision.widen(v), d_sample)
            for v in corners
        ],
        axis=-1,
    )
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


scan_taps.defvjp(_scan_taps_forward, _scan_taps_backward)
