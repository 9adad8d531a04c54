"""Scenes of the embedded world and the source of its records."""

import collections
import pickle

import numpy as np
import pytest

from glip_jax.data.sources import protocol
from glip_jax.data.sources.protocol import is_detection
from glip_jax.errors import UserError
from glip_jax.shapes.compose import compose
from glip_jax.shapes.figures import CIRCUMRADIUS
from glip_jax.shapes.scenes import (
    FAILS_BEYOND,
    HELD_OUT_PAIRS,
    HOLDS_WITHIN,
    RELATIONS,
    SHAPES,
    SIZES,
)
from glip_jax.shapes.source import HELD_OUT, SEEN, SPLITS, open_world


@pytest.fixture(scope='module')
def scenes():
  """Enough scenes for statistics, none of them rendered."""
  return [compose('train', 0, index) for index in range(2000)]


def _places(scene):
  """Centers of target, other and anchor, and the direction asked for."""
  fact = scene.relation
  centers = [
      np.array(scene.items[i].center)
      for i in (fact.target, fact.other, fact.anchor)
  ]
  return *centers, np.array(RELATIONS[fact.name])


def _degrees(vector, direction):
  return np.degrees(np.arccos(vector @ direction / np.linalg.norm(vector)))


def test_same_arguments_give_the_same_record():
  settings = dict(seed=3, num_images=20, image_size=96)
  first = open_world('train', **settings)
  second = pickle.loads(pickle.dumps(open_world('train', **settings)))
  for index in (0, 7, 19):
    one, two = first[index], second[index]
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.boxes, two.boxes)
    np.testing.assert_array_equal(one.phrase, two.phrase)
    assert one.text == two.text


def test_images_do_not_depend_on_the_length_or_the_prompts():
  short = open_world('train', num_images=5)
  long = open_world('train', num_images=50, prompts={'caption': 1})
  np.testing.assert_array_equal(short[4].image, long[4].image)


def test_seeds_splits_and_indices_give_different_scenes():
  keys = [
      (split, seed, index)
      for split in SPLITS
      for seed in (0, 1)
      for index in (0, 1)
  ]
  boxes = {compose(*key).items[0].box for key in keys}
  assert len(boxes) == len(keys)


def test_boxes_scale_with_the_image():
  small = open_world('val', image_size=96).truth(5)
  large = open_world('val', image_size=960).truth(5)
  np.testing.assert_allclose(small.boxes * 10, large.boxes, rtol=1e-5)
  np.testing.assert_array_equal(small.phrase, large.phrase)


def test_names_are_forty_seen_and_a_latin_diagonal_of_ten_held_out():
  assert len(SEEN) == 20
  assert len(HELD_OUT) == 5
  assert not set(SEEN) & set(HELD_OUT)
  assert 'green triangle' in HELD_OUT
  for column in zip(*HELD_OUT_PAIRS, strict=True):
    assert len(set(column)) == 5


def test_seen_images_hold_no_held_out_composition(scenes):
  val = [compose('val', 0, index) for index in range(300)]
  names = {
      item.kind.composition for scene in scenes + val for item in scene.items
  }
  assert names == set(SEEN)


def test_held_out_images_hold_some_beside_seen_ones():
  names = []
  for index in range(300):
    own = {item.kind.composition for item in compose('heldout', 0, index).items}
    assert own & set(HELD_OUT)
    names.extend(own)
  assert set(names) == set(SEEN + HELD_OUT)


def test_scenes_have_three_to_eight_items_inside_the_image(scenes):
  counts = collections.Counter(len(scene.items) for scene in scenes)
  assert set(counts) == set(range(3, 9))
  assert min(counts.values()) > 150
  boxes = np.concatenate([scene.boxes(1) for scene in scenes])
  sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
  assert boxes.min() >= 0 and boxes.max() <= 1
  assert 0.12 < sides.min() < 0.15
  assert 0.4 < sides.max() < 0.49


def test_some_items_overlap_but_none_of_one_colour(scenes):
  overlaps = 0
  for scene in scenes[:300]:
    boxes = scene.boxes(1)
    for i in range(len(boxes)):
      for j in range(i):
        corner = np.minimum(boxes[i], boxes[j])[2:]
        if (corner > np.maximum(boxes[i], boxes[j])[:2]).all():
          colours = [scene.items[k].kind.colour for k in (i, j)]
          assert colours[0] != colours[1]
          overlaps += 1
  assert overlaps > 200


def test_relations_hold_for_the_target_and_fail_for_the_other(scenes):
  for scene in scenes:
    target, other, anchor, direction = _places(scene)
    right = target - anchor
    wrong = other - anchor
    assert right @ direction >= 0.12 - 1e-6
    assert _degrees(right, direction) <= HOLDS_WITHIN + 0.01
    assert _degrees(wrong, direction) >= FAILS_BEYOND - 0.01


def test_both_candidates_and_the_anchor_fit_their_words_and_no_other(scenes):
  for scene in scenes:
    fact = scene.relation
    for words, meant in (
        (fact.target_words, {fact.target, fact.other}),
        (fact.anchor_words, {fact.anchor}),
    ):
      said = set(words.split())
      fits = {
          i
          for i, item in enumerate(scene.items)
          if said <= set(item.kind.name.split())
      }
      assert fits == meant


def test_nothing_but_the_relation_tells_the_candidates_apart(scenes):
  relations = collections.Counter(scene.relation.name for scene in scenes)
  assert min(relations.values()) > 0.22 * len(scenes)

  def share(cue):
    values = [cue(scene) for scene in scenes]
    return np.mean([v for v in values if v is not None])

  def further(scene):
    target, other, _, direction = _places(scene)
    return (target - other) @ direction > 0

  def larger(scene):
    fact = scene.relation
    return scene.items[fact.target].size > scene.items[fact.other].size

  def on_top(scene):
    return scene.relation.target > scene.relation.other

  def striped(scene):
    fact = scene.relation
    pair = [scene.items[i].kind.striped for i in (fact.target, fact.other)]
    return None if pair[0] == pair[1] else pair[0]

  def central(scene):
    target, other, _, _ = _places(scene)
    return np.linalg.norm(target - 0.5) < np.linalg.norm(other - 0.5)

  def leftmost(scene):
    target, other, _, _ = _places(scene)
    return target[0] < other[0]

  def nearer(scene):
    target, other, anchor, _ = _places(scene)
    return np.linalg.norm(target - anchor) < np.linalg.norm(other - anchor)

  # Four deviations of a fair coin thrown 2000 times.
  for cue in (further, larger, on_top, striped, central, leftmost, nearer):
    assert abs(share(cue) - 0.5) < 0.045, cue.__name__


def test_ground_truth_is_what_the_records_show():
  for split, names in (('val', SEEN), ('heldout', HELD_OUT)):
    source = open_world(split, num_images=6)
    truth = source.ground_truth()
    assert source.names == names
    assert tuple(entry['name'] for entry in truth['categories']) == names
    assert [image['id'] for image in truth['images']] == [
        source.image_id(i) for i in range(6)
    ]
    for index in range(6):
      record = source[index]
      own = [
          entry
          for entry in truth['annotations']
          if entry['image_id'] == source.image_id(index)
      ]
      assert [entry['category_id'] for entry in own] == [
          source.category_id(label) for label in record.phrase
      ]
      xywh = np.array([entry['bbox'] for entry in own])
      xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
      np.testing.assert_allclose(xyxy, record.boxes, atol=0.01)
    assert len({entry['id'] for entry in truth['annotations']}) == len(
        truth['annotations']
    )


@pytest.mark.parametrize(
    'prompts, is_list',
    [
        ({'all': 1, 'caption': 0}, True),
        ({'list': 1}, True),
        ({'attributes': 1}, True),
        ({'caption': 1}, False),
        ({'relation': 1}, False),
        ({'statements': 1}, False),
    ],
)
def test_prompts_decide_what_a_world_is_and_what_its_texts_are(
    prompts, is_list
):
  source = open_world('val', prompts=prompts, num_images=10)
  assert is_detection(source) == ('all' in prompts)
  for index in range(10):
    record, truth = source[index], source.truth(index)
    assert record.is_list == truth.is_list == is_list
    assert source.text(index) == truth.text == record.text


def test_truth_is_composed_once():
  source = open_world('val', num_images=3)
  assert source.ground_truth() is source.ground_truth()
  copy = pickle.loads(pickle.dumps(source))
  assert copy.ground_truth() == source.ground_truth()
  assert len(pickle.dumps(source)) < 1500


def test_candidates_begin_with_the_target_of_the_prompt():
  source = open_world('val', prompts={'relation': 1}, num_images=20)
  for index in range(20):
    truth = source.truth(index)
    target, other = source.candidates(index)
    np.testing.assert_array_equal(truth.boxes[truth.phrase == 0], [target])
    assert not (truth.boxes == other).all(axis=1).any()


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(split='test'), "split='test'"),
        (dict(split='val', seed=-1), 'seed=-1'),
        (dict(split='val', num_images=0), 'num_images=0'),
        (dict(split='val', image_size=16), 'image_size=16'),
        (dict(split='val', prompts={'poem': 1}), "'poem'"),
        (dict(split='val', prompts={'list': -1}), "prompts['list']=-1"),
        (dict(split='val', prompts={'list': 0}), 'no weight above 0'),
        (dict(split='val', prompts={'list': 1}, fine=True), 'fine=True'),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
  with pytest.raises(UserError) as caught:
    open_world(**settings)
  assert message in str(caught.value)


@pytest.mark.parametrize('split, count', [('val', 200), ('heldout', 50)])
def test_fine_names_say_size_texture_colour_and_shape(split, count):
  source = open_world(split, num_images=40, fine=True)
  assert len(set(source.names)) == count
  met = set()
  for index in range(len(source)):
    scene, truth = source.scene(index), source.truth(index)
    # Of images of `heldout` those items that are held out.
    own = [item for item in scene.items if item.fine_name in source.names]
    boxes = scene.boxes(source.side)
    assert len(truth.phrase) == len(own) > 0
    for box, label in zip(truth.boxes, truth.phrase, strict=True):
      (row,) = np.flatnonzero((boxes == box).all(axis=1))
      item = scene.items[row]
      size, rest = source.names[label].split(' ', 1)
      assert rest == item.kind.name
      met.add((SIZES.index(size), item.size))
  # The sizes of one name are next to each other.
  names = [name for name, _ in sorted(met, key=lambda pair: pair[1])]
  assert names == sorted(names) and set(names) == set(range(5))


def test_indices_beyond_the_end_are_refused():
  source = open_world('val', num_images=2)
  for index in (-1, 2):
    with pytest.raises(IndexError):
      source[index]


def test_every_shape_has_a_radius():
  assert set(CIRCUMRADIUS) == set(SHAPES)


def test_a_record_is_planned_without_being_rendered(monkeypatch):
  source = open_world('val', num_images=3, image_size=64)
  shown = [source[index] for index in range(3)]
  monkeypatch.setattr('glip_jax.shapes.render.render', pytest.fail)
  assert protocol.image_size(source, 1) == (64, 64)
  for index, record in enumerate(shown):
    labels = protocol.labels(source, index)
    np.testing.assert_array_equal(labels, record.phrase)
