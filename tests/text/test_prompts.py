"""Tests of prompts: cleaning, joining, spans, encoding and their errors."""

import json
import pickle
import re

import numpy as np
import pytest
import spelled

from glip_jax import errors
from glip_jax.text import prompts


def _golden(golden, name):
  return json.loads((golden / 'parts' / f'{name}.json').read_text())


def _indices(prompt):
  return [row.nonzero()[0].tolist() for row in prompt.spans]


# Agreement with the original.


def test_names_are_cleaned_as_the_original_cleans_them(golden):
  for name, expected in _golden(golden, 'clean_name'):
    assert prompts.clean_name(name) == expected


def test_character_spans_name_the_tokens_of_the_original(golden, bert):
  for case in _golden(golden, 'create_positive_map'):
    text = prompts.from_caption(case['caption'], case['tokens_positive'])
    expected = list(case['label_to_token_plus0'].values())
    assert _indices(prompts.encode(text, bert)) == expected


def test_names_are_joined_and_mapped_as_in_the_original(golden, bert):
  for case in _golden(golden, 'create_queries_and_maps'):
    settings = dict(zip(case['cfg'][::2], case['cfg'][1::2], strict=True))
    separator = settings.get('DATASETS.SEPARATION_TOKENS', '. ')
    names = [*case['label_list'], *(case['additional_labels'] or ())]
    text = prompts.from_names(names, separator)
    assert text.caption == case['query']
    count = len(case['label_list'])
    found = _indices(prompts.encode(text, bert))[:count]
    assert found == list(case['map'].values())


def test_encoded_ids_are_the_reference_ids_padded_with_zeros(golden, bert):
  for case in _golden(golden, 'tokenizer'):
    prompt = prompts.encode(prompts.from_caption(case['text'], []), bert)
    count = len(case['ids'])
    assert prompt.ids[:count].tolist() == case['ids']
    assert prompt.mask.tolist() == [True] * count + [False] * (256 - count)
    assert not prompt.ids[count:].any()


def test_names_of_any_length_are_cleaned_as_the_original_cleans_them():
  rng = np.random.default_rng(0)
  for _ in range(300):
    name = ''.join(rng.choice(list('ab()_ \n'), rng.integers(0, 9)))
    words = re.sub(r'\(.*\)', '', name)
    words = words.replace('_', ' ').replace('  ', ' ')
    assert prompts.clean_name(name) == words
  # Squared, this would be hours.
  assert prompts.clean_name('(' * 10**6) == '(' * 10**6


# Names.


def test_encoded_prompt_has_the_shapes_and_types_of_the_sheet(small):
  text = prompts.from_names(['red circle', 'star'])
  prompt = prompts.encode(text, small, num_tokens=12, num_phrases=5)
  assert (prompt.ids.dtype, prompt.ids.shape) == (np.int32, (12,))
  assert (prompt.mask.dtype, prompt.mask.shape) == (bool, (12,))
  assert (prompt.spans.dtype, prompt.spans.shape) == (bool, (5, 12))
  assert prompt.mask.sum() == 6
  assert not prompt.spans[2:].any()
  assert not prompt.spans[:, [0, 3, 5]].any()  # [CLS], '.', [SEP]
  assert prompts.encode(text, small, num_tokens=12).spans.shape == (2, 12)


def test_a_name_inside_another_keeps_its_own_tokens(small):
  text = prompts.from_names(['king', 'white king', 'kingfisher'])
  assert _indices(prompts.encode(text, small)) == [[1], [3, 4], [6]]


def test_names_equal_once_cleaned_stand_apart(small):
  text = prompts.from_names(['bow_(weapon)', 'bow_(ribbon)', 'BOW'])
  assert text.phrases == ('bow ', 'bow ', 'BOW')
  assert _indices(prompts.encode(text, small)) == [[1], [3], [5]]


@pytest.mark.parametrize('name', ['[SEP]', '[PAD]', '[MASK] pawn', '[CLS]'])
def test_special_tokens_in_a_name_are_plain_text(small, name):
  text = prompts.from_names([name, 'dog'])
  prompt = prompts.encode(text, small, num_tokens=32)
  tokens = small.convert_ids_to_tokens(prompt.ids[prompt.mask].tolist())
  assert tokens[0] == '[CLS]' and tokens[-1] == '[SEP]'
  assert not set(tokens[1:-1]) & set(small.all_special_tokens)
  letters = ''.join(spelled.named_tokens(text, small)[0]).replace('##', '')
  assert letters == name.lower().replace(' ', '')


@pytest.mark.parametrize('name', ['caf\u00e9 noir', 'cafe\u0301 noir'])
def test_composed_and_decomposed_accents_give_the_same_tokens(small, name):
  text = prompts.from_names(['dog', name, 'cat'])
  plain = prompts.from_names(['dog', 'cafe noir', 'cat'])
  assert spelled.named_tokens(text, small) == spelled.named_tokens(plain, small)


def test_emoji_shift_no_span(small):
  caption = '\U0001f451\U0001f451 a red star'
  text = prompts.from_caption(caption, [[(5, 13)], [(0, 1)]])
  assert spelled.named_tokens(text, small) == [['red', 'star'], ['[UNK]']]


def test_separators_inside_a_name_belong_to_the_name(small):
  text = prompts.from_names(['st. dog', 'cat'])
  assert spelled.named_tokens(text, small) == [['st', '.', 'dog'], ['cat']]


def test_numbers_and_symbols_are_names(small):
  text = prompts.from_names(['7', '3.5', '+', 'cup/mug', "king's"])
  assert spelled.named_tokens(text, small) == [
      ['7'],
      ['3', '.', '5'],
      ['+'],
      ['cup', '/', 'mug'],
      ['king', "'", 's'],
  ]  # pyformat: disable


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['dog', ''], r"names\[1\]='' holds no words"),
        (['   '], 'holds no words'),
        (['dog', 'cat', '...'], r"names\[2\]='...' holds no words"),
        (['(all)'], 'text in parentheses is dropped'),
        (['\u0301'], 'holds no words'),
        ([9], r"names\[0\]=9 is not text: write it as '9'"),
        ([None], r'names\[0\]=None is not text'),
        ('raccoon', 'not a list of names'),
        ([], 'not a list of names'),
    ],
)
def test_names_without_words_are_refused_by_number(names, message):
  with pytest.raises(errors.UserError, match=message):
    prompts.from_names(names)


def test_empty_separator_is_refused():
  with pytest.raises(errors.UserError, match="separator='' would melt"):
    prompts.from_names(['dog', 'cat'], separator='')


# Captions.


@pytest.mark.parametrize(
    'caption', ['', '   ', '...', ' .\n; ', '?!', '\u0301']
)
def test_caption_without_words_is_refused(caption):
  for spans in ([], [[(0, 1)]]):
    with pytest.raises(errors.UserError, match='holds no words: write'):
      prompts.from_caption(caption, spans)


def test_phrase_may_have_several_and_overlapping_spans(small):
  text = prompts.from_caption(
      'a red star and a star', [[(0, 10), (15, 21)], [(6, 10)], [(2, 10)]]
  )
  assert text.phrases == ('a red star a star', 'star', 'red star')
  prompt = prompts.encode(text, small)
  assert _indices(prompt) == [[1, 2, 3, 5, 6], [3], [2, 3]]


def test_span_edges_in_any_white_space_name_the_words_inside(small):
  text = prompts.from_caption('a     red     star', [[(1, 14)]])
  assert spelled.named_tokens(text, small) == [['red']]


def test_span_that_cuts_words_names_the_whole_words(small):
  text = prompts.from_caption('a white pawn', [[(4, 10)]])
  assert spelled.named_tokens(text, small) == [['white', 'pawn']]


def test_caption_may_have_no_phrases(small):
  text = prompts.from_caption('a red star', [])
  prompt = prompts.encode(text, small, num_phrases=2)
  assert prompt.spans.shape == (2, 256) and not prompt.spans.any()


@pytest.mark.parametrize(
    ('spans', 'message'),
    [
        ([[(0, 1)], [(2, 40)]], r'phrase 1 .*\[2, 40\) .* of 10 characters'),
        ([[(5, 2)]], r'phrase 0 has span \[5, 2\)'),
        ([[(-3, 4)]], r'phrase 0 has span \[-3, 4\)'),
        ([[(4, 4)]], r'phrase 0 has span \[4, 4\)'),
        ([[(0, 1)], []], 'phrase 1 has no spans in a caption of 10'),
        ([[(1, 2)]], 'white space only in a caption of 10'),
        ([[0, 4]], 'list of .* pairs of whole numbers'),
        ([[(0, 1, 2)]], 'list of .* pairs of whole numbers'),
        ([[(0.0, 4.0)]], 'list of .* pairs of whole numbers'),
        ([None], 'list of .* pairs of whole numbers'),
    ],
)
def test_invalid_span_is_refused_with_phrase_span_and_length(spans, message):
  with pytest.raises(errors.UserError, match=message):
    prompts.from_caption('a red star', spans)


def test_spans_from_arrays_become_plain_integers():
  text = prompts.from_caption('a red star', np.array([[[2, 5]]]))
  assert text == prompts.from_caption('a red star', [[(2, 5)]])
  assert hash(text) == hash(prompts.from_caption('a red star', [[[2, 5]]]))


def test_phrases_and_spans_must_agree_in_number():
  with pytest.raises(errors.UserError, match='1 phrases have 0 span lists'):
    prompts.TextPrompt('a dog', ('dog',), ())


def test_phrase_of_which_no_token_is_left_is_refused(small):
  text = prompts.from_caption('dog \u0301 cat', [[(0, 3)], [(4, 5)]])
  with pytest.raises(errors.UserError, match='phrase 1 .* has no token'):
    prompts.encode(text, small)


@pytest.mark.parametrize('text', ['dog\ud83d', '\udcff cat', '\udfff'])
def test_half_of_a_character_is_refused_wherever_it_enters(text):
  for make in (
      lambda: prompts.from_names(['cat', f'a {text}']),
      lambda: prompts.from_caption(f'a {text}', [[(0, 1)]]),
      lambda: prompts.ended(prompts.from_names(['cat']), text),
  ):
    with pytest.raises(errors.UserError, match='half of a character') as info:
      make()
    str(info.value).encode()


# Length.


def test_longest_prompt_that_fits_is_encoded(small):
  text = prompts.from_names(['red star', 'dog'])  # 6 tokens
  assert prompts.encode(text, small, num_tokens=6).mask.all()
  with pytest.raises(prompts.PromptTooLong) as info:
    prompts.encode(text, small, num_tokens=5)
  assert (info.value.phrase, info.value.needed, info.value.limit) == (1, 6, 5)


def test_too_long_prompt_names_the_first_phrase_that_does_not_fit(small):
  text = prompts.from_names(['red star', 'dog', 'white king', 'cat'])
  with pytest.raises(prompts.PromptTooLong) as info:
    prompts.encode(text, small, num_tokens=8)
  message = str(info.value)
  assert "phrase 2 'white king' does not fit" in message
  assert 'up to there the prompt needs 9 tokens' in message
  assert '\n' not in message
  for part in ('in all 11', 'num_tokens=8', 'split it into several prompts'):
    assert part in message


def test_what_a_phrase_needs_is_what_it_takes_to_fit(small):
  names = ['red star', 'dog', 'white king', 'cat']
  for limit in range(2, 11):
    with pytest.raises(prompts.PromptTooLong) as info:
      prompts.encode(prompts.from_names(names), small, num_tokens=limit)
    upto = prompts.from_names(names[: info.value.phrase + 1])
    needed = info.value.needed
    assert prompts.encode(upto, small, num_tokens=needed).mask.all()
    if info.value.phrase:
      fitting = prompts.from_names(names[: info.value.phrase])
      prompts.encode(fitting, small, num_tokens=limit)


def test_caption_too_long_behind_its_phrases_says_so(small):
  text = prompts.from_caption('a dog ' * 20, [[(2, 5)]])
  with pytest.raises(prompts.PromptTooLong, match='has 42 tokens') as info:
    prompts.encode(text, small, num_tokens=20)
  assert info.value.phrase is None and info.value.needed == 42


def test_too_long_error_survives_the_way_home_from_a_worker(small):
  with pytest.raises(prompts.PromptTooLong) as info:
    prompts.encode(prompts.from_names(['dog', 'cat']), small, num_tokens=4)
  copy = pickle.loads(pickle.dumps(info.value))
  assert str(copy) == str(info.value)
  assert vars(copy) == vars(info.value)
  assert isinstance(copy, errors.UserError)


def test_the_length_is_looked_at_before_any_table_is_made(small, monkeypatch):
  monkeypatch.setattr(prompts, '_token_spans', lambda *_: pytest.fail('table'))
  text = prompts.from_names(['red star'] * 3000)
  with pytest.raises(prompts.PromptTooLong) as info:
    prompts.encode(text, small, num_tokens=9)
  # [CLS], twice 'red star .', 'red star', [SEP].
  assert (info.value.phrase, info.value.needed) == (2, 10)
  assert 'in all 9001' in str(info.value)


def test_a_phrase_of_several_spans_is_as_long_as_its_last(small):
  text = prompts.from_caption('a dog and a cat', [[(0, 1)], [(12, 15), (2, 5)]])
  with pytest.raises(prompts.PromptTooLong) as info:
    prompts.encode(text, small, num_tokens=6)
  assert (info.value.phrase, info.value.needed) == (1, 7)


def test_more_phrases_than_room_is_refused(small):
  text = prompts.from_names(['dog', 'cat', 'king'])
  with pytest.raises(errors.UserError, match='3 phrases, num_phrases=2'):
    prompts.encode(text, small, num_phrases=2)


# Caching and batching.


def test_equal_prompts_are_encoded_once_and_cannot_be_changed(small):
  first = prompts.encode(prompts.from_names(['dog', 'cat']), small)
  again = prompts.encode(prompts.from_names(['dog', 'cat']), small)
  assert again is first
  for array in (first.ids, first.mask, first.spans):
    with pytest.raises(ValueError, match='read-only'):
      array[...] = 0


def test_stack_adds_a_batch_axis_to_writable_copies(small):
  texts = [prompts.from_names(names) for names in (['dog'], ['red star'])]
  encoded = [prompts.encode(text, small, num_tokens=8) for text in texts]
  batch = prompts.stack(encoded)
  assert batch.ids.shape == batch.mask.shape == (2, 8)
  assert batch.spans.shape == (2, 1, 8)
  np.testing.assert_array_equal(batch.ids[1], encoded[1].ids)
  batch.ids[:] = 0
  assert encoded[0].ids.any()


def test_stack_refuses_prompts_of_different_shapes(small):
  texts = [prompts.from_names(names) for names in (['dog'], ['dog', 'cat'])]
  with pytest.raises(errors.UserError, match='same num_phrases'):
    prompts.stack([prompts.encode(text, small) for text in texts])
  with pytest.raises(errors.UserError, match='at least one'):
    prompts.stack([])
