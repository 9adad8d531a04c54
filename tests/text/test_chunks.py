"""Long lists of names as several prompts."""

import json

import pytest

from glip_jax import errors
from glip_jax.text import chunks, prompts


def test_chunks_are_those_of_the_original(golden, bert):
  path = golden / 'parts' / 'chunked_queries.json'
  for case in json.loads(path.read_text()):
    names = list(case['categories'].values())
    # The original writes one chunk as -1.
    found = chunks.split_names(names, max(case['chunk'], 0))
    assert [text.caption for _, text in found] == case['queries']
    for (first, text), expected in zip(found, case['maps'], strict=True):
      spans = prompts.encode(text, bert).spans
      mine = {
          str(first + c + 1): row.nonzero()[0].tolist()
          for c, row in enumerate(spans)
      }
      assert mine == expected


@pytest.mark.parametrize('size', [0, 1, 2, 3, 5, 7])
def test_every_name_is_in_one_chunk_at_its_place(size):
  names = ['ant', 'bee', 'cat', 'dog', 'emu']
  seen = []
  for first, text in chunks.split_names(names, size):
    assert first == len(seen)
    assert 1 <= len(text.phrases) <= (size or len(names))
    seen += text.phrases
  assert seen == names


def test_sizes_and_lists_that_make_no_prompt_are_refused():
  with pytest.raises(errors.UserError, match='size=-1'):
    chunks.split_names(['cat'], -1)
  with pytest.raises(errors.UserError, match='not a list of names'):
    chunks.split_names([], 4)
  with pytest.raises(errors.UserError, match='not a list of names'):
    chunks.split_names('cat', 4)
