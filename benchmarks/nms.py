"""Non-maximum suppression: repeated application of the rule against a loop.

  python -m benchmarks.nms [--boxes=5000] [--batch=1]

5000 boxes are the candidates of five levels at GLIP's settings.
"""

import functools

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import oracles, timing
from glip_jax import configuring
from glip_jax.ops import nms

BOXES = flags.DEFINE_integer('boxes', 5000, 'Candidates of an image.')
BATCH = flags.DEFINE_integer('batch', 1, 'Images.')
CLASSES = flags.DEFINE_integer('classes', 80, 'Classes.')


def main(_):
  timing.start()
  shape = (BATCH.value, BOXES.value)
  keys = jax.random.split(jax.random.key(0), 4)
  # Candidates gather around objects: a hundred of them.
  object_ = jax.random.randint(keys[0], shape, 0, 100)
  centres = jax.random.uniform(keys[1], (100, 4), minval=50, maxval=750)
  noise = 8 * jax.random.normal(keys[2], (*shape, 4))
  corner = (centres[object_] + noise)[..., :2]
  boxes = jnp.concatenate([corner, corner + 90 + noise[..., 2:]], axis=-1)
  scores = jax.random.uniform(keys[3], shape)
  inputs = boxes, scores, object_ % CLASSES.value, jnp.ones(shape, bool)
  options = dict(threshold=0.6, max_outputs=100)
  forms = {
      'loop over boxes': oracles.plain_nms.non_max_suppression,
      'blocks, repeated rule': nms.non_max_suppression,
  }
  timing.report(
      f'{BATCH.value} x {BOXES.value} boxes, 100 kept',
      timing.compare(
          {
              name: jax.vmap(functools.partial(form, **options))
              for name, form in forms.items()
          },
          inputs,
      ),
  )


if __name__ == '__main__':
  configuring.run(main)
