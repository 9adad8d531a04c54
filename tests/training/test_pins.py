"""On a mesh that splits parameters, activations are split by the batch alone.

Run as a program on eight simulated devices, it prints what travels between the
devices in a step.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import toy_training

from glip_jax import types
from glip_jax.training import optimizer, sharding, state, step

ROOT = pathlib.Path(__file__).parents[2]


class Heads(nn.Module):
  """An attention, whose heads the compiler would split as parameters are."""

  @nn.compact
  def __call__(self, image, extent, ids, mask, train=False):
    x = nn.Dense(64)(image.reshape(len(image), 64, 3))
    query = nn.DenseGeneral((4, 16))(x)
    key = nn.DenseGeneral((4, 16))(x)
    weights = jax.nn.softmax(jnp.einsum('bqhc,bkhc->bhqk', query, key))
    heads = jnp.einsum('bhqk,bkhc->bqhc', weights, query)
    x = x + nn.DenseGeneral(64, axis=(-2, -1))(heads)
    logits = nn.Dense(mask.shape[1])(x.mean(1))[:, None]
    boxes = jnp.zeros((len(image), 1, 4))
    return types.Outputs(logits, boxes, None, None, jnp.ones(boxes.shape[:2]))


class Recipe(toy_training.ToyRecipe):
  """Has a loss in which images do not meet."""

  def loss(self, outputs, batch):
    loss = jnp.mean(outputs.logits**2)
    return loss, {'error': loss}


def _compile():
  """Text of the compiled step on two times four devices, and its parameters."""
  recipe = Recipe(Heads())
  example = toy_training.element_of(np.random.default_rng(0))
  batch = jax.tree.map(lambda x: np.stack([x] * 8), example)
  params = jax.eval_shape(state.make_init_params(recipe, batch, seed=0))
  made = optimizer.make_optimizer(toy_training.OPTIMIZER, params, 8)
  mesh = sharding.make_mesh(dict(data=2, fsdp=4))
  specs = sharding.param_shardings(params, mesh, min_size=64)
  whole = state.abstract_state(params, made, ema=False)
  shardings = sharding.state_shardings(whole, specs, mesh)
  compiled = step.compile_step(
      step.make_train_step(recipe, made, param_shardings=specs),
      state.with_shardings(whole, shardings),
      sharding.put_batch(batch, mesh),
  )
  return compiled.as_text(), params


def main():
  text, params = _compile()
  found = re.findall(
      r'= \(?(\w+)\[([\d,]*)\].* (all-gather|all-to-all|collective-permute)'
      r'(?:-start)?\(',
      text,
  )
  shapes = {x.shape for x in jax.tree.leaves(params)}
  print(
      json.dumps({
          'params': sorted(shapes),
          'all-reduce': text.count(' all-reduce('),
          'moved': [
              [kind, [int(n) for n in shape.split(',') if n]]
              for _, shape, kind in found
          ],
      })
  )


def test_only_parameters_are_gathered():
  settings = {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
      'PYTHONPATH': str(ROOT),
  }
  done = subprocess.run(
      [sys.executable, __file__],
      env=os.environ | settings,
      capture_output=True,
      text=True,
      timeout=240,
  )
  assert done.returncode == 0, done.stderr
  report = json.loads(done.stdout.splitlines()[-1])
  # Gradients are summed, and parameters were split to begin with.
  assert report['all-reduce'] >= 1 and len(report['moved']) >= 4
  for kind, shape in report['moved']:
    assert kind == 'all-gather', (kind, shape)
    assert shape in report['params'], shape


if __name__ == '__main__':
  main()
