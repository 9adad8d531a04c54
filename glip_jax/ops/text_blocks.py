"""Blocks of a prompt: phrases that do not see each other.

A prompt of many phrases is read as if each stood alone (Grounding DINO,
arXiv 2303.05499, "sub-sentence level" text features): a block is what stands
between two delimiters, with the one that closes it, and its tokens count their
positions from its start.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def text_blocks(
    ids: Int[Array, 'b t'],
    mask: Bool[Array, 'b t'],
    delimiters: Sequence[int],
) -> Int[Array, 'b t']:
  """Numbers the blocks of prompts.

  The reference leaves a block that ends with the last token of the longest
  prompt of a batch without a view of itself, so that a prompt without a full
  stop at its end is read in another way with and without padding. Here such a
  block is one like the others, in every batch.

  Args:
    ids: token ids.
    mask: False at padding tokens, each of which is a block of its own.
    delimiters: ids of the tokens that close a block, [CLS] and [SEP] among
      them.

  Returns:
    Equal numbers for tokens of one block.
  """
  t = ids.shape[1]
  place = jnp.arange(t)
  closes = jnp.isin(ids, jnp.asarray(delimiters)) & mask
  following = jax.lax.cummin(jnp.where(closes, place, t), axis=1, reverse=True)
  return jnp.where(mask & (following < t), following, t + place)


def attend(blocks: Int[Array, 'b t']) -> Bool[Array, 'b t t']:
  """True where two tokens are of one block."""
  return blocks[:, :, None] == blocks[:, None, :]


def positions(blocks: Int[Array, 'b t']) -> Int[Array, 'b t']:
  """The place of each token in its block, from 0."""
  start = jnp.argmax(attend(blocks), axis=-1)
  return jnp.arange(blocks.shape[1]) - start
