"""What a model can read: names in unknown words, and names it cannot tell."""

import pytest

from glip_jax import errors
from glip_jax.text import legible, parsing, prompts


def _known(names, tokenizer):
  text = prompts.from_names(names)
  return legible.check_known(text, prompts.encode(text, tokenizer), tokenizer)


@pytest.mark.parametrize(
    'name',
    [
        '\u56fe\u7247',
        '\U0001f600',
        '\u0645\u0644\u0643 \u0623',
        '\u738b 5\u20ac',
    ],
)
def test_a_name_of_which_no_word_is_known_is_refused_by_name(small, name):
  unknown = name.replace('5', '')
  with pytest.raises(errors.UserError, match='knows no word of') as info:
    _known(['red circle', unknown, 'dog'], small)
  assert repr(unknown) in str(info.value) and 'dog' not in str(info.value)
  assert 'or give a tokenizer' in str(info.value)
  assert _known(['red circle', f'{unknown} dog', '5'], small) == [
      f'{unknown} dog'
  ]


def test_names_that_another_tokenizer_knows_are_names(small, bert):
  names = ['\u738b', 'd\u00f6ner', '5 \u20ac', 'sn\u00f6']
  assert _known(names, bert) == []
  with pytest.raises(errors.UserError, match="word of '\u738b', which"):
    _known(names, small)


def test_nothing_is_unknown_of_what_stands_outside_the_phrases(small):
  text = prompts.from_caption('\U0001f600 a dog', [[(4, 7)]])
  assert not legible.check_known(text, prompts.encode(text, small), small)


def _groups(names, tokenizer):
  prompt = prompts.encode(
      prompts.from_names(names), tokenizer, num_phrases=len(names) + 2
  )
  return legible.same_tokens(prompt, names)


@pytest.mark.parametrize(
    'names',
    [
        ('bat_(animal)', 'bat_(sports_equipment)'),
        ('fish', 'fish_(food)'),
        ('p\u00e2t\u00e9', 'pate'),
        ('Polish', 'polish'),
        ('red_circle', 'red  circle'),
        ('caf\u00e9', 'cafe\u0301'),
    ],
)
def test_names_of_the_same_tokens_are_found(small, bert, names):
  for tokenizer in (small, bert):
    assert _groups(('dog', *names, 'cat'), tokenizer) == [names]


def test_unknown_symbols_are_the_same_where_no_tokenizer_tells_them(
    small, bert
):
  names = ('5 \u20ac', '7 \u20ac', '5 \u00a3', '5')
  assert _groups(names, small) == [('5 \u20ac', '5 \u00a3')]
  assert _groups(names, bert) == []


@pytest.mark.parametrize(
    'names',
    [
        ('king', 'white king', 'king white', 'kings'),
        ('tshirt', 't-shirt', 't shirt'),
        ('3.5', '35'),
    ],
)
def test_names_of_other_tokens_are_told_apart(bert, names):
  assert not _groups(names, bert)


def test_a_list_with_a_name_twice_is_refused_with_all_of_them(small):
  text = parsing.read_prompt('King; dog; king; bow_(weapon); KING; bow')
  with pytest.raises(errors.UserError) as info:
    legible.check_distinct(text, prompts.encode(text, small))
  assert str(info.value).startswith(
      "'King', 'king' and 'KING'; 'bow' and 'bow' are the same tokens"
  )
  assert 'leave one out' in str(info.value)


def test_the_phrases_of_a_sentence_may_repeat(small):
  text = prompts.from_caption(
      'a star left of a star', [[(0, 6)], [(15, 21)], [(2, 6)]]
  )
  legible.check_distinct(text, prompts.encode(text, small))


def test_a_message_quotes_the_first_of_many_names():
  assert legible.quote(['a']) == "'a'"
  assert legible.quote(['a', 'b ']) == "'a' and 'b'"
  assert legible.quote(list('abcdefg')).endswith("'d', 'e' and 2 more")
  assert len(legible.quote(['a' * 999])) == 62
