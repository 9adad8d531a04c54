"""Deformable convolutions: tap by tap against im2col and torch's grid_sample.

  python -m benchmarks.deform_conv [--maps=block] [--width=256] [--batch=1]
      [--dtype=bfloat16]

`--maps` is `block` for the 13 convolutions of one DyConv on a picture of
800 x 1333, or one map and its stride, such as 100x168/1 or 50x84/2.
"""

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import oracles, timing, torch_forms
from glip_jax import configuring
from glip_jax.ops import deform_conv

MAPS = flags.DEFINE_string('maps', 'block', 'block, or HxW/stride.')
WIDTH = flags.DEFINE_integer('width', 256, 'Channels in and out.')
BATCH = flags.DEFINE_integer('batch', 1, 'Images.')
DTYPE = flags.DEFINE_string('dtype', 'float32', 'Of the maps.')
ROUNDS = flags.DEFINE_integer('rounds', 7, 'Runs of each form.')
BLOCK = ((100, 168), (50, 84), (25, 42), (13, 21), (7, 11))


def _plan() -> tuple[tuple, list[tuple[int, int, int]]]:
  """Sizes of the maps, and (level, stride, kernel) of what is read."""
  if MAPS.value != 'block':
    size, stride = MAPS.value.split('/')
    return (tuple(map(int, size.split('x'))),), [(0, int(stride), 0)]
  plan = []
  for i in range(len(BLOCK)):
    plan.append((i, 1, 1))
    if i:
      plan.append((i - 1, 2, 2))
    if i + 1 < len(BLOCK):
      plan.append((i + 1, 1, 0))
  return BLOCK, plan


def make_inputs(sizes, plan):
  """(maps, [(offsets, modulation), ...], kernels) of random numbers."""
  keys = iter(jax.random.split(jax.random.key(0), 64))
  b, d = BATCH.value, WIDTH.value
  maps = [
      jax.random.normal(next(keys), (b, *size, d)).astype(DTYPE.value)
      for size in sizes
  ]
  sampling = []
  for level, stride, _ in plan:
    out = [-(-side // stride) for side in sizes[level]]
    offsets = 1.5 * jax.random.normal(next(keys), (b, *out, 18))
    sampling.append((offsets, jax.random.uniform(next(keys), (b, *out, 9))))
  num_kernels = 1 + max(kernel for *_, kernel in plan)
  shape = (num_kernels, 9, d, d)
  return maps, sampling, 0.02 * jax.random.normal(next(keys), shape)


def main(_):
  timing.start()
  sizes, plan = _plan()
  cells = [jnp.array([size] * BATCH.value) for size in sizes]

  def form(convolve):
    def run(maps, sampling, kernels):
      readings = [
          deform_conv.Reading(level, *pair, stride, kernel)
          for (level, stride, kernel), pair in zip(plan, sampling, strict=True)
      ]
      return convolve(maps, cells, readings, kernels)

    return run

  def with_gradient(run):
    total = lambda *inputs: sum(jnp.sum(jnp.sin(y)) for y in run(*inputs))
    return jax.grad(total, argnums=(0, 1, 2))

  inputs = make_inputs(sizes, plan)
  forms = {
      'plain': form(oracles.plain_deform_conv.pyramid_deform_conv),
      'tap by tap': form(deform_conv.pyramid_deform_conv),
  }
  print(f'products of 4096: {timing.matmul_rate() / 1e9:.0f} GFLOP/s')
  for what, change in (
      ('forward', lambda run: run),
      ('forward and gradient', with_gradient),
  ):
    chosen = {name: change(run) for name, run in forms.items()}
    if torch_forms.available() and DTYPE.value == 'float32':
      chosen['torch, grid_sample'] = torch_forms.DeformConv(
          inputs, plan, gradient=what != 'forward'
      )
    timing.report(
        f'{what}, {MAPS.value}, {BATCH.value} x {WIDTH.value} channels,'
        f' {DTYPE.value}',
        timing.compare(chosen, inputs, rounds=ROUNDS.value),
    )


if __name__ == '__main__':
  configuring.run(main)
