"""Blocks of prompts against the reference's masks, positions and label maps."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.ops import text_blocks

DELIMITERS = (101, 102, 1012, 1029)
PATH = pathlib.Path(__file__).parents[1] / 'golden/query/parts/text_masks.json'
# The last case is a prompt too long to be read, which is refused here.
CASES = [case for case in json.loads(PATH.read_text()) if 'attend' in case]
SEP = 102


def _rows():
  """(name, ids, mask, attended columns, positions) of every row."""
  for case in CASES:
    for i, text in enumerate(case['texts']):
      row = [case[k][i] for k in ('input_ids', 'attention_mask', 'attend')]
      yield pytest.param(
          *row, case['position_ids'][i], id=f'{len(case["texts"])}-{text[:40]}'
      )


@pytest.mark.parametrize('ids,mask,want,positions', _rows())
def test_blocks_are_those_of_the_reference(ids, mask, want, positions):
  ids, mask = jnp.array([ids]), jnp.array([mask], bool)
  blocks = text_blocks.text_blocks(ids, mask, DELIMITERS)
  sees = np.asarray(text_blocks.attend(blocks)[0])
  found = np.asarray(text_blocks.positions(blocks)[0])
  own = int(mask.sum())
  count = own
  if own == ids.shape[1]:
    # The block that the last token of the longest prompt closes is left to
    # itself there; here it is a block like the others.
    before = np.isin(ids[0, : own - 1], DELIMITERS).nonzero()[0]
    count = int(before[-1]) + 1
    last = np.arange(count, own)
    assert sees[count:, count:].all() and not sees[count:, :count].any()
    assert found[last].tolist() == list(range(len(last)))
  for row in range(count):
    assert sees[row].nonzero()[0].tolist() == want[row]
  assert found[:count].tolist() == positions[:count]
  for row in range(own, ids.shape[1]):
    assert sees[row].nonzero()[0].tolist() == [row]


def test_padding_changes_no_block():
  ids = jnp.array([[101, 7, 8, 1012, 9, 102]])
  mask = jnp.ones((1, 6), bool)
  alone = text_blocks.text_blocks(ids, mask, DELIMITERS)
  longer = text_blocks.text_blocks(
      jnp.pad(ids, ((0, 0), (0, 5))),
      jnp.pad(mask, ((0, 0), (0, 5))),
      DELIMITERS,
  )
  np.testing.assert_array_equal(longer[:, :6], alone)
  assert len(set(longer[0, 6:].tolist())) == 5
