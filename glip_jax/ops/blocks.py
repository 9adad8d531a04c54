"""Cuts an axis into blocks of one size, which loops visit one after the other.

The axis may hold segments that stand one after the other; each block then lies
in one segment. A segment's last block is filled up with zeros.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped


class Blocks(NamedTuple):
  """Blocks of segments that stand one after the other.

  Attributes:
    counts: length of each segment.
    size: of a block.
  """

  counts: tuple[int, ...]
  size: int

  @classmethod
  def between(
      cls, counts: Sequence[int], smallest: int, largest: int
  ) -> 'Blocks':
    """The largest size in a range that fills up least.

    Args:
      counts: length of each segment.
      smallest: least size of a block, at least 1.
      largest: greatest size of a block, at least `smallest`.
    """
    filled = lambda size: sum(-(-count // size) * size for count in counts)
    sizes = range(largest, smallest - 1, -1)
    return cls(tuple(counts), min(sizes, key=filled))

  @property
  def segment(self) -> np.ndarray:
    """int[blocks] the segment that each block is of."""
    return np.repeat(np.arange(len(self.counts)), self._numbers)

  @property
  def _numbers(self) -> list[int]:
    """Blocks of each segment."""
    return [-(-count // self.size) for count in self.counts]

  def cut(
      self, x: Shaped[Array, '*whole'], axis: int
  ) -> Shaped[Array, '*blocks']:
    """Replaces an axis by that of a block, and puts the blocks first."""
    parts = []
    ends = np.cumsum(self.counts)[:-1]
    for part, number in zip(
        jnp.split(x, ends, axis), self._numbers, strict=True
    ):
      padding = [(0, 0)] * x.ndim
      padding[axis] = (0, number * self.size - part.shape[axis])
      parts.append(jnp.pad(part, padding))
    x = jnp.concatenate(parts, axis)
    x = x.reshape(*x.shape[:axis], -1, self.size, *x.shape[axis + 1 :])
    return jnp.moveaxis(x, axis, 0)

  def join(
      self, x: Shaped[Array, '*blocks'], axis: int
  ) -> Shaped[Array, '*whole']:
    """Undoes `cut`."""
    x = jnp.moveaxis(x, 0, axis)
    x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    parts, start = [], 0
    for count, number in zip(self.counts, self._numbers, strict=True):
      own = slice(start, start + count)
      parts.append(x[(slice(None),) * axis + (own,)])
      start += number * self.size
    return jnp.concatenate(parts, axis)
