"""Grounding DINO's whole forward pass beside Hugging Face's, in turns.

  python -m benchmarks.grounding_dino --torch=PYTHON [--size=800x1333]
      [--tokens=64,195] [--rounds=5]

PYTHON is an interpreter that has torch and transformers, in an environment of
its own. Both sides are processes that answer one request at a time, so that
each has the machine for itself. Memory is what a process grows by in a pass,
beside weights. Ours has the canvas and the bucket of tokens that the data
pipeline would give it; theirs has neither. Float32, one image, weights by
chance.
"""

import dataclasses
import pathlib
import subprocess
import sys

import jax
import numpy as np
from absl import flags

from benchmarks import answering, inputs
from glip_jax import configuring, errors
from glip_jax.detectors import recipe as recipes
from glip_jax.training import runtime

TORCH = flags.DEFINE_string('torch', '', 'An interpreter that has torch.')
SIZE = flags.DEFINE_string('size', '800x1333', 'Height and width of an image.')
TOKENS = flags.DEFINE_list('tokens', ['64', '195'], 'Tokens in use.')
ROUNDS = flags.DEFINE_integer('rounds', 5, 'Runs of each side that count.')
VARIANT = flags.DEFINE_string('variant', 'grounding_dino_T', 'Ours.')
SERVE = flags.DEFINE_bool('serve', False, 'Be our side of the comparison.')

_BUCKETS = (64, 256)


@dataclasses.dataclass
class Side:
  """A process that runs one forward pass for each line it is given.

  Attributes:
    process: that process.
    title: what it says of itself.
    seconds: of each pass.
    grown: megabytes that the process grew by in a pass, at most.
  """

  process: subprocess.Popen
  title: str
  seconds: list[float]
  grown: float = 0.0

  @classmethod
  def start(cls, command: list[str]) -> 'Side':
    """Starts it, and waits until it can answer."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    title = process.stdout.readline().strip()
    if not title:
      raise errors.UserError(
          f'{" ".join(command[:3])} did not start: its message is above'
      )
    return cls(process, title, [])

  def run(self) -> None:
    """One pass more."""
    self.process.stdin.write('\n')
    self.process.stdin.flush()
    answer = self.process.stdout.readline().split()
    if not answer:
      raise errors.UserError(f'{self.title} ended: its message is above')
    seconds, grown = map(float, answer)
    self.seconds.append(seconds)
    self.grown = max(self.grown, grown)


def compare(tokens: int) -> None:
  """Prints a table of both sides at one length of prompt."""
  height, width = SIZE.value.split('x')
  theirs = pathlib.Path(__file__).with_name('torch_grounding_dino.py')
  sides = (
      Side.start([TORCH.value, str(theirs), height, width, str(tokens)]),
      Side.start(
          [sys.executable, '-m', 'benchmarks.grounding_dino', '--serve']
          + [f'--size={SIZE.value}', f'--tokens={tokens}']
          + [f'--variant={VARIANT.value}']
      ),
  )
  for _ in range(1 + ROUNDS.value):
    for side in sides:
      side.run()
  print(f'\n{VARIANT.value}, 1 x {SIZE.value}, {tokens} tokens, float32')
  print(f'{"best s":>8s} {"median":>8s} {"MB":>8s}')
  for side in sides:
    side.process.stdin.close()
    side.process.wait()
    counted = side.seconds[1:]
    print(
        f'{min(counted):8.2f} {np.median(counted):8.2f} {side.grown:8.0f}'
        f'  {side.title}; first {side.seconds[0]:.1f} s'
    )
  best = [min(side.seconds[1:]) for side in sides]
  print(f'{best[0] / best[1]:7.2f}x faster', flush=True)


def serve() -> None:
  """Serves our forward passes."""
  size = tuple(map(int, SIZE.value.split('x')))
  tokens = int(TOKENS.value[0])
  bucket = min(x for x in _BUCKETS if x >= tokens)
  batch = inputs.batch(size, 1, bucket)
  used = np.arange(bucket)[None] < tokens
  prompt = batch.prompt.replace(
      mask=used, spans=batch.prompt.spans & used[:, None]
  )
  batch = batch.replace(prompt=prompt, targets=None, extent=batch.size)
  recipe = recipes.build(recipes.variant(VARIANT.value))
  params = inputs.params(recipe.init, batch)
  program = jax.jit(recipe.forward).lower(params, batch).compile()
  answering.serve(
      f'jax {jax.__version__}, bucket of {bucket},'
      f' {program.memory_analysis().temp_size_in_bytes / 1e6:.0f} MB temporary',
      lambda: jax.block_until_ready(program(params, batch)),
  )


def main(_):
  if SERVE.value:
    runtime.reuse_memory()
    serve()
    return
  if not TORCH.value:
    raise errors.UserError(
        '--torch is missing: name an interpreter that has torch and'
        ' transformers'
    )
  for tokens in map(int, TOKENS.value):
    if not 2 <= tokens <= max(_BUCKETS):
      raise errors.UserError(
          f'--tokens={tokens}: give 2 to {max(_BUCKETS)}, as the models read'
      )
    compare(tokens)


if __name__ == '__main__':
  configuring.run(main)
