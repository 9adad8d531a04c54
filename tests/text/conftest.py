"""Tokenizers of the text tests."""

import pytest

from glip_jax.text import tokenizer as tokenizers_lib


@pytest.fixture(scope='module')
def bert(shared):
  return tokenizers_lib.load_tokenizer(
      str(shared / 'data' / 'vocab' / 'bert-base-uncased-vocab.txt')
  )


@pytest.fixture(scope='module')
def small():
  return tokenizers_lib.load_tokenizer('shapes')
