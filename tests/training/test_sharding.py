"""Meshes and shardings, most of them without more than one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from glip_jax.errors import UserError
from glip_jax.evaluators import runner
from glip_jax.training import sharding, state

EIGHT = AbstractMesh((2, 4), sharding.AXES, axis_types=(AxisType.Auto,) * 2)
PARAMS = {
    'wide': jnp.zeros((12, 64)),
    'odd': jnp.zeros((63, 33)),
    'small': jnp.zeros((8,)),
    'stack': {'kernel': jnp.zeros((3, 16, 64))},
}


def _specs(table=(), **settings):
  chosen = sharding.param_shardings(PARAMS, EIGHT, table, **settings)
  return jax.tree.map(lambda s: s.spec, chosen)


def test_the_largest_dimension_that_divides_is_split_over_fsdp():
  specs = _specs(min_size=64)
  assert specs['wide'] == PartitionSpec(None, 'fsdp')
  assert specs['stack']['kernel'] == PartitionSpec(None, None, 'fsdp')
  assert specs['odd'] == PartitionSpec()
  assert specs['small'] == PartitionSpec()


def test_small_parameters_are_replicated_by_default():
  assert set(jax.tree.leaves(_specs())) == {PartitionSpec()}


def test_the_first_matching_row_decides():
  table = (('stack', (None, 'fsdp')), ('kernel', ('data',)))
  assert _specs(table)['stack']['kernel'] == PartitionSpec(None, 'fsdp')


def test_optimizer_state_and_average_follow_their_parameter():
  moments = {'mu': PARAMS, 'nu': PARAMS, 'count': jnp.zeros((), jnp.int32)}
  whole = state.TrainState(jnp.zeros(()), PARAMS, moments, PARAMS)
  params = sharding.param_shardings(PARAMS, EIGHT, min_size=64)
  chosen = sharding.state_shardings(whole, params, EIGHT)
  assert chosen.params == params
  assert chosen.ema == params
  assert chosen.opt_state['mu'] == params
  assert chosen.opt_state['nu'] == params
  assert chosen.opt_state['count'].spec == PartitionSpec()
  assert chosen.step.spec == PartitionSpec()


@pytest.mark.parametrize(
    'table, message',
    [
        ((('kernle', ()),), "'kernle' matches none of the 4 parameters"),
        ((('odd', ('fsdp',)),), r'does not fit odd of shape \(63, 33\)'),
        ((('wide', ('model',)),), "None or of .'data', 'fsdp'."),
        ((('small', (None, 'fsdp')),), 'does not fit small'),
        ((('small', None),), r'spec None for small must be a tuple.*\(\) repl'),
        ((('small', (5,)),), r'spec \(5,\) for small must be a tuple'),
        ((('small', PartitionSpec('fsdp')),), 'for small must be a tuple'),
    ],
)
def test_a_row_that_cannot_be_followed_is_refused(table, message):
  with pytest.raises(UserError, match=message):
    _specs(table)


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(data=-1, fsdp=2), 'fsdp=2 does not fit 1 devices'),
        (dict(data=2, fsdp=1), 'data=2, fsdp=1 does not fit 1 devices'),
        (dict(data=-1, fsdp=-1), 'leave one axis at -1'),
        (dict(data=-1, model=2), 'the axes are'),
        (dict(data=0), 'positive'),
    ],
)
def test_a_mesh_that_does_not_fit_the_devices_is_refused(config, message):
  with pytest.raises(UserError, match=message):
    sharding.make_mesh(config, jax.devices()[:1])


def test_an_open_axis_takes_the_remaining_devices():
  mesh = sharding.make_mesh(dict(data=-1), jax.devices()[:1])
  assert dict(mesh.shape) == {'data': 1, 'fsdp': 1}
  assert mesh.axis_types == (AxisType.Auto, AxisType.Auto)


def test_a_batch_that_the_mesh_does_not_divide_is_refused():
  sharding.check_batch_size(16, EIGHT)
  with pytest.raises(UserError) as error:
    sharding.check_batch_size(12, EIGHT)
  assert str(error.value) == (
      'batch_size=12 is not divisible by the 8 devices of mesh axes'
      " ('data', 'fsdp'): choose 8 or 16"
  )
  evals = {'val': runner.Evaluation(batch_size=3)}
  with pytest.raises(UserError, match='config.evals.val.batch_size=3'):
    sharding.check_eval_batches(evals, EIGHT)


def test_batches_reach_the_devices_unchanged():
  mesh = sharding.make_mesh(dict(data=-1), jax.devices()[:1])
  rows = {'x': np.arange(6, dtype=np.uint8).reshape(3, 2)}
  put = sharding.put_batch(rows, mesh)
  assert put['x'].sharding == sharding.batch_sharding(mesh)
  assert put['x'].dtype == np.uint8
  np.testing.assert_array_equal(put['x'], rows['x'])
