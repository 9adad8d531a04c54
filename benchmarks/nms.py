"""Non-maximum suppression: repeated application of the rule against a loop.

  python -m benchmarks.nms [--boxes=5000] [--batch=1]

5000 boxes are the candidates of five levels at GLIP's settings.
"""

import functools

import jax
from absl import flags

from benchmarks import inputs, oracles, timing
from glip_jax import configuring
from glip_jax.ops import nms

BOXES = flags.DEFINE_integer('boxes', 5000, 'Candidates of an image.')
BATCH = flags.DEFINE_integer('batch', 1, 'Images.')
CLASSES = flags.DEFINE_integer('classes', 80, 'Classes.')


def main(_):
  timing.start()
  arguments = inputs.suppression(BATCH.value, BOXES.value, CLASSES.value)
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
          arguments,
      ),
  )


if __name__ == '__main__':
  configuring.run(main)
