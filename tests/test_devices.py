"""The model on a mesh of eight simulated devices computes what one computes.

As a program, it trains a few steps on eight devices and on one, and prints what
came out as JSON.
"""

import json
import sys

import jax
import numpy as np
import programs
import pytest
import tiny_config

from glip_jax.data import pipeline
from glip_jax.models import build
from glip_jax.training import optimizer, sharding, state, step

STEPS = 4
MESHES = {'one': dict(data=1, fsdp=1), 'eight': dict(data=4, fsdp=2)}


def train(mesh, config, batches):
  """Trains on a mesh; metrics of every step, and specs of the state."""
  recipe = build.build(config.model)
  blank = state.blank_batch(config.data)
  init_params = state.make_init_params(recipe, blank, config.seed)
  params = state.abstract_params(init_params)
  tx = optimizer.make_optimizer(config.optimizer, params, config.steps)
  abstract = state.abstract_state(params, tx, ema=True)
  param_shardings = sharding.param_shardings(params, mesh, config.sharding)
  shardings = sharding.state_shardings(abstract, param_shardings, mesh)
  now = state.materialise(
      lambda p: state.make_state(p, tx, ema=True),
      shardings,
      state.materialise(init_params, param_shardings),
  )
  train_step = step.compile_step(
      step.make_train_step(
          recipe, tx, ema_decay=config.optimizer.ema_decay, seed=config.seed
      ),
      state.with_shardings(abstract, shardings),
      sharding.put_batch(batches[0], mesh),
  )
  records = []
  for batch in batches:
    now, numbers = train_step(now, sharding.put_batch(batch, mesh))
    records.append({name: float(value) for name, value in numbers.items()})
  leaves = jax.tree.leaves(now)
  return dict(
      records=records,
      specs=sorted({str(leaf.sharding.spec) for leaf in leaves}),
      devices=max(len(leaf.sharding.device_set) for leaf in leaves),
  )


def main():
  config = tiny_config.get_config()
  stream = pipeline.train_dataset(
      config.data.to_dict() | {'num_workers': 0},
      batch_size=config.batch_size,
      seed=config.seed,
  )
  batches = [batch for batch, _ in zip(stream, range(STEPS), strict=False)]
  report = {}
  for name, sizes in MESHES.items():
    devices = jax.devices()[: sizes['data'] * sizes['fsdp']]
    mesh = sharding.make_mesh(sizes, devices)
    report[name] = train(mesh, config, batches)
  json.dump(report, sys.stdout)


@pytest.fixture(scope='module')
def report(tmp_path_factory):
  cache = tmp_path_factory.getbasetemp() / 'xla'
  return json.loads(
      programs.finish(programs.start(__file__, cache=cache, devices=8))
  )


def test_eight_devices_train_as_one_does(report):
  one, eight = report['one']['records'], report['eight']['records']
  assert len(one) == STEPS
  losses = [record['loss'] for record in one]
  assert len(set(losses)) == STEPS
  for name, tolerance in (('loss', 1e-5), ('grad_norm', 1e-4)):
    np.testing.assert_allclose(
        [record[name] for record in eight],
        [record[name] for record in one],
        rtol=tolerance,
        err_msg=name,
    )


def test_parameters_are_split_over_the_mesh(report):
  assert report['one']['devices'] == 1
  assert report['eight']['devices'] == 8
  assert any('fsdp' in spec for spec in report['eight']['specs'])


if __name__ == '__main__':
  main()
