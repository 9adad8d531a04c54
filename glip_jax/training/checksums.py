"""Checksums of arrays, the same on every mesh, and whether they are finite.

A file system keeps no promise about single bits, and one of them makes a weight
of 0.1 one of 1e37. A sum is one of all 32-bit words of an array, each times an
odd number that tells its place, in integers that wrap around: any one changed
bit changes it, and the order of adding does not. It is computed by the host:
a program for each shape takes longer to compile than to run.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from glip_jax.training import processes, tables

_CHUNK = 1 << 20  # Words at a time: they stay in a cache.
_WRAP = 2**32


class Sum(NamedTuple):
  """What is known of an array.

  Attributes:
    checksum: in [0, 2**32).
    finite: False where it holds a NaN or an infinity.
  """

  checksum: int
  finite: bool


def sums(tree: Any) -> dict[str, Sum]:
  """The sum of every array of a tree, by its path.

  Args:
    tree: of arrays on any devices, or of numpy's; all processes must ask.
  """
  own = {name: _own(leaf) for name, leaf in tables.named_leaves(tree).items()}
  everybody = processes.gather(own)
  return {
      name: Sum(
          sum(each[name].checksum for each in everybody) % _WRAP,
          all(each[name].finite for each in everybody),
      )
      for name in own
  }


def _own(leaf: Any) -> Sum:
  """The sum over the parts of an array that this process answers for."""
  if not isinstance(leaf, jax.Array):
    leaf = np.asarray(leaf)
    return _sum(leaf, (), leaf.shape)
  parts = [
      _sum(np.asarray(shard.data), shard.index, leaf.shape)
      for shard in leaf.addressable_shards
      if not shard.replica_id
  ]
  return Sum(sum(x.checksum for x in parts), all(x.finite for x in parts))


def _sum(
    part: np.ndarray, index: tuple[slice, ...], shape: tuple[int, ...]
) -> Sum:
  """The sum of a part of an array.

  Args:
    part: of the array.
    index: where it begins, one slice for each axis; () for the whole.
    shape: of the whole array.
  """
  finite = bool(np.isfinite(part).all())
  words = _words(part)
  if part.shape == shape:
    total = 0
    flat = words.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
      chunk = flat[start : start + _CHUNK]
      place = np.arange(start, start + chunk.size, dtype=np.uint32)
      total += _weighted(chunk, place)
    return Sum(total % _WRAP, finite)
  shape = (*shape, *words.shape[part.ndim :])
  starts = [x.start or 0 for x in index] + [0] * (words.ndim - part.ndim)
  place = np.zeros((), np.uint32)
  for length, begin, whole in zip(words.shape, starts, shape, strict=True):
    steps = np.arange(begin, begin + length, dtype=np.uint32)
    place = place[..., None] * np.uint32(whole % _WRAP) + steps
  return Sum(_weighted(words, place), finite)


def _weighted(words: np.ndarray, place: np.ndarray) -> int:
  """The sum of words, each times the odd number of its place."""
  odd = place * np.uint32(2) + np.uint32(1)
  return int((words * odd).sum(dtype=np.uint32))


def _words(part: np.ndarray) -> np.ndarray:
  """The bits of each number as uint32; of 8 bytes as two, on one more axis."""
  part = np.ascontiguousarray(part).reshape(part.shape)
  if part.dtype.itemsize > 4:
    return part[..., None].view(np.uint32)
  return part.view(f'uint{8 * part.dtype.itemsize}').astype(
      np.uint32, copy=False
  )
