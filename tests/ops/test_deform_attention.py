"""Deformable attention against the reference and a loop over points."""

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.ops import deform_attention, deform_taps, forms

_SIZES = {
    'many': ((5, 7), (3, 4), (1, 1), (2, 1)),
    'one': ((4, 3),),
    'one cell': ((1, 1),),
}


def _inputs(sizes, seed=0, queries=9, heads=3, points=2, width=4):
  """Points from well inside to well outside, some of them on the borders."""
  rng = np.random.default_rng(seed)
  batch, levels = 2, len(sizes)
  shape = (batch, queries, heads, levels, points)
  place = rng.uniform(-0.3, 1.3, size=(*shape, 2))
  place[:, 0], place[:, 1] = 0.0, 1.0
  place[:, 2] = -5.0
  sides = np.array(sizes, np.float32)[:, None, ::-1]
  num_cells = sum(h * w for h, w in sizes)
  return (
      rng.normal(size=(batch, num_cells, heads, width)).astype(np.float32),
      (place * sides - 0.5).astype(np.float32),
      rng.uniform(size=shape).astype(np.float32),
  )


def _corner(grid, y, x):
  h, w = grid.shape[:2]
  inside = 0 <= y < h and 0 <= x < w
  return grid[y, x] if inside else np.zeros(grid.shape[2])


def _sample(grid, x, y):
  top, left = int(np.floor(y)), int(np.floor(x))
  return sum(
      _corner(grid, top + i, left + j)
      * (y - top if i else 1 - y + top)
      * (x - left if j else 1 - x + left)
      for i in (0, 1)
      for j in (0, 1)
  )


def _naive(values, points, weights, sizes):
  """One point at a time, in float64."""
  values, points = values.astype(np.float64), points.astype(np.float64)
  ends = np.cumsum([h * w for h, w in sizes])[:-1]
  parts = np.split(values, ends, axis=1)
  maps = [
      part.reshape(len(part), *size, *part.shape[2:])
      for part, size in zip(parts, sizes, strict=True)
  ]
  out = np.zeros((*weights.shape[:3], values.shape[-1]))
  for b, q, head, level, p in np.ndindex(weights.shape):
    grid = maps[level][b, :, :, head]
    sample = _sample(grid, *points[b, q, head, level, p])
    out[b, q, head] += weights[b, q, head, level, p] * sample
  return out


def _run(sizes):
  return compiling.quick_jit(
      lambda *inputs: deform_attention.deform_attention(*inputs, sizes)
  )


@pytest.mark.parametrize('case', _SIZES)
def test_agrees_with_a_loop_over_points(case):
  inputs = _inputs(_SIZES[case])
  out = _run(_SIZES[case])(*inputs)
  assert out.dtype == jnp.float32
  np.testing.assert_allclose(out, _naive(*inputs, _SIZES[case]), atol=1e-5)


def test_agrees_with_the_reference_forward_and_backward(golden):
  arrays = np.load(golden / 'query' / 'parts' / 'parts.npz')
  get = lambda name: arrays[f'msda_{name}']
  sizes = tuple((int(h), int(w)) for h, w in get('shapes'))
  sides = get('shapes')[:, None, ::-1].astype(np.float32)
  per_head = lambda x: x.reshape(*x.shape[:2], get('value').shape[2], -1)

  def attend(values, locations, weights):
    points = locations * sides - 0.5
    return deform_attention.deform_attention(values, points, weights, sizes)

  @compiling.quick_jit
  def both(gradient, *inputs):
    out, pull = jax.vjp(attend, *inputs)
    return out, pull(gradient)

  out, gradients = both(
      per_head(get('grad_out')), get('value'), get('locations'), get('weights')
  )
  np.testing.assert_allclose(out, per_head(get('out')), atol=1e-5)
  for name, mine in zip(
      ('dvalue', 'dlocations', 'dweights'), gradients, strict=True
  ):
    want = get(name)
    np.testing.assert_allclose(mine, want, atol=1e-5 * np.abs(want).max())


def _with_gradients(sizes):
  """(result, gradients of a sum over it)."""

  def total(*inputs):
    out = deform_attention.deform_attention(*inputs, sizes)
    return jnp.sum(jnp.sin(out)), out

  return compiling.quick_jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))


@pytest.mark.parametrize('form', ['deform_blocks', 'sums_by_product'])
def test_forms_give_the_same_values_and_gradients(monkeypatch, form):
  # Two queries a block, and the last block is not full.
  monkeypatch.setattr(deform_taps, '_SMALLEST', 12)
  monkeypatch.setattr(deform_taps, '_LARGEST', 12)
  inputs, found = _inputs(_SIZES['many']), {}
  for value in ('on', 'off'):
    with forms.use(**{form: value}):
      found[value] = jax.tree.leaves(_with_gradients(_SIZES['many'])(*inputs))
  for mine, want in zip(found['on'], found['off'], strict=True):
    assert np.abs(want).max() > 0
    np.testing.assert_allclose(mine, want, atol=1e-5)


def test_bfloat16_values_are_summed_in_float32():
  values, points, weights = _inputs(_SIZES['many'])
  half = jnp.asarray(values, jnp.bfloat16)
  run = _with_gradients(_SIZES['many'])
  gradients, out = run(half, points, weights)
  assert out.dtype == jnp.float32 and gradients[0].dtype == jnp.bfloat16
  want, same = run(half.astype(jnp.float32), points, weights)
  np.testing.assert_allclose(out, same, atol=1e-5)
  for a, b in zip(gradients, want, strict=True):
    a = np.asarray(a, np.float32)
    np.testing.assert_allclose(a, b, atol=0.02 * np.abs(b).max())


def test_points_outside_have_no_gradient_and_borders_have_one():
  sizes = ((3, 4),)
  values = jnp.ones((1, 12, 1, 2))
  # Beyond each side by more than a cell, then by half a cell.
  places = [(-1.2, 1), (4.2, 1), (1, -1.2), (1, 3.2)]
  places += [(-0.5, 1), (3.5, 1), (1, -0.5), (1, 2.5)]
  points = jnp.array(places, jnp.float32).reshape(1, 8, 1, 1, 1, 2)
  weights = jnp.ones((1, 8, 1, 1, 1))
  total = lambda *x: jnp.sum(deform_attention.deform_attention(*x, sizes))
  gradient = jax.grad(total, 1)(values, points, weights).reshape(8, 2)
  want = np.zeros((8, 2))
  want[4:] = [(2, 0), (-2, 0), (0, 2), (0, -2)]
  np.testing.assert_allclose(gradient, want, atol=1e-6)


def test_maps_that_do_not_fit_are_refused():
  values, points, weights = _inputs(_SIZES['many'])
  with pytest.raises(ValueError, match='50 values.*one row per cell, 35'):
    deform_attention.deform_attention(values, points, weights, ((5, 7),))
  with pytest.raises(ValueError, match='points of 4 levels.*1 maps'):
    deform_attention.deform_attention(values, points, weights, ((5, 10),))
