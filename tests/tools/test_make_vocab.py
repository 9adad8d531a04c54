"""Tests of the vocabulary that comes with the package."""

import string

import pytest

from glip_jax.text import tokenizer as tokenizers_lib
from glip_jax.tools import make_vocab


@pytest.fixture(scope='module')
def vocab():
  return make_vocab.make_vocab()


@pytest.fixture(scope='module')
def tokenizer():
  return tokenizers_lib.load_tokenizer('shapes')


def test_shipped_file_is_what_the_tool_writes(vocab, tokenizer):
  shipped = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
  assert tuple(piece for piece, _ in shipped) == vocab


def test_vocabulary_is_small_and_opens_with_the_specials(vocab):
  assert 2000 <= len(vocab) <= 3500
  assert vocab[:5] == ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')


def test_pieces_are_lower_case_ascii_without_spaces_or_repeats(vocab):
  for piece in vocab[5:]:
    assert piece.isascii() and piece == piece.lower() and ' ' not in piece
    assert piece and piece.strip() == piece
  assert len(set(vocab)) == len(vocab)


def test_every_character_is_a_piece_alone_and_as_a_continuation(vocab):
  for char in string.ascii_lowercase + string.digits + string.punctuation:
    assert char in vocab
    assert f'##{char}' in vocab


def test_every_listed_word_is_a_single_piece(tokenizer):
  words = make_vocab.all_words()
  assert len(words) > 1500
  assert [word for word in words if tokenizer.tokenize(word) != [word]] == []


@pytest.mark.parametrize(
    'text',
    [
        'a red circle to the left of the blue squares',
        'two striped triangles between small green stars and a cross',
        'white knight black rook king queen bishop pawn',
        'raccoon dog person blood cell platelets',
        'grey colour gray color',
    ],
)
def test_usual_captions_need_one_piece_for_a_word(tokenizer, text):
  tokens = tokenizer.tokenize(text)
  # Of these, only counted nouns have plurals of their own.
  assert [token for token in tokens if token not in ('##s',)] == [
      'platelet' if word == 'platelets' else word for word in text.split()
  ]


def test_no_ascii_text_is_unknown(tokenizer):
  text = 'Quixotic jabberwocky #42: (x+y)/2 <= z_9 & "foo@bar.com" ~|^`\\ {$%}'
  assert '[UNK]' not in tokenizer.tokenize(text + string.printable)


def test_unlisted_words_are_spelled_in_few_pieces(tokenizer):
  words = ['skateboarders', 'fisherman', 'blueberries', 'cupholder', 'reddish']
  for word in words:
    assert len(tokenizer.tokenize(word)) <= 3, tokenizer.tokenize(word)


def test_merging_takes_the_most_frequent_pair_then_the_alphabet():
  words = ['abc', 'abd', 'xbc']
  # (a, ##b) and (##b, ##c) both occur twice, and '#' sorts before letters;
  # then every pair that is left occurs once.
  assert make_vocab.learn_pieces(words, num_merges=2) == ['##bc', '##bd']
  assert make_vocab.learn_pieces(['a'], num_merges=5) == []


@pytest.mark.parametrize(
    ('noun', 'plural'),
    [
        ('circle', 'circles'),
        ('box', 'boxes'),
        ('bus', 'buses'),
        ('cross', 'crosses'),
        ('body', 'bodies'),
        ('toy', 'toys'),
        ('couch', 'couches'),
    ],
)
def test_plurals_are_spelled_as_in_english(noun, plural):
  assert make_vocab.pluralise(noun) == plural


def test_words_that_are_plurals_already_have_no_other():
  assert make_vocab.pluralise('pants') == 'pants'
  assert make_vocab.pluralise('binoculars') == 'binoculars'
