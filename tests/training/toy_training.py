"""A detector of the smallest kind, its data, and a run of eight steps.

As a program, it trains on however many devices there are, so that the tests can
start it with eight simulated ones and kill it:

  python toy_training.py WORKDIR [--kill_at=STEP] [--report=FILE]
"""

import argparse
import dataclasses
import json
import os
import pathlib
import signal

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from glip_jax import types
from glip_jax.data import workers
from glip_jax.training import (
    checkpointing,
    optimizer,
    sharding,
    state,
    step,
    tables,
    watching,
)

BATCH_SIZE = 8
STEPS = 8
OPTIMIZER = dict(
    lr=0.01,
    weight_decay=0.01,
    clip_norm=1.0,
    schedule=dict(name='cosine', warmup_steps=2),
    lr_scales=(('bias', 2.0),),
)
EMA_DECAY = 0.9


class Toy(nn.Module):
  """Pixels to one region's logits over two tokens."""

  width: int = 16

  @nn.compact
  def __call__(self, image, extent, ids, mask, train=False):
    del extent, ids
    x = nn.Dense(self.width, name='body')(image.reshape(len(image), -1))
    x = nn.Dropout(0.2, deterministic=not train)(jnp.tanh(x))
    logits = nn.Dense(mask.shape[1], name='head')(x)[:, None]
    boxes = jnp.zeros((len(image), 1, 4))
    valid = jnp.ones((len(image), 1), bool)
    return types.Outputs(logits, boxes, None, None, valid)


@dataclasses.dataclass(frozen=True)
class ToyRecipe:
  """The interface of `detectors.recipe.Recipe`."""

  model: nn.Module = Toy()

  def init(self, rng, batch):
    return self.model.init(rng, *_inputs(batch))['params']

  def forward(self, params, batch, *, train=False, rngs=None):
    variables = {'params': params}
    return self.model.apply(variables, *_inputs(batch), train=train, rngs=rngs)

  def loss(self, outputs, batch):
    wanted = (batch.size[:, None] > jnp.array([4, 2])).astype(jnp.float32)
    error = jnp.mean((outputs.logits[:, 0] - wanted) ** 2)
    return error, {'error': error}

  def decode(self, outputs, batch):
    del batch
    scores = jax.nn.sigmoid(outputs.logits[..., 0])
    labels = jnp.zeros(scores.shape, jnp.int32)
    return types.Detections(outputs.boxes, scores, labels, outputs.valid)


def _inputs(batch):
  image = batch.image.astype(jnp.float32) / 255
  return image, batch.extent, batch.prompt.ids, batch.prompt.mask


class MakeElement(grain.transforms.RandomMap):
  """An index to a random image: the draw shows where the iterator is."""

  def random_map(self, element, rng):
    return element_of(rng, element)


def element_of(rng, index=0):
  """One element of a batch."""
  prompt = types.Prompt(
      np.zeros(2, np.int32), np.ones(2, bool), np.ones((1, 2), bool)
  )
  size = rng.integers(1, 8, 2).astype(np.int32)
  image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
  scale = np.ones(2, np.float32)
  return types.Batch(image, size, size, scale, np.int32(index), prompt)


def dataset(num_workers=1):
  """An endless pipeline with worker processes."""
  data = grain.MapDataset.range(40).seed(3).shuffle().repeat()
  data = data.random_map(MakeElement()).batch(BATCH_SIZE).to_iter_dataset()
  if not num_workers:
    return data
  return data.mp_prefetch(
      grain.multiprocessing.MultiprocessingOptions(num_workers=num_workers),
      worker_init_fn=workers.end_with_parent,
  )


@dataclasses.dataclass
class Run:
  """Everything that a run is made of."""

  mesh: jax.sharding.Mesh
  abstract: state.TrainState
  init: state.TrainState
  step: step.Step


def prepare(recipe=None, devices=None, config=None, min_size=64):
  """Mesh, shardings, initial state and compiled step, as in train.py."""
  recipe = recipe or ToyRecipe()
  example = element_of(np.random.default_rng(0))
  batch = jax.tree.map(lambda x: np.stack([x] * BATCH_SIZE), example)
  init_params = state.make_init_params(recipe, batch, seed=0)
  params = state.abstract_params(init_params)
  made = optimizer.make_optimizer(config or OPTIMIZER, params, STEPS)
  abstract = state.abstract_state(params, made, ema=True)
  num = len(devices or jax.devices())
  axes = dict(data=-1, fsdp=4 if num == 8 else 1)
  mesh = sharding.make_mesh(axes, devices)
  specs = sharding.param_shardings(params, mesh, min_size=min_size)
  shardings = sharding.state_shardings(abstract, specs, mesh)
  init = state.materialise(
      lambda: state.make_state(init_params(), made, ema=True), shardings
  )
  train_step = jax.jit(
      step.make_train_step(
          recipe, made, ema_decay=EMA_DECAY, seed=1, param_shardings=specs
      ),
      in_shardings=(shardings, sharding.batch_sharding(mesh)),
      out_shardings=(shardings, sharding.replicated(mesh)),
      donate_argnums=0,
  )
  abstract = state.with_shardings(abstract, shardings)
  return Run(mesh, abstract, init, train_step)


def train(workdir, kill_at=None, data=None, run=None, skip_nonfinite=0):
  """Trains to the end, from the last checkpoint if there is one."""
  run = run or prepare()
  iterator = iter(data or dataset())
  checkpointer = checkpointing.Checkpointer(workdir, keep=2)
  current = run.init
  if (last := checkpointing.latest_step(workdir)) is not None:
    current = checkpointer.restore(last, run.abstract, iterator)
  losses, start = [], int(current.step)
  watch = watching.Watch(
      checkpointer,
      lambda _, numbers: losses.append(numbers['loss']),
      skip_nonfinite=skip_nonfinite,
  )
  for done in range(start + 1, STEPS + 1):
    batch = next(iterator)
    current, numbers = run.step(current, sharding.put_batch(batch, run.mesh))
    watch.add(done, numbers, batch.id)
    if done % 2 == 0:
      watch.read()
      measured = {'AP': 0.5} if done == 2 else None
      checkpointer.save(
          done, current, iterator, meta={'step': done}, metrics=measured
      )
    if done == kill_at:
      os.kill(os.getpid(), signal.SIGKILL)
  checkpointer.close()
  iterator.close()
  return run, current, start, losses


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('workdir')
  parser.add_argument('--kill_at', type=int)
  parser.add_argument('--report')
  options = parser.parse_args()
  flags.FLAGS.mark_as_parsed()
  _, current, start, losses = train(options.workdir, options.kill_at)
  specs = jax.tree.map(lambda x: str(x.sharding.spec), current)
  report = dict(
      devices=jax.device_count(),
      start=start,
      losses=losses,
      kernel=current.params['body']['kernel'].tolist(),
      ema=current.ema['body']['kernel'].tolist(),
      specs=dict(tables.named_leaves(specs)),
  )
  pathlib.Path(options.report).write_text(json.dumps(report))


if __name__ == '__main__':
  main()
