"""A side of a comparison: runs once for each line that it is given.

Nothing but the standard library: the other side's interpreter reads it too.
"""

import ctypes
import pathlib
import sys
import time
from collections.abc import Callable

_PROCESS = pathlib.Path('/proc/self')


def serve(title: str, run: Callable[[], object]) -> None:
  """Says what it is, then answers lines of the standard input.

  An answer is the seconds of one run, and by how many megabytes the process
  grew at most meanwhile (Linux alone; else nan).

  Args:
    title: what the side is, in one line.
    run: what is measured; it returns when it is done.
  """
  print(title, flush=True)
  for _ in sys.stdin:
    before = _start_peak()
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    print(seconds, _memory('VmHWM') - before, flush=True)


def _start_peak() -> float:
  """Gives back what is free, and forgets the peak; the memory of now, in MB."""
  if _PROCESS.exists():
    ctypes.CDLL(None).malloc_trim(0)
    (_PROCESS / 'clear_refs').write_text('5')
  return _memory('VmRSS')


def _memory(name: str) -> float:
  """A figure of this process's memory, in megabytes."""
  if not _PROCESS.exists():
    return float('nan')
  for line in (_PROCESS / 'status').read_text().splitlines():
    if line.startswith(f'{name}:'):
      return int(line.split()[1]) * 1024 / 1e6
  return float('nan')
