"""Leaves padding tokens out of what is computed.

Prompts have a fixed number of tokens of which many are padding at the end. A
program holds a branch for each of four lengths and takes the shortest that
holds every token of the batch. This is a form for CPU alone (`forms`): branches
that the data decide make a GPU wait for the host.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax.ops import forms

# Fewer tokens than this are not worth branches.
_MANY = 128
# Lengths in 64ths of all tokens. Of 256 tokens, 128 hold 40 names of LVIS (124
# tokens at most), and 196 the 80 names of COCO (195).
_LENGTHS = (16, 32, 49, 64)


def without_padding(
    function: Callable[[Array, Array], tuple[Any, Array]],
    text: Float[Array, 'b t e'],
    mask: Bool[Array, 'b t'],
) -> tuple[Any, Float[Array, 'b t _']]:
  """Applies a function to no more tokens than a batch has in use.

  Args:
    function: (text, mask) -> (anything without an axis of tokens, tokens), for
      any number of tokens; padding tokens may change no other.
    text: features of tokens.
    mask: False at padding tokens.

  Returns:
    The function's results; tokens that are left out come out as zeros.
  """
  num_tokens = text.shape[1]
  sizes = choices(num_tokens)
  if len(sizes) == 1:
    return function(text, mask)

  def branch(size: int):
    def run(text, mask):
      other, tokens = function(text[:, :size], mask[:, :size])
      return other, jnp.pad(tokens, ((0, 0), (0, num_tokens - size), (0, 0)))

    return run

  def shortest(text, mask):
    branches = [branch(size) for size in sizes]
    return jax.lax.switch(chosen(mask), branches, text, mask)

  return forms.select('token_lengths', shortest, function, text, mask)


def choices(num_tokens: int) -> list[int]:
  """The lengths that there are branches for, up to all tokens."""
  if num_tokens < _MANY:
    return [num_tokens]
  return [-(-num_tokens * length // 64) for length in _LENGTHS]


def chosen(mask: Bool[Array, 'b t']) -> Int[Array, '']:
  """Which length holds every token in use of a batch.

  Args:
    mask: False at padding tokens, which may also stand between others; of a
      prompt of padding alone all tokens count as in use.

  Returns:
    The place in `choices(t)`.
  """
  num_tokens = mask.shape[1]
  last = jnp.max(jnp.where(mask, jnp.arange(1, num_tokens + 1), 0), axis=1)
  used = jnp.max(jnp.where(last > 0, last, num_tokens))
  return jnp.searchsorted(jnp.array(choices(num_tokens)), used)
