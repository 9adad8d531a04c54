"""Words around the names of classes: read, joined, and picked apart."""

import json

import numpy as np
import pytest

from glip_jax.errors import UserError
from glip_jax.text import class_prompts, lists, mirroring, prompts, vocabulary
from glip_jax.text import tokenizer as tokenizers_lib

FILE = {
    'package': [
        {'prefix': 'there is a', 'suffix': ' on the porch'},
        {'name': 'card_board box', 'scored': 'all', 'suffix': 'of brown'},
    ],
    'stingray': {'description': ' flat and round '},
    'eel': 'long fish',
}
NAMES = 'stingray', 'cat_(pet)', 'package', 'eel'


def _prompt(names=NAMES, file=FILE):
  return class_prompts.prompt(names, class_prompts.parse(file))


def _named(text):
  """What is scored of each phrase."""
  return [
      [text.caption[start:end] for start, end in spans] for spans in text.spans
  ]


def test_each_name_stands_among_its_words():
  text = _prompt()
  assert text.caption == (
      'stingray: flat and round. cat . there is a package on the porch. card'
      ' board box of brown. long fish'
  )
  assert text.phrases == ('stingray', 'cat ', 'package', 'eel')
  assert _named(text) == [
      ['stingray'],
      ['cat '],
      ['package', 'card board box of brown'],
      ['long fish'],
  ]


def test_without_words_of_their_own_names_are_the_usual_list():
  text = class_prompts.prompt(NAMES, {})
  usual = prompts.from_names(NAMES)
  assert (text.caption, text.phrases) == (usual.caption, usual.phrases)
  assert text.spans == usual.spans


def test_words_go_where_their_name_goes():
  text = _prompt()
  picked = lists.picked(text, [2, 0])
  assert picked.caption == (
      'there is a package on the porch. card board box of brown. stingray:'
      ' flat and round'
  )
  assert _named(picked) == [_named(text)[2], _named(text)[0]]
  assert lists.picked(picked, [1, 0]) == lists.picked(text, [0, 2])
  plain = prompts.from_names(NAMES)
  assert lists.picked(plain, [3, 1]) == prompts.from_names(['eel', 'cat '])


def test_a_mirrored_list_keeps_its_pieces():
  text = _prompt(
      ['dog', 'arm'], {'arm': {'prefix': 'the left', 'suffix': 'up'}}
  )
  mirrored = lists.picked(mirroring.exchanged(text), [1, 0])
  assert mirrored.caption == 'the right arm up. dog'
  assert _named(mirrored) == [['arm'], ['dog']]


def test_a_vocabulary_counts_all_words_and_tells_classes_apart_by_them():
  tokenizer = tokenizers_lib.load_tokenizer('shapes')
  names = 'red circle', 'star', 'star_(large)', 'circle_(red)', 'red_circle'
  file = {'star_(large)': {'prefix': 'large'}, 'circle_(red)': 'red circle'}
  text = _prompt(names, file)
  own = vocabulary.Vocabulary(names, tokenizer, text)
  plain = vocabulary.Vocabulary(names, tokenizer)
  assert own.same() == [('red circle', 'circle_(red)', 'red_circle')]
  assert plain.same() == [
      ('red circle', 'red_circle'),
      ('star', 'star_(large)'),
  ]
  encoded = prompts.encode(text, tokenizer, num_tokens=32)
  assert own.lengths.sum() == encoded.mask.sum() - 1
  order = np.array([2, 0])
  assert own.prompt_of(order).caption == 'large star . red circle'
  assert plain.prompt_of(order).caption == 'star . red circle'


@pytest.mark.parametrize(
    'content, said',
    [
        ([], 'a list with nothing in it: give prompts by class'),
        ({}, 'an object with nothing in it'),
        ({'cat': []}, "'cat' has an empty list"),
        ({'cat': 3}, "'cat' has 3 for a prompt"),
        ({'cat': ['a', None]}, "'cat' has None for a prompt"),
        ({'cat': {'sufix': 'x'}}, "'sufix', which .* did you mean suffix"),
        ({'cat': {'prefix': 1}}, "'cat': prefix is 1: give text"),
        ({'cat': {'prefix': '\ud800'}}, 'prefix is half of a character'),
        ({'cat': {'name': ''}}, "name='' holds no words"),
        ({'cat': '(pet)'}, 'holds no words'),
        ({'cat': {'scored': 'none'}}, "scored='none' is neither"),
        ({'--': 'x'}, "'--' holds no words: name a class"),
    ],
)
def test_what_is_no_prompt_is_refused_by_name(content, said):
  with pytest.raises(UserError, match=said):
    class_prompts.parse(content, 'p.json')


def test_a_file_is_read_or_refused(tmp_path):
  path = tmp_path / 'own.json'
  path.write_text(json.dumps(FILE))
  assert class_prompts.read(path) == class_prompts.parse(FILE)
  for text in ('{', '{"a": "b", "a": "c"}', '\xff'):
    path.write_bytes(text.encode('latin-1'))
    with pytest.raises(UserError, match='class_prompts=.*own.json.* cannot be'):
      class_prompts.read(path)
  with pytest.raises(UserError, match="prompts='.*none.json' is not a file"):
    class_prompts.read(tmp_path / 'none.json', 'prompts')
