"""Deformable convolutions: tap by tap against im2col and torch's grid_sample.

  python -m benchmarks.deform_conv [--maps=block] [--width=256] [--batch=1]
      [--dtype=bfloat16]

`--maps` is `block` for the 13 convolutions of one DyConv on an image of
800 x 1333, or one map and its stride, such as 100x168/1 or 50x84/2.
"""

from absl import flags

from benchmarks import inputs, oracles, timing, torch_forms
from glip_jax import configuring
from glip_jax.ops import deform_conv

MAPS = flags.DEFINE_string('maps', 'block', 'block, or HxW/stride.')
WIDTH = flags.DEFINE_integer('width', 256, 'Channels in and out.')
BATCH = flags.DEFINE_integer('batch', 1, 'Images.')
DTYPE = flags.DEFINE_string('dtype', 'float32', 'Of the maps.')
ROUNDS = flags.DEFINE_integer('rounds', 7, 'Runs of each form.')


def _plan() -> tuple[tuple, list[tuple[int, int, int]]]:
  """Sizes of the maps, and (level, stride, kernel) of what is read."""
  if MAPS.value != 'block':
    size, stride = MAPS.value.split('/')
    return (tuple(map(int, size.split('x'))),), [(0, int(stride), 0)]
  return inputs.PYRAMID, inputs.dyconv_plan(len(inputs.PYRAMID))


def main(_):
  timing.start()
  sizes, plan = _plan()
  form = lambda convolve: inputs.deform_form(convolve, sizes, plan, BATCH.value)
  with_gradient = lambda run: inputs.with_gradient(run, (0, 1, 2))
  arguments = inputs.deform(sizes, plan, BATCH.value, WIDTH.value, DTYPE.value)
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
          arguments, plan, gradient=what != 'forward'
      )
    timing.report(
        f'{what}, {MAPS.value}, {BATCH.value} x {WIDTH.value} channels,'
        f' {DTYPE.value}',
        timing.compare(chosen, arguments, rounds=ROUNDS.value),
    )


if __name__ == '__main__':
  configuring.run(main)
