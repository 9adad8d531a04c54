"""Many strings in one piece of memory, which costs little to send."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


class Strings(Sequence[str]):
  """Strings that never change, in one piece of memory."""

  def __init__(self, values: Iterable[str]):
    """Joins strings."""
    # JSON may hold halves of surrogate pairs.
    encoded = [value.encode('utf-8', 'surrogatepass') for value in values]
    self._joined = b''.join(encoded)
    self._end = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

  def __len__(self) -> int:
    return len(self._end) - 1

  def __getitem__(self, index: int) -> str:
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in [0, {len(self)})')
    joined = self._joined[self._end[index] : self._end[index + 1]]
    return joined.decode('utf-8', 'surrogatepass')
