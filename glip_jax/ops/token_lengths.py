"""Leaves padding words out of what is computed.

Prompts have a fixed number of words of which many are padding at the end. A
program holds a branch for each of four lengths and takes the shortest that
holds every word of the batch.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

# Fewer words than this are not worth branches.
_MANY = 128
# Lengths in 64ths of all words. Of 256 words, 128 hold 40 names of LVIS (124
# words at most), and 196 the 80 names of COCO (195).
_LENGTHS = (16, 32, 49, 64)


def choices(num_words: int) -> list[int]:
  """The lengths that there are branches for, up to all words."""
  if num_words < _MANY:
    return [num_words]
  return [-(-num_words * length // 64) for length in _LENGTHS]


def chosen(mask: Bool[Array, 'b t']) -> Int[Array, '']:
  """Which length holds every word in use of a batch.

  Args:
    mask: False at padding words, which may also stand between others; of a
      prompt of padding alone all words count as in use.

  Returns:
    The place in `choices(t)`.
  """
  num_words = mask.shape[1]
  last = jnp.max(jnp.where(mask, jnp.arange(1, num_words + 1), 0), axis=1)
  used = jnp.max(jnp.where(last > 0, last, num_words))
  return jnp.searchsorted(jnp.array(choices(num_words)), used)
