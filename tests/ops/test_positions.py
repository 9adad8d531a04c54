"""Sine waves against the reference's arrays and a loop."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.ops import positions


@pytest.fixture(scope='module')
def stored(golden):
  return np.load(golden / 'query' / 'parts' / 'parts.npz')


def test_grids_equal_the_reference_where_the_image_is(stored):
  mask = stored['sine2d_mask']
  valid = np.stack([mask.any(2).sum(1), mask.any(1).sum(1)], axis=1)
  expected = np.moveaxis(stored['sine2d_out'], 1, -1)
  actual = positions.sine_grid(jnp.asarray(valid), (5, 7), 16, temperature=20.0)
  np.testing.assert_allclose(
      np.asarray(actual)[mask], expected[mask], atol=2e-6
  )


def test_a_grid_is_the_same_in_any_canvas():
  valid = jnp.array([[3, 4]])
  alone = positions.sine_grid(valid, (3, 4), 8, temperature=20.0)
  larger = positions.sine_grid(valid, (6, 9), 8, temperature=20.0)
  np.testing.assert_array_equal(alone, larger[:, :3, :4])


def test_more_cycles_are_the_waves_of_a_smaller_image():
  # Twice the angle at a row of four is the angle at the row of two.
  fast = positions.sine_grid(
      jnp.array([[4, 4]]), (2, 2), 8, temperature=20.0, cycles=2.0
  )
  small = positions.sine_grid(jnp.array([[2, 2]]), (2, 2), 8, temperature=20.0)
  np.testing.assert_allclose(fast, small, atol=1e-5)


def test_a_grid_of_no_image_is_finite():
  grid = positions.sine_grid(
      jnp.zeros((1, 2), int), (2, 2), 8, temperature=20.0
  )
  assert jnp.isfinite(grid).all()


def test_points_of_boxes_equal_the_reference(stored):
  # Its order of a box's coordinates is y, x, w, h.
  boxes = jnp.asarray(stored['sine4_in'])[..., jnp.array([1, 0, 2, 3])]
  waves = positions.sine_points(2 * math.pi * boxes, 8, temperature=1e4)
  np.testing.assert_allclose(
      waves.reshape(2, 6, 32), stored['sine4_out'], atol=2e-6
  )


def test_points_of_counts_equal_the_reference(stored):
  counts = 2 * math.pi * jnp.asarray(stored['sinetext_in'])[..., 0]
  waves = positions.sine_points(counts, 16, temperature=1e4)
  np.testing.assert_allclose(waves, stored['sinetext_out'], atol=2e-5)


def test_points_equal_a_loop_and_are_float32():
  x = np.linspace(0, 6, 5)
  expected = [
      [
          (math.cos if c % 2 else math.sin)(angle / 100 ** (2 * (c // 2) / 6))
          for c in range(6)
      ]
      for angle in x
  ]
  waves = positions.sine_points(jnp.asarray(x, 'float32'), 6, temperature=100.0)
  np.testing.assert_allclose(waves, expected, atol=1e-6)
  half = positions.sine_points(jnp.ones(1, jnp.bfloat16), 6, temperature=100.0)
  assert half.dtype == jnp.float32


def test_widths_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match='width=5 is odd'):
    positions.sine_points(jnp.zeros(1), 5, temperature=20.0)
  with pytest.raises(ValueError, match='width=6 is not divisible by 4'):
    positions.sine_grid(jnp.ones((1, 2), int), (2, 2), 6, temperature=20.0)
