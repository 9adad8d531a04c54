"""The training step on a toy: what it changes, reports and repeats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_training

from glip_jax.data import settings
from glip_jax.training import sharding, state


@pytest.fixture(scope='module')
def batch():
  rng = np.random.default_rng(0)
  rows = [toy_training.element_of(rng) for _ in range(toy_training.BATCH_SIZE)]
  return jax.tree.map(lambda *x: np.stack(x), *rows)


@pytest.fixture(scope='module')
def run():
  return toy_training.prepare(devices=jax.devices()[:1])


def _take(run, batch, num_steps, start=None):
  """States before each step and after the last, metrics of each step."""
  current = run.init if start is None else start
  states, reports = [jax.device_get(current)], []
  for _ in range(num_steps):
    current = jax.tree.map(jnp.copy, current)
    current, numbers = run.step(current, sharding.put_batch(batch, run.mesh))
    states.append(jax.device_get(current))
    reports.append(jax.device_get(numbers))
  return states, reports


def test_training_lowers_the_loss_and_counts_steps(run, batch):
  states, reports = _take(run, batch, toy_training.STEPS)
  assert states[-1].step == toy_training.STEPS
  assert reports[-1]['loss'] < 0.8 * reports[0]['loss']


def test_metrics_are_scalars_of_the_step_they_are_reported_for(run, batch):
  states, reports = _take(run, batch, 2)
  expected = {'loss', 'error', 'grad_norm', 'param_norm', 'lr'}
  for numbers in reports:
    assert set(numbers) == expected
    assert all(
        x.shape == () and x.dtype == np.float32 for x in numbers.values()
    )
  squares = sum(np.sum(x**2) for x in jax.tree.leaves(states[2].params))
  np.testing.assert_allclose(reports[1]['param_norm'], squares**0.5, rtol=1e-6)
  # The first of two warm-up steps has rate 0, so parameters stay.
  assert reports[0]['lr'] == 0.0
  np.testing.assert_allclose(reports[1]['lr'], 0.005, rtol=1e-6)
  jax.tree.map(
      np.testing.assert_array_equal, states[0].params, states[1].params
  )


def test_the_same_step_repeats_bit_for_bit_and_the_next_drops_other_units(
    run, batch
):
  states, reports = _take(run, batch, 2)
  again, reports_again = _take(run, batch, 1, start=states[1])
  jax.tree.map(np.testing.assert_array_equal, again[-1], states[2])
  assert reports_again[0]['loss'] == reports[1]['loss']
  # Parameters and batch are those of the first step, the mask is not.
  assert reports[0]['loss'] != reports[1]['loss']


@pytest.mark.parametrize(
    ('count', 'decay'), [(2, 3 / 12), (1000, toy_training.EMA_DECAY)]
)
def test_the_average_trails_the_parameters_closely_at_first(
    run, batch, count, decay
):
  *_, old = _take(run, batch, 2)[0]
  old = old.replace(step=np.int32(count))
  (_, new), _ = _take(run, batch, 1, start=old)
  jax.tree.map(
      lambda new, old, p: np.testing.assert_allclose(
          new, decay * old + (1 - decay) * p, rtol=1e-5, atol=1e-7
      ),
      new.ema,
      old.ema,
      new.params,
  )


def test_frozen_parameters_stay_and_are_not_in_the_reported_norm(run, batch):
  squares = []
  for regex in ('^body/', '^head/'):
    frozen = toy_training.prepare(
        devices=jax.devices()[:1],
        config=toy_training.OPTIMIZER | dict(frozen=(regex,)),
    )
    states, reports = _take(frozen, batch, 3)
    squares.append(reports[0]['grad_norm'] ** 2)
    part = regex.strip('^/')
    jax.tree.map(
        np.testing.assert_array_equal,
        states[3].params[part],
        states[0].params[part],
    )
  _, reports = _take(run, batch, 1)
  assert min(squares) > 0
  np.testing.assert_allclose(
      sum(squares), reports[0]['grad_norm'] ** 2, rtol=1e-5
  )


def test_initial_parameters_depend_on_the_seed_alone():
  recipe = toy_training.ToyRecipe()
  data = settings.Data(num_tokens=2, num_phrases=1, image_size=(8, 8))
  blank = state.blank_batch(data)
  draws = [state.make_init_params(recipe, blank, s)() for s in (0, 0, 1)]
  kernels = [draw['body']['kernel'] for draw in draws]
  np.testing.assert_array_equal(kernels[0], kernels[1])
  assert (kernels[0] != kernels[2]).any()
