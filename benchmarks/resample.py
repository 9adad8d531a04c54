"""Upsampling with aligned corners: two small products against gathers.

python -m benchmarks.resample [--batch=1] [--width=256]
"""

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import oracles, timing
from glip_jax import configuring
from glip_jax.ops import resample

BATCH = flags.DEFINE_integer('batch', 1, 'Images.')
WIDTH = flags.DEFINE_integer('width', 256, 'Channels.')
SMALL, LARGE = (50, 84), (100, 168)


def main(_):
  timing.start()
  shape = (BATCH.value, *SMALL, WIDTH.value)
  x = jax.random.normal(jax.random.key(0), shape)
  repeat = lambda size: jnp.array([size] * BATCH.value)
  inputs = x, repeat(SMALL), repeat(LARGE)
  forms = {
      'gathers': lambda x, *own: oracles.plain_resample.upsample_bilinear(
          x, LARGE, *own
      ),
      'two products': lambda x, *own: resample.upsample_bilinear(
          x, LARGE, *own
      ),
  }
  for what in ('forward', 'forward and gradient'):
    if what != 'forward':
      forms = {name: _gradient(form) for name, form in forms.items()}
    timing.report(f'{what}, {SMALL} to {LARGE}', timing.compare(forms, inputs))


def _gradient(form):
  return jax.grad(lambda *inputs: jnp.sum(jnp.sin(form(*inputs))))


if __name__ == '__main__':
  configuring.run(main)
