"""Many short lists of whole numbers in two flat arrays, cheap to send."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from jaxtyping import Int


class Lists:
  """Lists that never change, one for each record of a source.

  Attributes:
    end: list i is `values[end[i]]` to `values[end[i + 1]]`.
    values: all numbers, one list behind the other.
  """

  def __init__(self, end: Int[np.ndarray, n + 1], values: Int[np.ndarray, m]):
    """Takes the two arrays."""
    self.end, self.values = end, values

  @classmethod
  def of(cls, rows: Collection[Collection[int]]) -> Lists:
    """Joins lists."""
    flat = [value for row in rows for value in row]
    end = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return cls(end, np.array(flat, np.int32))

  def __len__(self) -> int:
    return len(self.end) - 1

  def __getitem__(self, index: int) -> tuple[int, ...]:
    start, end = self.end[index : index + 2]
    return tuple(self.values[start:end].tolist())
