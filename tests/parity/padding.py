"""An image's answer depends neither on its canvas nor on its batch.

    python tests/parity padding alone [nanoA nanoB nanoL A B L] [--canvas=HxW]
        [--tokens=256]
    python tests/parity padding draws [nanoA nanoB nanoL] [--count=200]

`alone` puts the images that the official code saw one at a time into one
batch, in reverse order and in a larger canvas, and prints the largest errors;
full-size models need GLIP_JAX_SHARED. `draws` compares images of random size,
prompt and boxes between a batch of one and a batch of strangers (draws.py).
"""

import argparse
import re
from collections.abc import Sequence

from parity import alone as alone_lib
from parity import draws as draws_lib
from parity import reference, stages

_NAMES = ('nanoA', 'nanoB', 'nanoL')


def measure_draws(name: str, count: int) -> None:
  """Prints how far random images are from themselves in other company."""
  _, params = reference.model(name)
  comparison = draws_lib.Comparison(name, params)
  draws_lib.run_draws(comparison, count)
  worst = ', '.join(f'{k} {v:.1e}' for k, v in comparison.worst.items())
  print(f'{name}: {count} draws equal; largest errors: {worst}', flush=True)


def measure_alone(name: str, canvas: tuple[int, int], num_tokens: int) -> bool:
  """Prints how far images in one batch are from the official answers.

  Returns:
    Whether logits are within their target and all detections are found.
  """
  within = True
  alone = alone_lib.Alone(name)
  order = list(range(alone.count))[::-1]
  batch = alone.batch(canvas, order, num_tokens=num_tokens)
  for i, row in zip(batch.id, alone.errors(batch), strict=True):
    size = 'x'.join(map(str, alone.arrays[f'img{i}_size_hw']))
    text = ', '.join(f'{k} {v:.1e}' for k, v in row.items())
    print(f'{name} {size} in {canvas}, {num_tokens} tokens: {text}', flush=True)
    within &= row['dot_product_logits_valid'] <= stages.LOGITS[name]
    within &= row['detections'] == 1.0
  return within


def main(arguments: Sequence[str]) -> int:
  """Measures what the arguments name."""
  parser = argparse.ArgumentParser(
      prog='tests/parity padding',
      description=__doc__,
      formatter_class=argparse.RawTextHelpFormatter,
  )
  parser.add_argument('kind', choices=('alone', 'draws'))
  parser.add_argument('names', nargs='*', default=_NAMES)
  parser.add_argument('--count', type=int, default=200, help='of draws')
  parser.add_argument('--canvas', help='HxW, multiples of 32; of alone')
  parser.add_argument('--tokens', type=int, default=256, help='of alone')
  args = parser.parse_args(arguments)
  if not 24 <= args.tokens <= 256:
    parser.error(f'--tokens={args.tokens}: the prompt has 24, give up to 256')
  if args.count < 1:
    parser.error(f'--count={args.count}: give a number above 0')
  sides = re.fullmatch(r'(\d+)x(\d+)', args.canvas or '512x544')
  if not sides or any(int(side) % 32 for side in sides.groups()):
    parser.error(f'--canvas={args.canvas}: give HxW, multiples of 32')
  within = True
  for name in args.names:
    if args.kind == 'draws':
      measure_draws(name, args.count)
    else:
      small = '256x288' if name.startswith('nano') else '512x544'
      height, width = (args.canvas or small).split('x')
      within &= measure_alone(name, (int(height), int(width)), args.tokens)
  return int(not within)
