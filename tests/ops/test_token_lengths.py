"""Which tokens are left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.ops import token_lengths


@pytest.mark.parametrize('num_tokens', [128, 129, 200, 256])
def test_the_shortest_length_that_holds_every_token(num_tokens):
  choices = token_lengths.choices(num_tokens)
  assert choices == sorted(set(choices)) and choices[-1] == num_tokens
  chosen = jax.jit(token_lengths.chosen)
  for used in range(1, num_tokens + 1):
    mask = np.arange(num_tokens) < np.array([[1], [used]])
    mask[1, 0] = used == 1  # A hole is no end.
    want = next(i for i, length in enumerate(choices) if length >= used)
    assert chosen(mask) == want


def test_prompts_of_coco_and_lvis_leave_tokens_out():
  assert token_lengths.choices(256) == [64, 128, 196, 256]


def test_short_prompts_have_one_length():
  assert token_lengths.choices(127) == [127]


def test_a_prompt_of_padding_alone_keeps_all_tokens():
  mask = jnp.arange(256) < jnp.array([[3], [0]])
  assert token_lengths.chosen(mask) == 3
