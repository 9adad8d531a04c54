"""What the processes of one run tell each other besides arrays."""

import pickle
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def gather(value: Any) -> list[Any]:
  """The values of all processes, in their order, on each of them.

  Every process must call it, the same number of times.

  Args:
    value: anything that can be pickled.
  """
  if jax.process_count() == 1:
    return [value]
  data = np.frombuffer(pickle.dumps(value), np.uint8)
  # One shape for all: collectives know no ragged arrays.
  sizes = multihost_utils.process_allgather(np.array(data.size, np.int32))
  padded = np.zeros(int(sizes.max()), np.uint8)
  padded[: data.size] = data
  rows = multihost_utils.process_allgather(padded)
  return [
      pickle.loads(row[:size].tobytes())
      for row, size in zip(rows, sizes, strict=True)
  ]
