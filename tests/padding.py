"""An image's answer depends neither on its canvas nor on its batch.

Run as a program it measures that, in two ways:

    python tests/padding.py alone [nanoA nanoB nanoL A B L] [--canvas=HxW]
        [--tokens=256]
    python tests/padding.py draws [nanoA nanoB nanoL] [--count=200]

`alone` puts the pictures that the official code saw one at a time into one
batch, in reverse order and in a larger canvas, and prints the largest errors;
full-size models need GLIP_JAX_SHARED. `draws` compares pictures of random size,
prompt and boxes between a batch of one and a batch of strangers, each in a
bucket of its own: logits in float32; and in float64 sums of losses and their
gradients, for the slope of bilinear sampling jumps where a point lies on a
pixel, and in float32 one of thousands of points often lies as near to one as
rounding reaches.
"""

import argparse
import dataclasses
import re

import hypothesis
import jax
import numpy as np
import padding_alone
import parity_reference
from hypothesis import strategies as st

from glip_jax import types
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.glip import objective as dense

# (height, width) of the canvases; batches of one are given more tokens too.
BUCKETS = ((96, 160), (160, 96), (128, 128), (192, 224))
TOKENS = {1: 64, 3: 32}
LOGITS_BOUND, SUMS_BOUND, GRADIENT_BOUND = 2e-4, 1e-9, 1e-9


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture of noise with boxes and a prompt, all drawn from its seed."""

  height: int
  width: int
  seed: int


@dataclasses.dataclass(frozen=True)
class Draw:
  """A picture alone in one bucket, and at a place among others in another."""

  alone_in: tuple[int, int]
  among_in: tuple[int, int]
  picture: Picture
  others: tuple[Picture, ...]
  place: int


@st.composite
def draws(draw, alone=BUCKETS, among=BUCKETS) -> Draw:
  """Draws that fit: every picture in the buckets that it is put in."""
  alone_in = draw(st.sampled_from(alone))
  among_in = draw(st.sampled_from(among))
  seeds = st.integers(0, 2**31 - 1)

  def picture(*canvases):
    sides = [min(side) for side in zip(*canvases, strict=True)]
    height, width = (draw(st.integers(1, side)) for side in sides)
    return Picture(height, width, draw(seeds))

  return Draw(
      alone_in,
      among_in,
      picture(alone_in, among_in),
      tuple(picture(among_in) for _ in range(2)),
      draw(st.integers(0, 2)),
  )


def element(
    picture: Picture, bucket: tuple[int, int], num_tokens: int, vocabulary: int
) -> types.Batch:
  """A picture in a canvas, without a batch axis."""
  rng = np.random.default_rng(picture.seed)
  size = np.array([picture.height, picture.width], np.int32)
  image = np.zeros((*bucket, 3), np.uint8)
  image[: size[0], : size[1]] = rng.integers(0, 256, (*size, 3), np.uint8)
  length, count = rng.integers(3, 33), rng.integers(0, 5)
  ids = np.zeros(num_tokens, np.int32)
  ids[:32] = rng.integers(1, vocabulary, 32)
  corners = rng.uniform(0, size[[1, 0]], (4, 2, 2))
  tokens = np.zeros((4, num_tokens), bool)
  tokens[:, :32] = rng.random((4, 32)) < 0.2
  mask = np.arange(num_tokens) < length
  return types.Batch(
      image=image,
      size=size,
      extent=-(-size // 32) * 32,
      scale=np.ones(2, np.float32),
      id=np.int32(0),
      prompt=types.Prompt(ids, mask, tokens & mask),
      targets=types.Targets(
          boxes=np.concatenate(
              [corners.min(axis=1), corners.max(axis=1)], axis=1
          ).astype(np.float32),
          phrase=np.zeros(4, np.int32),
          tokens=tokens & mask,
          valid=np.arange(4) < count,
          crowd=np.zeros(4, bool),
      ),
  )


class Comparison:
  """Computes a picture both ways; the worst errors so far are kept.

  Attributes:
    worst: largest errors of 'logits' (absolute), 'sums' (relative) and
      'gradients' (relative to the gradient of the same parameter, or to a
      thousandth of the whole gradient where that is larger: the gradient of a
      key's bias is truly zero).
  """

  def __init__(self, config, params, jit=jax.jit):
    self.vocabulary = config.language.vocab_size
    self.worst = {'logits': 0.0, 'sums': 0.0, 'gradients': 0.0}
    recipe = recipes.build(config)
    precise = recipes.build(dataclasses.replace(config, dtype='float64'))
    self._params = params
    self._precise_params = parity_reference.in_float64(params)

    def forward(params, batch):
      outputs = recipe.forward(params, batch)
      return outputs.logits, outputs.valid

    def loss(params, batch, weight):
      sums = dense.loss_sums(precise.forward(params, batch), batch)
      total = sums.token + 2 * sums.box + sums.centerness
      return total @ weight, sums

    self._forward = jit(forward)
    self._gradient = jit(jax.grad(loss, has_aux=True))

  def run(self, draw: Draw) -> dict[str, float]:
    """Errors of one draw."""
    alone = self._compute((draw.picture,), 0, draw.alone_in)
    pictures = list(draw.others)
    pictures.insert(draw.place, draw.picture)
    among = self._compute(pictures, draw.place, draw.among_in)
    errors = {
        'logits': np.abs(alone[0] - among[0]).max(),
        'sums': max(
            abs(a - b) / max(abs(a), 1.0)
            for a, b in zip(alone[1], among[1], strict=True)
        ),
        'gradients': _gradient_error(alone[2], among[2]),
    }
    for key, error in errors.items():
      self.worst[key] = max(self.worst[key], float(error))
    return errors

  def _compute(self, pictures, place, bucket):
    """(own logits, own sums, own gradients) of the picture at a place."""
    batch = jax.tree.map(
        lambda *x: np.stack(x),
        *(
            element(x, bucket, TOKENS[len(pictures)], self.vocabulary)
            for x in pictures
        ),
    )
    with jax.default_matmul_precision('highest'):
      logits, valid = self._forward(self._params, batch)
    own = np.asarray(logits[place])[np.asarray(valid[place])]
    length = batch.prompt.mask[place].sum()
    with jax.enable_x64(True):
      gradients, sums = self._gradient(
          self._precise_params,
          parity_reference.in_float64(batch),
          np.eye(len(pictures))[place],
      )
    sums = [float(x[place]) for x in sums]
    return own[:, :length], sums, jax.tree.map(np.asarray, gradients)


def _gradient_error(one, other) -> float:
  norm = lambda x: float(np.linalg.norm(np.asarray(x, np.float64)))
  leaves = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
  whole = norm([norm(x) for x, _ in leaves])
  return max(norm(x - y) / max(norm(x), 1e-3 * whole) for x, y in leaves)


def check(comparison: Comparison, draw: Draw) -> None:
  """Asserts that a draw's two answers are equal."""
  errors = comparison.run(draw)
  assert errors['logits'] <= LOGITS_BOUND, errors
  assert errors['sums'] <= SUMS_BOUND, errors
  assert errors['gradients'] <= GRADIENT_BOUND, errors


def run_draws(comparison: Comparison, count: int, **buckets) -> None:
  """Checks that many random draws, the same ones at every call."""

  @hypothesis.settings(
      max_examples=count,
      derandomize=True,
      deadline=None,
      database=None,
      suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(draws(**buckets))
  def test(draw):
    check(comparison, draw)

  test()


def measure_draws(name: str, count: int) -> None:
  """Prints how far random pictures are from themselves in other company."""
  _, params = parity_reference.model(name)
  comparison = Comparison(recipes.variant(name), params)
  run_draws(comparison, count)
  worst = ', '.join(f'{k} {v:.1e}' for k, v in comparison.worst.items())
  print(f'{name}: {count} draws equal; largest errors: {worst}', flush=True)


def measure_alone(name: str, canvas: tuple[int, int], num_tokens: int) -> None:
  """Prints how far pictures in one batch are from the official answers."""
  alone = padding_alone.Alone(name)
  order = list(range(alone.count))[::-1]
  batch = alone.batch(canvas, order, num_tokens=num_tokens)
  for i, row in zip(batch.id, alone.errors(batch), strict=True):
    size = 'x'.join(map(str, alone.arrays[f'img{i}_size_hw']))
    text = ', '.join(f'{k} {v:.1e}' for k, v in row.items())
    print(f'{name} {size} in {canvas}, {num_tokens} tokens: {text}', flush=True)


def main() -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('kind', choices=('alone', 'draws'))
  parser.add_argument('names', nargs='*', default=['nanoA', 'nanoB', 'nanoL'])
  parser.add_argument('--count', type=int, default=200, help='of draws')
  parser.add_argument('--canvas', help='HxW, multiples of 32; of alone')
  parser.add_argument('--tokens', type=int, default=256, help='of alone')
  args = parser.parse_args()
  if not 24 <= args.tokens <= 256:
    parser.error(f'--tokens={args.tokens}: the prompt has 24, give up to 256')
  if args.count < 1:
    parser.error(f'--count={args.count}: give a number above 0')
  sides = re.fullmatch(r'(\d+)x(\d+)', args.canvas or '512x544')
  if not sides or any(int(side) % 32 for side in sides.groups()):
    parser.error(f'--canvas={args.canvas}: give HxW, multiples of 32')
  for name in args.names:
    if args.kind == 'draws':
      measure_draws(name, args.count)
    else:
      small = '256x288' if name.startswith('nano') else '512x544'
      height, width = (args.canvas or small).split('x')
      measure_alone(name, (int(height), int(width)), args.tokens)


if __name__ == '__main__':
  main()
