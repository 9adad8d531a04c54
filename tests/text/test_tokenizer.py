"""Tests of the tokenizers: what they are loaded from, and parity with BERT."""

import json
import os
import pickle
import subprocess
import sys

import pytest

from glip_jax import errors
from glip_jax.text import tokenizer as tokenizers_lib

load = tokenizers_lib.load_tokenizer
_SPECIALS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']


@pytest.fixture(scope='module')
def bert(shared):
  return load(str(shared / 'data' / 'vocab' / 'bert-base-uncased-vocab.txt'))


def _write_vocab(path, pieces):
  path.write_text('\n'.join(pieces) + '\n', encoding='utf-8')
  return str(path)


def _tokens(tokenizer, text):
  return tokenizer.convert_ids_to_tokens(tokenizer(text)['input_ids'])


def test_official_vocabulary_gives_the_reference_tokens(bert, golden):
  cases = json.loads((golden / 'parts' / 'tokenizer.json').read_text())
  for case in cases:
    encoded = bert(case['text'])
    assert encoded['input_ids'] == case['ids']
    assert bert.convert_ids_to_tokens(case['ids']) == case['tokens']
    assert [
        encoded.char_to_token(char) for char in range(len(case['text']))
    ] == case['char_to_token']


def test_official_vocabulary_is_read_whole(bert):
  assert len(bert) == 30522
  assert [bert.pad_token_id, bert.cls_token_id] == [0, 101]
  assert [bert.sep_token_id, bert.mask_token_id] == [102, 103]


def test_shapes_tokenizer_lower_cases_strips_accents_and_adds_specials():
  tokens = _tokens(load('shapes'), 'A Red CIRCLE, na\u00efve')
  assert tokens[:5] == ['[CLS]', 'a', 'red', 'circle', ',']
  assert tokens[-1] == '[SEP]'
  assert ''.join(tokens[5:-1]).replace('##', '') == 'naive'


def test_tokenizer_is_loaded_once_per_name():
  assert load('shapes') is load('shapes')


def test_tokenizer_survives_the_way_to_a_worker():
  tokenizer = load('shapes')
  copy = pickle.loads(pickle.dumps(tokenizer))
  assert copy('a red circle') == tokenizer('a red circle')


def test_folder_with_a_vocabulary_is_a_tokenizer(tmp_path):
  _write_vocab(tmp_path / 'vocab.txt', [*_SPECIALS, 'dog'])
  tokens = _tokens(load(str(tmp_path)), 'Dog cat')
  assert tokens == ['[CLS]', 'dog', '[UNK]', '[SEP]']


def test_windows_line_ends_and_byte_order_mark_are_no_part_of_a_piece(tmp_path):
  path = tmp_path / 'vocab.txt'
  text = '\r\n'.join([*_SPECIALS, 'dog', ''])
  path.write_bytes(text.encode('utf-8-sig'))
  assert _tokens(load(str(path)), 'dog') == ['[CLS]', 'dog', '[SEP]']


def test_truncation_and_padding_baked_into_a_file_are_removed(tmp_path):
  source = load('shapes')
  backend = type(source.backend_tokenizer).from_str(
      source.backend_tokenizer.to_str()
  )
  backend.enable_truncation(8)
  backend.enable_padding(length=8)
  path = tmp_path / 'tokenizer.json'
  backend.save(str(path))
  for name in (str(path), str(tmp_path)):
    assert len(load(name)('dog')['input_ids']) == 3
    assert len(load(name)('dog ' * 20)['input_ids']) == 22


@pytest.mark.parametrize(
    ('pieces', 'message'),
    [
        (['dog', 'cat'], r"no line '\[PAD\]'"),
        ([*_SPECIALS, 'dog', 'dog'], '1 repeated lines'),
        ([], r"no line '\[PAD\]'"),
    ],
)
def test_file_that_is_no_vocabulary_is_refused(tmp_path, pieces, message):
  path = _write_vocab(tmp_path / 'vocab.txt', pieces)
  with pytest.raises(errors.UserError, match=message):
    load(path)


def test_file_that_is_not_text_is_refused(tmp_path):
  path = tmp_path / 'vocab.txt'
  path.write_bytes(b'\xff\xfe\x00dog')
  with pytest.raises(errors.UserError, match='not UTF-8'):
    load(str(path))


def test_broken_tokenizer_json_is_refused(tmp_path):
  path = tmp_path / 'tokenizer.json'
  path.write_text('{"version": ')
  with pytest.raises(errors.UserError, match='is not a tokenizer.json'):
    load(str(path))


def test_tokenizer_json_without_bert_specials_is_refused(tmp_path):
  from tokenizers import Tokenizer, models

  path = tmp_path / 'tokenizer.json'
  Tokenizer(models.WordPiece({'[UNK]': 0}, unk_token='[UNK]')).save(str(path))
  with pytest.raises(errors.UserError, match=r'no \[PAD\] token'):
    load(str(path))


def test_folder_without_tokenizer_names_the_files_it_lacks(tmp_path):
  with pytest.raises(errors.UserError, match='neither tokenizer.json nor'):
    load(str(tmp_path))


@pytest.mark.parametrize('name', ['no/such/vocab.txt', '/no/such', './nothing'])
def test_missing_path_is_not_looked_up_on_the_hub(name):
  with pytest.raises(errors.UserError, match='does not exist'):
    load(name)


def test_hub_name_offline_says_which_file_to_pass(monkeypatch, tmp_path):
  import huggingface_hub

  monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
  monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
  with pytest.raises(
      errors.UserError, match=r'pass the path of its vocab\.txt'
  ):
    load('glip-jax-tests/no-such-tokenizer')


def test_what_needs_no_network_is_told(tmp_path, monkeypatch):
  import huggingface_hub

  monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
  (tmp_path / 'here').mkdir()
  monkeypatch.chdir(tmp_path)
  local = ['shapes', 'here', '/gone', './x', '~/x', 'gone.txt', 'gone.json']
  assert all(map(tokenizers_lib.is_here, local))
  far = ['bert-base-uncased', 'a/b', 'a b', 'a/b/c', 'n' * 5000, 'a\0']
  assert not any(map(tokenizers_lib.is_here, far))


@pytest.mark.parametrize('name', ['n' * 5000, '/' + 'n' * 5000, 'a\0', '/a\0'])
def test_a_name_that_cannot_be_is_refused(name):
  with pytest.raises(errors.UserError, match='tokenizer='):
    load(name)


def test_malformed_hub_name_is_a_user_error():
  with pytest.raises(errors.UserError, match='neither a file nor'):
    load('not a name/at all')


def test_cached_hub_tokenizer_is_used_without_the_network(
    monkeypatch, tmp_path
):
  import huggingface_hub

  folder = tmp_path / 'models--owner--name'
  (folder / 'refs').mkdir(parents=True)
  (folder / 'refs' / 'main').write_text('0' * 40)
  (folder / 'snapshots' / ('0' * 40)).mkdir(parents=True)
  load('shapes').backend_tokenizer.save(
      str(folder / 'snapshots' / ('0' * 40) / 'tokenizer.json')
  )
  monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
  monkeypatch.setattr(
      huggingface_hub, 'hf_hub_download', lambda *_: pytest.fail('network')
  )
  assert len(load('owner/name')) == len(load('shapes'))


def test_importing_text_does_not_import_transformers():
  code = (
      'import sys, glip_jax.text.prompts, glip_jax.text.tokenizer;'
      "print('transformers' in sys.modules or 'tokenizers' in sys.modules)"
  )
  result = subprocess.run(
      [sys.executable, '-c', code],
      env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
      capture_output=True,
      text=True,
      check=True,
  )
  assert result.stdout.strip() == 'False'
