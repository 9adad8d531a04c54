"""The optimizer against the official solver, and its tables."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.errors import UserError
from glip_jax.training import optimizer, tables

OFFICIAL = dict(
    lr=1e-4,
    weight_decay=1e-4,
    clip_norm=1.0,
    schedule=dict(name='constant'),
    lr_scales=(
        (r'^language_backbone.*bias', 0.2),
        (r'^language_backbone', 0.1),
        (r'bias', 2.0),
    ),
    decay_scales=((r'bias', 0.0),),
)


@pytest.fixture(scope='module')
def solver(golden):
  return json.loads((golden / 'parts' / 'solver.json').read_text())


def _tree(flat):
  """{'fc.weight': rows} as a nested tree of arrays."""
  tree = {}
  for name, value in flat.items():
    module, leaf = name.split('.')
    tree.setdefault(module, {})[leaf] = jnp.asarray(value, jnp.float32)
  return tree


def _toy():
  return {
      'a': {'kernel': jnp.ones((2, 3)), 'bias': jnp.ones((3,))},
      'b': {'kernel': jnp.ones((3, 1)), 'bias': jnp.ones((1,))},
  }


def _make(params=None, total_steps=10, **config):
  defaults = dict(lr=0.1, schedule=dict(name='constant'))
  return optimizer.make_optimizer(
      defaults | config, _toy() if params is None else params, total_steps
  )


def _update(made, params, grads):
  state = made.transform.init(params)
  return made.transform.update(grads, state, params)


def test_three_clipped_steps_equal_the_official_solver(solver):
  steps = solver['tiny_adamw_clip_steps']
  params = _tree(steps['start'])
  made = optimizer.make_optimizer(OFFICIAL, params, 10)
  state = made.transform.init(params)
  for grads, after in zip(steps['grads'], steps['after'], strict=True):
    updates, state = made.transform.update(_tree(grads), state, params)
    params = jax.tree.map(jnp.add, params, updates)
    # One unit in the last place at these magnitudes; a wrong group of learning
    # rates is off by 1e-5.
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=2.4e-7),
        params,
        _tree(after),
    )


def test_warm_up_and_steps_equal_the_official_schedule(solver):
  golden = solver['A']['schedule_max_iter_10000_warmup_2000']['rows']
  config = dict(
      name='steps',
      warmup_steps=2000,
      warmup_factor=0.001,
      boundaries=(0.67, 0.89),
      decay=0.1,
  )
  schedule = optimizer.make_schedule(config, 1e-4, 10000)
  for step, lr, bias_lr, language_lr in golden:
    ours = schedule(step)
    np.testing.assert_allclose(ours, lr, rtol=1e-6)
    np.testing.assert_allclose(2 * ours, bias_lr, rtol=1e-6)
    np.testing.assert_allclose(0.1 * ours, language_lr, rtol=1e-6)


def test_cosine_equals_the_official_one_up_to_its_late_end(solver):
  config = dict(
      name='cosine', warmup_steps=100, warmup_factor=0.001, final_factor=0.01
  )
  # The official cosine of 1000 steps would reach its floor at step 1100.
  schedule = optimizer.make_schedule(config, 1e-4, 1100)
  for step, lr in solver['cosine_max1000_warm100']:
    np.testing.assert_allclose(schedule(step), lr, rtol=2e-6)
  np.testing.assert_allclose(schedule(1100), 1e-6, rtol=1e-5)


def test_the_official_groups_are_written_as_tables(solver):
  for name, lr, decay in solver['A']['groups_name_lr_wd']:
    path = name.replace('.', '/')
    scale = tables.lookup(OFFICIAL['lr_scales'], path, 1.0)
    np.testing.assert_allclose(1e-4 * scale, lr)
    scale = tables.lookup(OFFICIAL['decay_scales'], path, 1.0)
    np.testing.assert_allclose(1e-4 * scale, decay)


def test_frozen_parameters_stay_and_leave_the_clip_norm():
  made = _make(clip_norm=1.0, frozen=('^b/',), weight_decay=0.5)
  grads = jax.tree.map(jnp.ones_like, _toy())
  grads['b'] = jax.tree.map(lambda g: 1e9 * g, grads['b'])
  updates, state = _update(made, _toy(), grads)
  assert not any(map(np.any, jax.tree.leaves(updates['b'])))
  moments = tables.named_leaves(state)
  first = next(m for name, m in moments.items() if name.endswith('mu/a/bias'))
  np.testing.assert_allclose(first, 0.1 / np.sqrt(9), rtol=1e-6)
  assert not any(name.endswith('b/kernel') for name in moments)
  assert jax.tree.leaves(made.trained) == [True, True, False, False]


def test_weight_decay_drops_at_its_boundaries():
  made = _make(weight_decay=1.0, decay_boundaries=(0.1, 0.2))
  params = _toy()
  state = made.transform.init(params)
  seen = []
  for _ in range(3):
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, state = made.transform.update(zeros, state, params)
    seen.append(float(updates['a']['bias'][0]))
  np.testing.assert_allclose(seen, [-0.1, -0.01, -0.001], rtol=1e-6)


@pytest.mark.parametrize(
    'field, value',
    [
        ('lr_scales', (('kernle', 2.0),)),
        ('decay_scales', (('kernle', 0.0),)),
        ('frozen', ('kernle',)),
    ],
)
def test_a_regex_that_matches_no_parameter_is_refused(field, value):
  with pytest.raises(UserError, match=f"{field}: 'kernle' matches none of"):
    _make(**{field: value})


def test_a_malformed_regex_is_refused():
  with pytest.raises(UserError, match='not a regular expression'):
    _make(frozen=('a(',))


def test_unknown_settings_are_refused_with_the_closest_one():
  with pytest.raises(UserError, match="'clip_nrom'.*'clip_norm'"):
    _make(clip_nrom=1.0)
  with pytest.raises(UserError, match="name='cosin' must be one of"):
    _make(schedule=dict(name='cosin'))
