"""The words of the embedded world against what is in its images."""

import re

import numpy as np
import pytest

from glip_jax.shapes.scenes import RELATIONS, fails, holds, offsets
from glip_jax.shapes.source import HELD_OUT, SEEN, open_world
from glip_jax.text.tokenizer import load_tokenizer

_NUMBERS = {'a': 1, 'two': 2, 'three': 3, 'four': 4, 'five': 5, 'six': 6}


def _truths(split, num_images=200, **settings):
  source = open_world(split, num_images=num_images, **settings)
  return [(source.scene(i), source.truth(i)) for i in range(num_images)]


def _kinds(scene, truth, phrase):
  """Kinds of the items whose boxes belong to a phrase."""
  boxes = scene.boxes(128).tolist()
  chosen = truth.boxes[truth.phrase == phrase].tolist()
  return [scene.items[boxes.index(box)].kind for box in chosen]


@pytest.mark.parametrize(
    'kind', ['list', 'attributes', 'caption', 'relation', 'statements']
)
def test_spans_point_at_the_words_of_their_phrase(kind):
  for _, truth in _truths('train', 50, prompts={kind: 1}):
    caption = truth.text.caption
    assert len(truth.boxes) == len(truth.phrase) > 0
    for phrase, spans in zip(truth.text.phrases, truth.text.spans, strict=True):
      ((start, end),) = spans
      assert caption[start:end] == phrase
      assert not re.match(r'\w', caption[end : end + 1])
      assert not start or not re.match(r'\w', caption[start - 1])


@pytest.mark.parametrize('kind', ['partial', 'caption', 'relation', 'list'])
def test_what_a_prompt_leaves_out_is_a_box_without_a_phrase(kind):
  settings = dict(prompts={kind: 1})
  told = _truths('train', 60, unnamed=True, **settings)
  left_out = 0
  for (scene, truth), (_, plain) in zip(
      told, _truths('train', 60, **settings), strict=True
  ):
    named = truth.phrase >= 0
    assert truth.text == plain.text
    np.testing.assert_array_equal(truth.boxes[named], plain.boxes)
    np.testing.assert_array_equal(truth.phrase[named], plain.phrase)
    # Every item has its box, once.
    boxes = scene.boxes(128).tolist()
    assert sorted(truth.boxes.tolist()) == sorted(boxes)
    left_out += (~named).sum()
    if kind == 'partial':
      kinds = {k.composition for k in _kinds(scene, truth, -1)}
      assert len(kinds) == 1 and not kinds & set(truth.text.phrases)
      assert len(truth.text.phrases) <= 20
  assert left_out or kind == 'list'


@pytest.mark.parametrize('split, names', [('val', SEEN), ('heldout', HELD_OUT)])
def test_evaluation_lists_are_the_whole_vocabulary_in_order(split, names):
  for scene, truth in _truths(split, 40, prompts={'all': 1}):
    assert truth.text.phrases == names
    own = [item.kind.composition for item in scene.items]
    own = [name for name in own if name in names]
    assert sorted(names[label] for label in truth.phrase) == sorted(own)


def test_training_lists_hold_all_that_is_there_and_vary_in_length():
  lengths, positions, striped = [], [], 0
  for scene, truth in _truths('train', prompts={'list': 1}):
    phrases = truth.text.phrases
    bare = [name.removeprefix('striped ') for name in phrases]
    assert len(set(bare)) == len(bare) <= 20
    assert set(bare) <= set(SEEN)
    striped += sum(map(str.__ne__, bare, phrases))
    named = 0
    for label, name in enumerate(phrases):
      kinds = _kinds(scene, truth, label)
      assert all(name in (kind.name, kind.composition) for kind in kinds)
      of_name = [item.kind for item in scene.items]
      of_name = [k for k in of_name if name in (k.name, k.composition)]
      assert len(kinds) == len(of_name)
      named += len(kinds)
    assert named == len(truth.boxes)
    lengths.append(len(phrases))
    positions.append(np.mean(truth.phrase) / max(len(phrases) - 1, 1))
  assert max(lengths) == 20 and min(lengths) < 9
  assert 0.2 < np.mean(np.array(lengths) == 20) < 0.5
  assert 0.04 < striped / sum(lengths) < 0.2
  assert abs(np.mean(positions) - 0.5) < 0.05


def test_a_short_list_still_names_all_that_is_there():
  for scene, truth in _truths('train', 50, prompts={'list': 1}, max_names=2):
    present = {item.kind.composition for item in scene.items}
    phrases = truth.text.phrases
    assert {name.removeprefix('striped ') for name in phrases} >= present
    assert len(truth.text.phrases) <= max(2, len(present))


def test_attribute_lists_give_each_item_its_one_true_name():
  families = set()
  for scene, truth in _truths('train', prompts={'attributes': 1}):
    assert len(truth.boxes) == len(scene.items)
    for label, name in enumerate(truth.text.phrases):
      for kind in _kinds(scene, truth, label):
        words = set(f'plain {kind.name}'.split() + ['object'])
        words -= {'plain'} if kind.striped else set()
        assert set(name.split()) <= words
    families.add(len(truth.text.phrases[0].split()))
  assert families == {1, 2, 3}


def test_captions_name_what_their_boxes_show_and_all_of_it():
  texts = []
  for scene, truth in _truths('train', prompts={'caption': 1}):
    for label, phrase in enumerate(truth.text.phrases):
      kinds = _kinds(scene, truth, label)
      words = phrase.replace('the ', '').split()
      count = _NUMBERS.get(words[0], 1)
      assert len(kinds) == count, phrase
      noun = words[-1]
      singular = noun if count == 1 else re.sub('(?<=cross)es$|s$', '', noun)
      said = {w for w in words[:-1] if w not in _NUMBERS} - {'small', 'large'}
      for kind in kinds:
        assert kind.shape == singular
        assert said - {'plain'} <= set(kind.name.split())
        assert not ('plain' in said and kind.striped)
      alike = [
          item.kind
          for item in scene.items
          if item.kind.shape == singular
          and said - {'plain'} <= set(item.kind.name.split())
          and not ('plain' in said and item.kind.striped)
      ]
      assert len(alike) == count, (truth.text.caption, phrase)
    texts.append(truth.text.caption)
  assert len(set(texts)) > 190
  joined = ' '.join(texts)
  for word in ('above', 'below', 'left of', 'right of', 'small', 'large'):
    assert word in joined


def test_positions_in_captions_are_true():
  found = 0
  pattern = re.compile(
      r'^(the |a )\S+( \S+){0,4} (above|below) (the |a )[^,]*$'
  )
  for _, truth in _truths('train', 1000, prompts={'caption': 1}):
    if not pattern.match(truth.text.caption) or len(truth.text.phrases) != 2:
      continue
    height = [
        truth.boxes[truth.phrase == label][:, 1::2].mean() for label in (0, 1)
    ]
    assert (height[0] < height[1]) == ('above' in truth.text.caption)
    found += 1
  assert found > 5


def test_relations_name_target_and_anchor_with_one_box_each():
  links = set()
  for scene, truth in _truths('val', 100, prompts={'relation': 1}):
    fact = scene.relation
    assert truth.text.phrases == (
        f'the {fact.target_words}',
        f'the {fact.anchor_words}',
    )
    np.testing.assert_array_equal(truth.phrase, [0, 1])
    np.testing.assert_array_equal(
        truth.boxes, scene.boxes(128)[[fact.target, fact.anchor]]
    )
    ((_, start),), ((end, _),) = truth.text.spans
    link = truth.text.caption[start:end].strip()
    assert fact.name in link
    links.add(link)
  assert len(links) > 8


def test_each_statement_is_true_of_its_target_and_of_no_other_candidate():
  lengths, further, near = [], [], 0
  for scene, truth in _truths('train', 300, prompts={'statements': 1}):
    caption, spans = truth.text.caption, [s for (s,) in truth.text.spans]
    boxes = scene.boxes(128).tolist()
    items = [boxes.index(box) for box in truth.boxes.tolist()]
    assert len(set(items)) == len(items) == len(spans)
    centers = np.array([item.center for item in scene.items])
    lengths.append(len(items) // 2)
    for target, anchor, said, seen in zip(
        items[::2], items[1::2], spans[::2], spans[1::2], strict=True
    ):
      words = [caption[slice(*span)].split()[1:] for span in (said, seen)]
      fit = [
          [i for i, o in enumerate(scene.items) if set(w) <= set(_words(o))]
          for w in words
      ]
      assert fit[1] == [anchor]
      assert target in fit[0] and len(fit[0]) > 1
      delta = centers[fit[0]] - centers[anchor]
      own = np.array(fit[0]) == target
      link = caption[said[1] : seen[0]].split()
      if set(link) & {'near', 'close', 'next'}:
        distance = np.hypot(*delta.T)
        assert distance[own] < 0.6 * distance[~own].min()
        near += 1
        continue
      (name,) = (n for n in RELATIONS if n.split()[0] in link)
      along, across = offsets(delta, name)
      assert holds(along, across)[own].all()
      assert fails(along, across)[~own].all()
      further.append((along[~own] > along[own]).any())
  assert {1, 2, 3} <= set(lengths) <= {1, 2, 3, 4}
  assert np.mean(further) > 0.15
  assert near > 100


def _words(item):
  kind = item.kind
  return ('striped' * kind.striped, kind.colour, kind.shape)


def test_training_never_speaks_of_held_out_compositions():
  for _, truth in _truths('train'):
    for phrase in truth.text.phrases:
      assert not any(name in phrase for name in HELD_OUT)


def test_every_kind_of_prompt_comes_as_often_as_its_weight_says():
  prompts = {'list': 3, 'relation': 1, 'caption': 0}
  texts = [
      truth.text.caption for _, truth in _truths('train', 400, prompts=prompts)
  ]
  assert abs(np.mean([text.startswith('the ') for text in texts]) - 0.25) < 0.08


def test_the_vocabulary_of_the_package_has_every_word_as_one_piece():
  tokenizer = load_tokenizer('shapes')
  words = set()
  for _, truth in _truths(
      'heldout',
      300,
      prompts={'list': 1, 'attributes': 1, 'caption': 2, 'relation': 1},
  ):
    words |= set(re.findall(r'\w+', truth.text.caption))
  assert len(words) > 30
  for word in words:
    assert tokenizer.tokenize(word) == [word]
