"""Which classes and images are used, and what classes are called."""

import numpy as np
import pytest

from glip_jax.data.sources import table
from glip_jax.data.sources.mdetr import MdetrSource
from glip_jax.data.sources.selection import Selection
from glip_jax.errors import UserError


def test_a_class_is_renamed_and_keeps_its_id(opened):
  source = opened(class_map=(('truck', 'big lorry'),))
  assert source.names == ('hot_dog', 'T-Shirt', 'big lorry')
  assert source[0].text.caption == 'hot dog. T-Shirt. big lorry'
  assert source.category_id(2) == 90
  assert source.ground_truth()['categories'][2]['name'] == 'big lorry'


def test_classes_of_one_name_are_merged_under_the_first_id(opened):
  source = opened(class_map=(('truck', 'thing'), ('HOT_DOG', 'thing')))
  assert source.names == ('thing', 'T-Shirt')
  assert [source.category_id(label) for label in range(2)] == [0, 7]
  assert source[0].phrase.tolist() == [0, 1]
  assert source[1].phrase.tolist() == [0]
  ids = [a['category_id'] for a in source.ground_truth()['annotations']]
  assert ids == [0, 7, 0]


def test_a_class_takes_the_name_of_another_that_stays(opened):
  source = opened(class_map=(('truck', 'T-Shirt'),))
  assert source.names == ('hot_dog', 'T-Shirt')
  assert source[1].phrase.tolist() == [1]


def test_a_class_without_a_name_is_dropped(opened):
  source = opened(class_map=(('truck', ' '),), bad_records='raise')
  assert source.names == ('hot_dog', 'T-Shirt')
  assert len(source) == 2 and not len(source[1].boxes)
  assert source.report.kept['boxes'] == (2, 2)


def test_names_and_exclude_speak_of_the_classes_of_the_file(opened):
  source = opened(
      names=('truck', 'hot_dog', 'T-Shirt'),
      exclude=('T-Shirt',),
      class_map=(('T-Shirt', 'top'), ('truck', 'lorry')),
  )
  assert source.names == ('lorry', 'hot_dog')


@pytest.mark.parametrize(
    'class_map, message',
    [
        ([('trunk', 'x')], "'trunk' is not a class of .*'truck'"),
        ([('truck', 'x'), ('TRUCK', 'y')], "class_map holds 'truck' twice"),
        ([('truck', '(big)')], r"calls 'truck' '\(big\)', which holds no word"),
        (
            [('truck', ''), ('hot_dog', ''), ('T-Shirt', '')],
            'leaves no class of .*drop fewer',
        ),
    ],
)
def test_a_class_map_that_cannot_be_is_refused(opened, class_map, message):
  with pytest.raises(UserError, match=message) as caught:
    opened(class_map=tuple(class_map))
  assert '\n' not in str(caught.value)


def test_parts_have_no_file_in_common_and_together_all():
  files = [f'{n}.jpg' for n in range(103)]
  bounds = (0.0, 0.3, 0.35, 0.9, 1.0)
  parts = [
      Selection(part=part).files(files, 'a.json')
      for part in zip(bounds[:-1], bounds[1:], strict=True)
  ]
  assert sorted(file for part in parts for file in part) == sorted(files)
  assert [len(part) for part in parts] == [31, 5, 57, 10]
  assert parts[0] != Selection(part=(0, 0.3), part_seed=1).files(files, '')


def test_a_part_depends_on_the_files_alone_and_stays_when_some_are_added():
  files = [f'{n}.jpg' for n in range(100)]
  part = Selection(part=(0, 0.5))
  kept = part.files(files, '')
  assert part.files(reversed(files), '') == kept
  moved = kept ^ part.files([*files, 'new.jpg', 'other.jpg'], '')
  assert len(moved - {'new.jpg', 'other.jpg'}) <= 2


def test_names_of_one_file_are_in_one_part():
  files = ['a/b.jpg', './a/b.jpg', 'a\\b.jpg', 'c.jpg']
  first = Selection(part=(0, 0.5)).files(files, '')
  second = Selection(part=(0.5, 1)).files(files, '')
  assert {len(first), len(second)} == {1, 3} and not first & second


@pytest.mark.parametrize('part', [(0.5, 0.5), (0.9, 0.1), (-0.1, 1), (0, 1.5)])
def test_a_part_that_ends_before_it_begins_is_refused(part):
  with pytest.raises(UserError, match=r'part=.* 0 <= start < end <= 1'):
    Selection(part=part)


def test_a_part_without_an_image_is_refused(opened):
  with pytest.raises(UserError, match='leaves none of the 2 images .*widen'):
    opened(part=(0.0, 0.1))


def test_boxes_of_the_other_part_are_no_loss(content, opened):
  content['annotations'].append(
      {'image_id': 'gone', 'category_id': 7, 'bbox': [0, 0, 4, 4]}
  )
  halves = [opened(content, part=part) for part in ((0, 0.5), (0.5, 1))]
  assert [len(half) for half in halves] == [1, 1]
  ids = {half.image_id(0) for half in halves}
  assert ids == {'x', 2**60 + 1}
  boxes = {half.image_id(0): len(half[0].boxes) for half in halves}
  assert boxes == {'x': 2, 2**60 + 1: 1}
  for half in halves:
    count = len(half[0].boxes)
    assert half.report.kept == {'images': (1, 1), 'boxes': (count, count + 1)}
    assert half.report.counts['box of an unknown image'] == 1
    assert half.names == halves[0].names


def test_captions_of_one_image_are_in_one_part(folder, content, opened):
  content['images'] = [
      {'id': f'{file} {n}', 'file_name': file, 'caption': f'a dog {n}'}
      for n in range(3)
      for file in ('a.png', 'sub/b.png')
  ]
  content['annotations'] = []
  halves = [
      opened(content, MdetrSource, part=part) for part in ((0, 0.5), (0.5, 1))
  ]
  files = [{half.image_id(n)[:5] for n in range(len(half))} for half in halves]
  assert [len(half) for half in halves] == [3, 3]
  assert sorted(map(len, files)) == [1, 1] and not files[0] & files[1]


def test_a_spec_splits_one_file_of_a_real_set_and_merges_its_classes(shared):
  folder = shared / 'data' / 'chess416'
  spec = {
      'annotations': str(folder / 'train.json'),
      'images': str(folder / 'images'),
      'class_map': [('black pawn', 'pawn'), ('white pawn', 'pawn')],
  }
  sources = [
      table.open_source(spec | {'part': part})
      for part in ((0.0, 0.9), (0.9, 1.0))
  ]
  whole = table.open_source(spec)
  assert [len(source) for source in sources] == [182, 20]
  assert len(whole.names) == 12 and 'pawn' in whole.names
  counts = [source.num_boxes().sum() for source in (*sources, whole)]
  assert counts[0] + counts[1] == counts[2] == 2107
  np.testing.assert_array_equal(sources[0].names, whole.names)
