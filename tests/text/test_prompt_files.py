"""Prompts of real and of faulty annotation files."""

import json

import pytest
import spelled

from glip_jax import errors
from glip_jax.text import prompts


def _names(shared, case):
  path = shared / 'data' / 'edge_cases' / 'coco' / f'{case}.json'
  return [item['name'] for item in json.loads(path.read_text())['categories']]


@pytest.mark.parametrize(
    'case',
    [
        'names_case',
        'names_nfd',
        'names_non_ascii',
        'names_prefixes',
        'names_punctuation',
        'names_special_tokens',
        'duplicate_category_names',
    ],
)  # pyformat: disable
def test_unusual_category_names_all_get_disjoint_tokens(
    shared, small, bert, case
):
  text = prompts.from_names(_names(shared, case))
  for tokenizer in (small, bert):
    prompt = prompts.encode(text, tokenizer)
    assert prompt.spans.any(axis=1).all()
    assert prompt.spans.sum(axis=0).max() == 1


@pytest.mark.parametrize(
    ('case', 'error'),
    [
        ('names_blank', errors.UserError),
        ('name_number', errors.UserError),
        ('names_1200', prompts.PromptTooLong),
        ('names_long', prompts.PromptTooLong),
    ],
)
def test_unusable_category_names_are_refused(shared, small, case, error):
  with pytest.raises(error):
    prompts.encode(prompts.from_names(_names(shared, case)), small)


def _grounding(shared, case):
  path = shared / 'data' / 'edge_cases' / 'grounding' / f'{case}.json'
  data = json.loads(path.read_text(encoding='utf-8'))
  spans = [box['tokens_positive'] for box in data['annotations']]
  return data['images'][0]['caption'], spans


@pytest.mark.parametrize(
    ('case', 'expected'),
    [
        ('ok', [['a', 'white', 'pawn'], ['a', 'black', 'king']]),
        ('multi_span', [['a', 'white', 'pawn', 'a', 'black', 'king']]),
        ('no_boxes', []),
        ('repeated_phrase', [['a', 'pawn'], ['a', 'pawn'], ['a', 'pawn']]),
        ('span_mid_word', [['white', 'pawn']]),
        ('caption_newlines', [['a', 'white', 'pawn'], ['a', 'black', 'king']]),
    ],
)
def test_unusual_grounding_captions_name_the_right_tokens(
    shared, small, case, expected
):
  text = prompts.from_caption(*_grounding(shared, case))
  assert spelled.named_tokens(text, small) == expected


def test_spans_count_characters_and_not_bytes(shared, bert):
  caption, spans = _grounding(shared, 'caption_non_ascii')
  tokens = spelled.named_tokens(prompts.from_caption(caption, spans), bert)
  letters = [''.join(words).replace('##', '') for words in tokens]
  assert letters == ['wei\u00dferbauer', 'schwarzenkonig']
  caption, spans = _grounding(shared, 'caption_cjk')
  prompt = prompts.encode(prompts.from_caption(caption, spans), bert)
  assert prompt.spans.any(axis=1).all()
  assert not (prompt.spans[0] & prompt.spans[1]).any()


@pytest.mark.parametrize(
    'case',
    [
        'caption_blank',
        'caption_empty',
        'span_empty_list',
        'span_negative',
        'span_of_space',
        'span_past_end',
        'span_reversed',
        'span_zero_length',
    ],
)  # pyformat: disable
def test_faulty_grounding_captions_are_refused(shared, case):
  with pytest.raises(errors.UserError):
    prompts.from_caption(*_grounding(shared, case))


def test_too_long_grounding_caption_is_refused(shared, small):
  text = prompts.from_caption(*_grounding(shared, 'caption_too_long'))
  with pytest.raises(prompts.PromptTooLong):
    prompts.encode(text, small)
