"""The assignment against scipy's and the reference's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from glip_jax.ops import matching

_match = jax.jit(matching.match)


def _scipy(cost, valid):
  """The query of each truth of one image, by scipy."""
  found = np.full(len(valid), -1)
  truths = np.flatnonzero(valid)
  queries, columns = optimize.linear_sum_assignment(cost[:, truths])
  found[truths[columns]] = queries
  return found


def _problems(shape, seed=0):
  """Random costs and truths with padding anywhere among them."""
  rng = np.random.default_rng(seed)
  cost = rng.normal(0, 3, shape).astype(np.float32)
  valid = rng.random((shape[0], shape[2])) < 0.6
  valid[0], valid[1] = False, True
  return cost, valid


@pytest.mark.parametrize('shape', [(9, 12, 7), (9, 6, 6), (9, 4, 11)])
def test_matches_are_scipys_with_padding_anywhere(shape):
  cost, valid = _problems(shape)
  expected = [_scipy(*problem) for problem in zip(cost, valid, strict=True)]
  np.testing.assert_array_equal(_match(cost, valid), expected)


@pytest.mark.parametrize('case', ['same', 'diff'])
def test_matches_equal_the_reference(golden, case):
  stored = np.load(golden / 'query' / 'parts' / 'parts.npz')
  cost = np.full((2, 12, 5), np.nan, np.float32)
  valid = np.zeros((2, 5), bool)
  expected = np.full((2, 5), -1)
  for i in range(2):
    name = f'loss_{case}_img{i}_'
    own = stored[f'{name}cost']
    cost[i, :, : own.shape[1]] = own
    valid[i, : own.shape[1]] = True
    targets = stored[f'{name}match_target']
    expected[i, targets] = stored[f'{name}match_query']
  np.testing.assert_array_equal(_match(cost, valid), expected)


def test_padding_changes_nothing():
  cost, valid = _problems((4, 8, 5))
  alone = _match(cost, np.ones_like(valid))
  places = np.array([1, 3, 4, 7, 10])
  wide = np.full((4, 8, 12), -100, np.float32)
  wide[:, :, places] = cost
  real = np.isin(np.arange(12), places)
  padded = _match(wide, np.broadcast_to(real, (4, 12)))
  np.testing.assert_array_equal(padded[:, places], alone)
  assert (padded[:, ~real] == -1).all()


def test_no_query_is_given_twice_where_all_cost_the_same():
  found = np.asarray(
      _match(np.ones((1, 5, 4), np.float32), np.ones((1, 4), bool))
  )
  assert sorted(set(found[0])) == sorted(found[0])
  assert found.min() >= 0 and found.max() < 5


def test_pairs_of_no_finite_cost_are_not_made():
  cost = np.array([[[np.nan, 1], [np.inf, 2], [-np.inf, 3]]], np.float32)
  np.testing.assert_array_equal(_match(cost, np.ones((1, 2), bool)), [[-1, 0]])
  # A dear pair rather than none.
  cost = np.array([[[1, 2], [np.nan, 1e6]]], np.float32)
  np.testing.assert_array_equal(_match(cost, np.ones((1, 2), bool)), [[0, 1]])
  nothing = np.full((1, 3, 2), np.nan, np.float32)
  np.testing.assert_array_equal(
      _match(nothing, np.ones((1, 2), bool)), [[-1, -1]]
  )


def test_no_gradient_passes():
  valid = jnp.ones((1, 2), bool)

  def total(cost):
    return jnp.take_along_axis(cost, _match(cost, valid)[:, None], 1).sum()

  gradient = jax.grad(total)(jnp.eye(2)[None])
  np.testing.assert_array_equal(gradient, [[[0, 1], [1, 0]]])
