"""Rows of figures, each guarded, and written as soon as it is known."""

import gc
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

Figures = dict[str, float | str]

_WIDTH = 62
# What a row may hold, in order: key -> (title, format).
_COLUMNS = {
    'ms': ('ms', '10.3f'),
    'best_ms': ('best', '10.3f'),
    'images_per_s': ('images/s', '9.1f'),
    'tflops': ('TFLOP/s', '8.2f'),
    'mfu': ('MFU', '6.3f'),
    'program_mb': ('MB', '8.0f'),
    'peak_mb': ('peak MB', '8.0f'),
    'compile_s': ('compile', '8.1f'),
}


class Ledger:
  """A table that grows row by row and survives any of them."""

  def __init__(self, path: str, minutes: float, about: Mapping[str, Any]):
    """Starts the clock.

    Args:
      path: JSON file that is written after each row; '' writes none.
      minutes: after which no further row is started.
      about: what else the file says.
    """
    self._path, self._about = path, dict(about)
    self._end = time.monotonic() + 60 * minutes
    self.rows: list[dict[str, Any]] = []
    titles = (f'{title:>{_size(form)}}' for title, form in _COLUMNS.values())
    print(f'{"":{_WIDTH}s}', *titles, flush=True)

  def row(self, name: str, measure: Callable[[], Figures]) -> None:
    """Measures something; what goes wrong becomes the row's `error`.

    Args:
      name: of the row.
      measure: makes its figures.
    """
    if time.monotonic() > self._end:
      found = {'error': 'not started: out of time'}
    else:
      found = _guarded(measure)
    self.rows.append({'name': name} | found)
    print(_line(name, found), flush=True)
    self._write()

  def _write(self) -> None:
    """Replaces the file, so that it is whole at any time."""
    if not self._path:
      return
    aside = f'{self._path}.part'
    with open(aside, 'w') as file:
      json.dump(self._about | {'rows': self.rows}, file, indent=1)
    os.replace(aside, self._path)


def _guarded(measure: Callable[[], Figures]) -> Figures:
  try:
    return measure()
  except Exception as error:  # Out of memory and what compilers say.
    return {'error': f'{type(error).__name__}: {error}'.splitlines()[0][:300]}
  finally:
    gc.collect()  # The next row starts from an empty device.


def _size(form: str) -> int:
  return int(form.split('.')[0])


def _line(name: str, found: Figures) -> str:
  cells = [
      f'{found[key]:{form}}' if key in found else ' ' * _size(form)
      for key, (_, form) in _COLUMNS.items()
  ]
  others = [
      f'{key} {value:.3g}' if isinstance(value, float) else f'{key} {value}'
      for key, value in found.items()
      if key not in _COLUMNS
  ]
  return ' '.join([f'{name:{_WIDTH}s}', *cells, *others])


def measure(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    *,
    seconds: float = 2.0,
    carry: bool = False,
) -> Figures:
  """Compiles a function and times calls of it that are not waited for.

  Args:
    function: that can be traced.
    arguments: arrays.
    seconds: about how long to run it.
    carry: True if its first result is its first argument of the next call,
      whose memory it takes over.

  Returns:
    `ms` of a call, the median of three series, and `best_ms`; `compile_s`
    with tracing; `program_mb`, what the program needs with its arguments; and
    `peak_mb`, the most that the device held since the process began.
  """
  start = time.perf_counter()
  # A function of its own: of one that it knows, `jax.jit` would keep the forms.
  own = lambda *arguments: function(*arguments)
  jitted = jax.jit(own, donate_argnums=(0,) if carry else ())
  program = jitted.lower(*arguments).compile()
  compile_s = time.perf_counter() - start
  state = list(arguments)

  def series(count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
      result = program(*state)
      if carry:
        state[0] = result[0]
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / count

  series(1)
  count = min(max(int(seconds / 3 / series(1)), 1), 30)
  times = sorted(1e3 * series(count) for _ in range(3))
  return {
      'ms': times[1],
      'best_ms': times[0],
      'compile_s': compile_s,
  } | _memory(program)


def _memory(program: Any) -> Figures:
  found = program.memory_analysis()
  total = (
      found.argument_size_in_bytes
      + found.output_size_in_bytes
      + found.temp_size_in_bytes
      - found.alias_size_in_bytes
  )
  stats = jax.devices()[0].memory_stats() or {}
  peak = stats.get('peak_bytes_in_use')
  figures = {'program_mb': total / 1e6}
  return figures if peak is None else figures | {'peak_mb': peak / 1e6}
