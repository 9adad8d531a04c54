"""Which names a prompt lists: ours, and the original's from its own draws."""

import collections
import json
import random

import numpy as np
import official_drawing
import pytest

from glip_jax.data import drawing, records
from glip_jax.errors import UserError
from glip_jax.text import prompts, vocabulary
from glip_jax.text import tokenizer as tokenizers_lib

NAMES = ('red', 'green', 'blue', 'circle', 'large red circle', 'blue_star')


@pytest.fixture(scope='module')
def bert(shared):
  path = shared / 'data' / 'vocab' / 'bert-base-uncased-vocab.txt'
  return tokenizers_lib.load_tokenizer(str(path))


def _vocabulary(names=NAMES):
  return vocabulary.Vocabulary(names, tokenizers_lib.load_tokenizer('shapes'))


def _drawing(names=NAMES, num_tokens=64, num_phrases=9, **settings):
  own = _vocabulary(names)
  return drawing.Drawing(
      vocabulary=own,
      settings=drawing.Drawn(on=True, **settings),
      num_tokens=num_tokens,
      room=own.room(num_tokens),
      num_phrases=num_phrases,
  )


def _draws(made, present, absent=None, count=300):
  rng = np.random.default_rng(0)
  absent = None if absent is None else np.array(absent)
  return [
      made.draw(np.array(present, np.int32), absent, rng).tolist()
      for _ in range(count)
  ]


def _record(boxes, labels, text):
  boxes = np.array(boxes, np.float32)
  return records.Record(
      boxes=boxes,
      phrase=np.array(labels, np.int32),
      crowd=np.zeros(len(boxes), bool),
      text=text,
      is_list=True,
      image=np.zeros((32, 32, 3), np.uint8),
      index=0,
  )


def _token_counter(tokenizer):
  return lambda text: len(tokenizer.tokenize(text))


def _official(golden, name):
  return json.loads((golden / 'parts' / f'{name}.json').read_text())


@pytest.mark.parametrize('number', range(9))
def test_the_originals_draws_give_its_prompts(golden, bert, number):
  stored = _official(golden, 'od_to_grounding_optimized')
  names = {int(key): name for key, name in stored['ind_to_class'].items()}
  case = stored['cases'][number]
  random.seed(case['seed'])
  np.random.seed(case['seed'])
  drawn = official_drawing.draw(
      case['labels'], names, _token_counter(bert), case
  )
  _check_prompt(case, drawn, names, bert)


def _check_prompt(case, drawn, names, tokenizer):
  """Our list of the drawn labels is the original's caption, and its boxes."""
  own = vocabulary.Vocabulary(list(names.values()), tokenizer)
  place = {label: place for place, label in enumerate(names)}
  record = _record(
      case['boxes_xyxy'],
      [place[label] for label in case['labels']],
      prompts.from_names(list(names.values())),
  )
  labels = np.array([place[label] for label in drawn])
  made = drawing.listed(record, labels, own)
  before = 'object detection : ' if case.get('add_detection_prompt') else ''
  separator = case.get('separation_tokens', '. ')
  text = prompts.from_names([names[label] for label in drawn], separator)
  assert before + text.caption == case['caption']
  assert made.text.phrases == text.phrases
  np.testing.assert_array_equal(made.boxes, case['boxes_xyxy'])
  spans = [text.spans[phrase] for phrase in made.phrase]
  shifted = [
      [[start + len(before), end + len(before)] for start, end in span]
      for span in spans
  ]
  assert shifted == [each['tokens_positive'] for each in case['annotations']]


def test_the_originals_whole_lists_are_ours(golden, bert):
  names = ('Raccoon', 'dog', 'wine glass', 'T-shirt', 'bat_(animal)')
  names = dict(enumerate(names, 1))
  cases = _official(golden, 'od_to_grounding_simple')
  names[1] = 'raccoon'
  for case in cases:
    order = list(names)
    if not case['disable_shuffle']:
      random.seed(case['seed'])
      random.shuffle(order)
    _check_prompt(case, order, names, bert)


@pytest.mark.parametrize('number', range(3))
def test_names_that_do_not_fit_go_with_their_boxes(golden, bert, number):
  stored = _official(golden, 'od_to_grounding_optimized')['ind_to_class']
  names = {int(key): name for key, name in stored.items()}
  case = _official(golden, 'check_for_positive_overflow')[number]
  random.seed(case['seed'])
  kept, length = official_drawing.kept_labels(
      case['labels'], names, _token_counter(bert), case['max_seq_length']
  )
  assert length == case['length']
  own = vocabulary.Vocabulary(list(names.values()), bert)
  record = _record(
      case['boxes_xyxy'],
      case['labels'],
      prompts.from_names(list(names.values())),
  )
  made = drawing.listed(record, np.array(kept), own)
  np.testing.assert_array_equal(made.boxes, case['kept_boxes'])
  labels = [kept[phrase] for phrase in made.phrase]
  assert labels == case['kept_labels']


def test_labels_and_tokens_map_both_ways(golden):
  case = _official(golden, 'one_hot_dict')
  own = vocabulary.Vocabulary(
      NAMES * 2, tokenizers_lib.load_tokenizer('shapes')
  )
  record = _record([[0, 0, 1, 1]] * 3, [3, 4, 2], prompts.from_names(own.names))
  made = drawing.listed(record, np.array([3, 4, 2]), own)
  places = made.phrase.tolist()
  assert places == list(case['label_to_token'].values())


def test_what_is_in_the_image_is_always_listed():
  for labels in _draws(_drawing(most=4), [3, 0, 3, 5]):
    assert {0, 3, 5} <= set(labels)
    assert len(labels) == len(set(labels)) <= 4


def test_the_number_of_names_follows_the_settings():
  def counts(**settings):
    draws = _draws(_drawing(**settings), [0], count=2000)
    return collections.Counter(map(len, draws))

  assert counts(full=1.0) == {6: 2000}
  assert counts(full=0.0, none=1.0) == {1: 2000}
  half = counts(full=0.5)
  # Of the other half a fifth has as many names as there are.
  assert half[6] / 2000 == pytest.approx(0.6, abs=0.03)
  assert {2, 3, 4, 5} <= set(half) and 1 not in half


def test_every_order_and_every_absent_name_occurs():
  draws = _draws(_drawing(most=2), [3], count=600)
  assert {labels[0] for labels in draws} == set(range(6))
  others = collections.Counter(
      label for labels in draws for label in labels if label != 3
  )
  assert set(others) == {0, 1, 2, 4, 5} and min(others.values()) > 60


def test_an_image_of_nothing_has_names_too():
  draws = _draws(_drawing(full=0.0, none=1.0), [])
  assert {len(labels) for labels in draws} == {1}


def test_names_known_to_be_absent_come_first_or_alone():
  first = _draws(_drawing(most=3, full=1.0), [0], absent=[0, 4, 5])
  assert {tuple(sorted(labels)) for labels in first} == {(0, 4, 5)}
  rest = _draws(_drawing(most=4, full=1.0), [0], absent=[4, 5])
  assert {len(labels) for labels in rest} == {4}
  alone = _draws(_drawing(most=4, full=1.0, known=True), [0], absent=[4, 5])
  assert {tuple(sorted(labels)) for labels in alone} == {(0, 4, 5)}


@pytest.mark.parametrize('num_tokens', [7, 9, 12, 64])
def test_prompts_fill_their_tokens_and_never_more(num_tokens):
  made = _drawing(num_tokens=num_tokens, full=1.0)
  tokenizer = tokenizers_lib.load_tokenizer('shapes')
  lengths = set()
  for labels in _draws(made, [0, 1, 2, 3, 4, 5]):
    text = prompts.from_names([NAMES[label] for label in labels])
    prompt = prompts.encode(text, tokenizer, num_tokens=num_tokens)
    lengths.add(int(prompt.mask.sum()))
    names = drawing.DrawNames(made)
    assert names.num_tokens(np.array(labels)) == prompt.mask.sum()
  whole = sum(made.vocabulary.lengths) + 1
  assert max(lengths) in (min(num_tokens, whole), num_tokens - 1)


def test_which_of_too_many_names_are_listed_is_random():
  draws = _draws(_drawing(num_tokens=9), range(6))
  assert {label for labels in draws for label in labels} == set(range(6))


def test_labels_of_one_text_are_one_phrase():
  names = ('circle', 'circle (drawn)', 'red', 'Red')
  own = _vocabulary(names)
  assert own.same() == [('circle', 'circle (drawn)'), ('red', 'Red')]
  for labels in _draws(_drawing(names, full=1.0), [1]):
    assert sorted(labels) == [0, 2]
  record = _record([[0, 0, 1, 1]] * 2, [1, -1], prompts.from_names(names))
  made = drawing.listed(record, np.array([2, 0]), own)
  assert made.phrase.tolist() == [1, -1]
  assert made.text.phrases == ('red', 'circle')


def test_a_name_longer_than_a_prompt_is_refused():
  with pytest.raises(UserError, match="'large red circle'.*num_tokens by 1"):
    _drawing(num_tokens=4)


def test_shares_of_more_than_all_are_refused():
  with pytest.raises(UserError, match='full=0.8 and none=0.3 are more than 1'):
    drawing.Drawn(full=0.8, none=0.3).check('config.data.draw_names')


def test_chunks_are_the_list_in_turn_whatever_is_in_the_image():
  names = (*NAMES, 'blue star')  # The tokens of the one before.
  made = _drawing(names, num_tokens=7, chunks=True)
  drawn = _draws(made, present=[0])
  met = collections.Counter(map(tuple, drawn))
  chunks = sorted(met)
  assert sum(chunks, ()) == tuple(range(len(NAMES)))
  assert len(chunks) > 2 and min(met.values()) > 300 / len(chunks) / 2
  # None has room for the first name of the next.
  lengths = made.vocabulary.lengths
  for chunk, after in zip(chunks, chunks[1:], strict=False):
    used = lengths[list(chunk)].sum()
    assert used <= made.room < used + lengths[after[0]]


SYNONYMS = (
    ('red', 'star'),
    ('small', 'circle', 'square'),  # Of a circle another name speaks.
    ('blue square blue square blue square', '( )', 'square'),
    ('triangle', 'Triangle', '犬'),
    (),
    ('green star',),
)


def _worded(longest=4):
  tokenizer = tokenizers_lib.load_tokenizer('shapes')
  return _vocabulary().with_synonyms(SYNONYMS, tokenizer, longest=longest)


def test_a_class_is_called_by_its_name_or_a_synonym_of_its_own():
  rng = np.random.default_rng(0)
  own, found = _worded(), [set() for _ in NAMES]
  for _ in range(200):
    drawn = own.worded(rng)
    np.testing.assert_array_equal(
        drawn.lengths, _vocabulary(drawn.names).lengths
    )
    for label, name in enumerate(drawn.names):
      found[label].add(name)
  expected = [
      {'red', 'star'},
      {'green', 'small'},
      {'blue'},  # A long one, one of no words, and one that another has too.
      {'circle', 'triangle'},  # The tokenizer does not know another.
      {'large red circle'},
      {'blue_star', 'green star'},
  ]
  assert found == expected
  assert own.names == NAMES
  assert 'green star' not in _worded(2).worded(rng).names


def test_nothing_is_drawn_without_synonyms():
  rng, own = np.random.default_rng(0), _vocabulary()
  assert own.worded(rng) is own
  assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize('num_tokens', [7, 9, 12])
def test_prompts_of_synonyms_have_the_tokens_that_are_planned(num_tokens):
  own, tokenizer = _worded(), tokenizers_lib.load_tokenizer('shapes')
  made = drawing.Drawing(
      vocabulary=own,
      settings=drawing.Drawn(on=True, synonyms=True),
      num_tokens=num_tokens,
      room=own.room(num_tokens),
      num_phrases=9,
  )
  record = _record([[0, 0, 1, 1]] * 2, [1, 5], prompts.from_names(NAMES))
  for seed in range(50):
    lengths = []
    for _ in range(2):  # When it is planned, and when it is read.
      rng = np.random.default_rng(seed)
      names = drawing.DrawNames(made).worded(rng)
      labels = names.labels(0, record.phrase, rng)
      lengths.append(names.num_tokens(labels))
    listed = drawing.listed(record, labels, names.drawing.vocabulary)
    prompt = prompts.encode(listed.text, tokenizer, num_tokens=num_tokens)
    assert lengths == [prompt.mask.sum()] * 2
    assert len(set(listed.text.phrases)) == len(listed.text.phrases)
    said = [listed.text.phrases[phrase] for phrase in listed.phrase]
    assert set(said) <= {'green', 'small', 'blue star', 'green star'}
