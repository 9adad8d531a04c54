"""Checksums of arrays, the same on every mesh, and whether they are finite.

A file system keeps no promise about single bits, and one of them makes a weight
of 0.1 one of 1e37. A sum is one of all 32-bit words of an array, each times an
odd number that tells its place, in integers that wrap around: any one changed
bit changes it, and the order of adding does not.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from glip_jax.training import tables


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
    tree: of arrays on any devices; all processes must ask.
  """
  # One program for each shape: one of them all takes long to compile.
  made = {name: _sum(leaf) for name, leaf in tables.named_leaves(tree).items()}
  return {
      name: Sum(int(checksum), bool(finite))
      for name, (checksum, finite) in jax.device_get(made).items()
  }


@jax.jit
def _sum(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Checksum and finiteness of one array."""
  finite = jnp.all(jnp.isfinite(x))
  if x.dtype == bool:
    x = x.astype(jnp.uint8)
  size = x.dtype.itemsize
  word = {1: jnp.uint8, 2: jnp.uint16}.get(size, jnp.uint32)
  # Of 8 bytes two words stand along one more axis.
  words = jax.lax.bitcast_convert_type(x, word).astype(jnp.uint32)
  place, stride = jnp.zeros(words.shape, jnp.uint32), 1
  for axis in reversed(range(words.ndim)):
    steps = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    place += steps * jnp.uint32(stride % 2**32)
    stride *= words.shape[axis]
  return jnp.sum(words * (2 * place + 1), dtype=jnp.uint32), finite
