"""Grounding DINO's whole forward pass beside Hugging Face's, in turns.

  python -m benchmarks.grounding_dino --torch=PYTHON [--size=800x1333]
      [--tokens=64,195] [--rounds=5]

PYTHON is an interpreter that has torch and transformers, in an environment of
its own. Both sides are processes that answer one request at a time, so that
each has the machine for itself and its peak memory is its own: that of the
process, with weights and libraries. Ours has the canvas and the bucket of
tokens that the data pipeline would give it; theirs has neither. Float32, one
image, weights by chance.
"""

import dataclasses
import pathlib
import resource
import subprocess
import sys
import time

import jax
import numpy as np
from absl import flags

from benchmarks import inputs
from glip_jax import configuring, errors
from glip_jax.detectors import recipe as recipes
from glip_jax.training import runtime

TORCH = flags.DEFINE_string('torch', '', 'An interpreter that has torch.')
SIZE = flags.DEFINE_string('size', '800x1333', 'Height and width of an image.')
TOKENS = flags.DEFINE_list('tokens', ['64', '195'], 'Tokens in use.')
ROUNDS = flags.DEFINE_integer('rounds', 5, 'Runs of each side that count.')
VARIANT = flags.DEFINE_string('variant', 'grounding_dino_t', 'Ours.')
SERVE = flags.DEFINE_bool('serve', False, 'Be our side of the comparison.')

_BUCKETS = (64, 256)


@dataclasses.dataclass
class Side:
  """A process that runs one forward pass for each line it is given.

  Attributes:
    process: that process.
    title: what it says of itself.
    seconds: of each pass.
    peak: megabytes of the process, at most.
  """

  process: subprocess.Popen
  title: str
  seconds: list[float]
  peak: float = 0.0

  @classmethod
  def start(cls, command: list[str]) -> 'Side':
    """Starts it, and waits until it can answer."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    return cls(process, process.stdout.readline().strip(), [])

  def run(self) -> None:
    """One pass more."""
    print(file=self.process.stdin, flush=True)
    answer = self.process.stdout.readline().split()
    if len(answer) != 2:
      raise errors.UserError(
          f'{self.process.args[:3]} gave no time: its message is above'
      )
    seconds, self.peak = map(float, answer)
    self.seconds.append(seconds)


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
  print(f'{"best s":>8s} {"median":>8s} {"peak MB":>8s}')
  for side in sides:
    side.process.stdin.close()
    side.process.wait()
    counted = side.seconds[1:]
    print(
        f'{min(counted):8.2f} {np.median(counted):8.2f} {side.peak:8.0f}'
        f'  {side.title}; first {side.seconds[0]:.1f} s'
    )
  best = [min(side.seconds[1:]) for side in sides]
  print(f'{best[0] / best[1]:7.2f}x faster', flush=True)


def serve() -> None:
  """Answers each line of the standard input with seconds and megabytes."""
  size = tuple(map(int, SIZE.value.split('x')))
  tokens = int(TOKENS.value[0])
  bucket = next(x for x in _BUCKETS if x >= tokens)
  batch = inputs.batch(size, 1, bucket)
  used = np.arange(bucket)[None] < tokens
  prompt = dataclasses.replace(
      batch.prompt, mask=used, spans=batch.prompt.spans & used[:, None]
  )
  batch = batch.replace(prompt=prompt, targets=None)
  batch = batch.replace(extent=batch.size)
  recipe = recipes.build(recipes.variant(VARIANT.value))
  params = inputs.params(recipe.init, batch)
  program = jax.jit(recipe.forward).lower(params, batch).compile()
  temporary = program.memory_analysis().temp_size_in_bytes / 1e6
  print(
      f'jax {jax.__version__}, bucket of {bucket}, {temporary:.0f} MB of them'
      ' temporary',
      flush=True,
  )
  for _ in sys.stdin:
    start = time.perf_counter()
    jax.block_until_ready(program(params, batch))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(seconds, peak, flush=True)


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
  for tokens in TOKENS.value:
    compare(int(tokens))


if __name__ == '__main__':
  configuring.run(main)
