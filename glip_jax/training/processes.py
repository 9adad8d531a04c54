"""What the processes of one run tell each other besides arrays.

All processes must call these functions, in the same order. Values travel as
pickled bytes in chunks, so that neither a size nor a buffer outgrows int32.
"""

import pickle
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar('T')

_CHUNK = 64 << 20  # Bytes of a process that travel at a time.


def gather(value: T) -> list[T]:
  """The values of all processes, in their order, on each of them.

  Args:
    value: anything that can be pickled, of any size.
  """
  if jax.process_count() == 1:
    return [value]
  data = np.frombuffer(pickle.dumps(value), np.uint8)
  # Collectives know no ragged arrays: tell the sizes, in numbers of 32 bits.
  size = np.array(divmod(data.size, _CHUNK), np.int32)
  sizes = [
      int(whole) * _CHUNK + int(rest)
      for whole, rest in multihost_utils.process_allgather(size)
  ]
  received = [bytearray() for _ in sizes]
  for start in range(0, max(sizes), _CHUNK):
    longest = min(_CHUNK, max(sizes) - start)
    padded = np.zeros(longest, np.uint8)
    part = data[start : start + longest]
    padded[: part.size] = part
    rows = multihost_utils.process_allgather(padded)
    for into, row, size in zip(received, rows, sizes, strict=True):
      into += row[: max(size - start, 0)].tobytes()
  return [pickle.loads(whole) for whole in received]


def on_first(compute: Callable[[], T]) -> T:
  """What process 0 computes, told to all; nobody goes on before it is done.

  Args:
    compute: called by process 0 alone; its value must be such that it can be
      pickled.

  Raises:
    Exception: on every process, what `compute` raised on process 0.
  """
  if jax.process_count() == 1:
    return compute()
  value, error = None, None
  if jax.process_index() == 0:
    try:
      value = compute()
    except Exception as raised:  # The others wait: they must hear of it.
      error = raised
  value, error = gather((value, _portable(error)))[0]
  if error is not None:
    raise error
  return value


def _portable(error: Exception | None) -> Exception | None:
  """The error, or one that says the same if it cannot travel."""
  try:
    pickle.loads(pickle.dumps(error))
  except Exception:
    return RuntimeError(f'{type(error).__name__}: {error}')
  return error
