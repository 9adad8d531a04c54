"""When rounding explains a difference from the reference, and when not."""

import jax
import numpy as np
import pytest
from parity import noise, reference
from parity.noise import Verdict

NAN = float('nan')


@pytest.mark.parametrize(
    'error, floor, theirs, verdict',
    [
        (0.9, NAN, NAN, Verdict.WITHIN),
        (1.2, 1.0, 0.4, Verdict.NOISE),
        # float64 was not run, is out itself, or we round too much.
        (1.2, NAN, NAN, Verdict.OUT),
        (1.2, 1.0, 1.1, Verdict.OUT),
        (1.2, 1.0, 0.2, Verdict.OUT),
    ],
)
def test_a_stage_over_its_bound_needs_float64_within(
    error, floor, theirs, verdict
):
  assert noise.of_stage(error, floor, theirs, 1.0) is verdict


@pytest.mark.parametrize(
    'error, exact, floor, largest, verdict',
    [
        (0.9, NAN, NAN, NAN, Verdict.WITHIN),
        (3.0, 0.1, 1.0, 1.0, Verdict.NOISE),
        # The reference may have rounded to the other side of a jump.
        (3.0, 2.0, 1.0, 1.0, Verdict.NOISE),
        # Ours may have, where no draw did, but no further than any jump.
        (3.0, 0.1, 0.1, 1.0, Verdict.NOISE),
        (5.0, 0.1, 0.1, 1.0, Verdict.OUT),
        (3.0, NAN, NAN, NAN, Verdict.OUT),
        (3.0, 2.0, 0.1, 1.0, Verdict.OUT),
    ],
)
def test_a_gradient_over_its_bound_needs_a_floor(
    error, exact, floor, largest, verdict
):
  found = noise.of_sensitive(error, exact, floor, largest, 1.0)
  assert found is verdict


def test_draws_move_parameters_by_rounding_and_differ(monkeypatch):
  params = {'a': np.array([1.0, 3.0, 0.0], np.float32), 'n': np.array([1, 2])}
  monkeypatch.setattr(reference, 'model', lambda name: (None, params))
  monkeypatch.setattr(noise, '_scale', lambda name: 2.0)
  first, second, *_ = noise.draws('nanoA')
  jax.tree.map(np.testing.assert_array_equal, first['n'], params['n'])
  assert first['a'].dtype == np.float64
  moved = np.abs(np.asarray(first['a']) - params['a'])
  assert np.all(moved <= np.spacing(params['a'])) and moved[:2].min() > 0
  assert np.any(np.asarray(first['a']) != np.asarray(second['a']))
