"""Encoded prompts are found by content, and never stop an evaluation."""

import os

import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax import text_store, types

TEXT = types.Text(
    tokens=jnp.arange(6, dtype=jnp.bfloat16).reshape(1, 3, 2),
    mask=jnp.array([[True, True, False]]),
    pooled=jnp.ones((1, 2)),
)


def test_what_was_kept_is_found_by_its_model_and_prompt_alone(tmp_path):
  text_store.TextStore(tmp_path / 'new', 'model').keep(b'a dog', TEXT)
  found = text_store.TextStore(tmp_path / 'new', 'model').find(b'a dog')
  assert found.tokens.dtype == jnp.bfloat16
  assert found.blocks is None
  for name in ('tokens', 'mask', 'pooled'):
    np.testing.assert_array_equal(getattr(found, name), getattr(TEXT, name))
  assert text_store.TextStore(tmp_path / 'new', 'other').find(b'a dog') is None
  assert text_store.TextStore(tmp_path / 'new', 'model').find(b'a cat') is None


def test_a_folder_that_may_only_be_read_is_read(tmp_path, monkeypatch):
  store = text_store.TextStore(tmp_path, 'model')
  store.keep(b'a dog', TEXT)

  def refuse(*_):
    raise PermissionError('read only')

  monkeypatch.setattr(os, 'utime', refuse)
  assert store.find(b'a dog') is not None


@pytest.mark.parametrize('content', [b'', b'{}', b'\xff'], ids=len)
def test_a_damaged_file_is_told_and_written_anew(tmp_path, content, caplog):
  store = text_store.TextStore(tmp_path, 'model')
  store.keep(b'a dog', TEXT)
  (path,) = tmp_path.iterdir()
  path.write_bytes(content)
  assert store.find(b'a dog') is None
  assert 'encoded prompts are not kept' in caplog.text
  store.keep(b'a dog', TEXT)
  assert store.find(b'a dog') is not None


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, caplog):
  (tmp_path / 'file').write_text('')
  store = text_store.TextStore(tmp_path / 'file', 'model')
  for prompt in (b'a dog', b'a cat'):
    store.keep(prompt, TEXT)
    assert store.find(prompt) is None
  assert caplog.text.count('encoded prompts are not kept') == 1


def test_what_was_not_used_for_longest_makes_room(tmp_path):
  store = text_store.TextStore(tmp_path, 'model')
  store.keep(b'0', TEXT)
  (path,) = tmp_path.iterdir()
  bounded = text_store.TextStore(tmp_path, 'model', 2 * path.stat().st_size)
  os.utime(path, (1, 1))
  bounded.keep(b'1', TEXT)
  assert bounded.find(b'0') is not None  # Used: younger than the other now.
  for kept in tmp_path.iterdir():
    os.utime(kept, (9, 9) if kept == path else (8, 8))
  bounded.keep(b'2', TEXT)
  assert bounded.find(b'1') is None
  assert bounded.find(b'0') is not None
  assert bounded.find(b'2') is not None
  (tmp_path / 'theirs.txt').write_text('x' * 9999)  # No file of ours.
  bounded.keep(b'3', TEXT)
  assert (tmp_path / 'theirs.txt').exists()
