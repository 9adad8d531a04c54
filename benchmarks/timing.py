"""Times several forms of one computation side by side, in one run.

Forms take turns, so that what else the machine does meets all of them alike;
the first one runs twice in each turn, and where its two times differ by more
than a fifth the figures are marked as unsteady. Ratios are to be read, not
milliseconds: say what else ran, on what, with which jax.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from glip_jax.training import runtime

KEEP_MEMORY = flags.DEFINE_bool(
    'keep_memory', True, 'On CPU, have memory reused as the programs do.'
)


@dataclasses.dataclass(frozen=True)
class Timed:
  """What was measured of a form.

  Attributes:
    seconds: of each run.
    temporary: bytes of temporary memory that the compiled program needs, None
      for what JAX did not compile.
    compile_seconds: tracing and compiling.
  """

  seconds: tuple[float, ...]
  temporary: int | None
  compile_seconds: float

  @property
  def best(self) -> float:
    return min(self.seconds)


def compare(
    forms: Mapping[str, Callable[..., Any]],
    arguments: Sequence[Any],
    *,
    rounds: int = 7,
) -> dict[str, Timed]:
  """Compiles all forms and runs them in turns.

  Args:
    forms: functions of the same arguments by name; the first is what the
      others are compared with. One with an attribute `run` is not compiled:
      that is called without arguments.
    arguments: arrays.
    rounds: how often each form runs, after one run that is not counted.

  Returns:
    What was measured, by name.
  """
  runs, compiled, compile_seconds = {}, {}, {}
  for name, form in forms.items():
    start = time.perf_counter()
    if hasattr(form, 'run'):
      runs[name] = form.run
    else:
      compiled[name] = jax.jit(form).lower(*arguments).compile()
      program = compiled[name]
      runs[name] = lambda program=program: jax.block_until_ready(
          program(*arguments)
      )
    compile_seconds[name] = time.perf_counter() - start
    runs[name]()
  first = next(iter(forms))
  seconds = {name: [] for name in forms}
  again = []
  for _ in range(rounds):
    for name, run in runs.items():
      seconds[name].append(_time(run))
    again.append(_time(runs[first]))
  ratio = min(again) / min(seconds[first])
  if not 1 / 1.2 < ratio < 1.2:
    print(f'unsteady: {first} against itself {ratio:.2f}')
  return {
      name: Timed(
          tuple(seconds[name]),
          compiled[name].memory_analysis().temp_size_in_bytes
          if name in compiled
          else None,
          compile_seconds[name],
      )
      for name in forms
  }


def report(title: str, timed: Mapping[str, Timed]) -> None:
  """Prints a table: the first form is what ratios are to."""
  print(f'\n{title}')
  print(
      f'  {"form":24s} {"min s":>8s} {"median":>8s} {"faster":>7s}'
      f' {"temp MB":>8s} {"less":>6s} {"compile s":>9s}'
  )
  first = next(iter(timed.values()))
  for name, row in timed.items():
    memory, less = '', ''
    if row.temporary is not None:
      memory = f'{row.temporary / 1e6:.0f}'
      if first.temporary is not None:
        less = f'{first.temporary / max(row.temporary, 1):.1f}x'
    print(
        f'  {name:24s} {row.best:8.3f} {np.median(row.seconds):8.3f}'
        f' {first.best / row.best:6.2f}x {memory:>8s} {less:>6s}'
        f' {row.compile_seconds:9.1f}',
        flush=True,
    )


def start() -> None:
  """Prepares memory, and prints the machine and its load.

  Call it first: JAX must not have looked for devices.
  """
  if KEEP_MEMORY.value:
    runtime.reuse_memory()
  device = jax.devices()[0]
  load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else float('nan')
  print(
      f'jax {jax.__version__}, {len(jax.devices())} x {device.device_kind},'
      f' {os.cpu_count()} cores, load {load:.1f}'
  )


def matmul_rate(size: int = 4096) -> float:
  """Floating-point operations per second of a large float32 product."""
  x = jax.random.normal(jax.random.key(0), (size, size))
  product = jax.jit(lambda x: x @ x).lower(x).compile()
  run = lambda: jax.block_until_ready(product(x))
  run()
  return 2 * size**3 / min(_time(run) for _ in range(5))


def _time(run: Callable[[], Any]) -> float:
  start = time.perf_counter()
  run()
  return time.perf_counter() - start
