"""Many strings in one piece of memory, which costs little to send."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int


class Strings(Sequence[str]):
  """Strings that never change, in one piece of memory."""

  def __init__(self, values: Iterable[str]):
    """Joins strings."""
    # JSON may hold halves of surrogate pairs.
    encoded = [value.encode('utf-8', 'surrogatepass') for value in values]
    self._joined = b''.join(encoded)
    self._end = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

  @classmethod
  def of(cls, joined: bytes, end: Int[np.ndarray, n + 1]) -> Strings:
    """Strings that `joined` and `end` gave.

    Args:
      joined: all strings, in UTF-8, one behind the other.
      end: string i is bytes `end[i]` to `end[i + 1]`.
    """
    made = cls(())
    made._joined, made._end = joined, end
    return made

  @property
  def joined(self) -> bytes:
    """All strings, as `of` takes them."""
    return self._joined

  @property
  def end(self) -> Int[np.ndarray, n + 1]:
    """Where each string begins and ends, as `of` takes it."""
    return self._end

  def __len__(self) -> int:
    return len(self._end) - 1

  def __getitem__(self, index: int) -> str:
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in [0, {len(self)})')
    joined = self._joined[self._end[index] : self._end[index + 1]]
    return joined.decode('utf-8', 'surrogatepass')
