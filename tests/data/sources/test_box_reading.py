"""What is left of the boxes of a file, for both kinds of annotation file."""

import logging

import numpy as np
import pytest

from glip_jax.data.sources.box_reading import polygon_box
from glip_jax.data.sources.coco import CocoSource
from glip_jax.data.sources.mdetr import MdetrSource
from glip_jax.errors import UserError

BOTH = pytest.mark.parametrize('kind', [CocoSource, MdetrSource])
BOX = [2, 3, 10, 12]


def _content(*changes):
  """Two images with captions, and a box of 10 x 12 in the first per change."""
  boxes = [
      {
          'image_id': 1,
          'category_id': 1,
          'bbox': list(BOX),
          'tokens_positive': [[2, 5]],
      }
      | change
      for change in changes
  ]
  return {
      'images': _captioned(),
      'annotations': boxes,
      'categories': [{'id': 1, 'name': 'dog'}, {'id': 2, 'name': 'cat'}],
  }


def _captioned():
  size = {'width': 40, 'height': 30}
  return [
      {'id': 1, 'file_name': 'a.png', 'caption': 'a dog'} | size,
      {'id': 2, 'file_name': 'sub/b.png', 'caption': 'a dog'},
  ]


def _boxes(source):
  """Boxes as the file has them, by image."""
  return [
      source[i].boxes.tolist() if len(source[i].boxes) else []
      for i in range(len(source))
  ]


@BOTH
@pytest.mark.parametrize('known, named', [(1, '1'), ('1', 1), (7, ' 07 ')])
def test_image_ids_of_another_type_are_joined_and_told(
    opened, kind, known, named
):
  content = _content({'image_id': named}, {'image_id': named})
  content['images'][0]['id'] = known
  source = opened(content, kind, bad_records='raise')
  assert _boxes(source) == [[[2, 3, 12, 15]] * 2, []]
  assert source.image_id(0) == known
  (told,) = source.report.counts.items()
  assert told == ('image_id of another type than the id it names, joined', 2)


@pytest.mark.parametrize('known, named', [(1, '1'), ('1', 1), (1, '1.0')])
def test_category_ids_of_another_type_are_joined(opened, known, named):
  content = _content({'category_id': named})
  content['categories'][0]['id'] = known
  source = opened(content, bad_records='raise')
  (annotation,) = source.ground_truth()['annotations']
  assert annotation['category_id'] == known
  assert source[0].text.phrases[source[0].phrase[0]] == 'dog'


def test_an_id_that_could_be_either_of_two_is_left_out(opened):
  content = _content({'category_id': '01'}, {'category_id': '1'}, {})
  content['categories'][1] = {'id': '1', 'name': 'cat'}
  source = opened(content)
  names = [source.names[n] for n in source[0].phrase]
  assert names == ['cat', 'dog']
  assert source.report.counts == {'box of an unknown class': 1}


@BOTH
def test_polygons_give_the_boxes_that_are_missing_or_empty(opened, kind):
  polygons = [[4, 5, 20, 5, 20, 9], [6, 2, 30, 28, 6, 28]]
  content = _content(
      {'bbox': None, 'segmentation': polygons},
      {'bbox': [0, 0, 0, 0], 'segmentation': polygons[:1]},
      {'segmentation': polygons},
  )
  source = opened(content, kind, bad_records='raise')
  want = [[4, 2, 30, 28], [4, 5, 20, 9], [2, 3, 12, 15]]
  assert _boxes(source)[0] == want
  assert source.report.counts == {'box made of its polygons': 2}


@pytest.mark.parametrize(
    'value, box',
    [
        ([[0, 1, 4, 1, 4, 9]], (0, 1, 4, 8)),
        ([0, 1, 4, 1, 4, 9], (0, 1, 4, 8)),
        ([[[0, 1], [4, 1], [4, 9]]], (0, 1, 4, 8)),
        ([['0', 1, 4, 1, 4, 9], [9, 9, 10, 9, 9, 10]], (0, 1, 10, 9)),
        ([[0, 1, 4, 1]], None),
        ([[0, 1, 4, 1, 4]], None),
        ([[0, 1, 4, 1, 4, 1]], None),
        ([[0, 1, 4, float('nan'), 4, 9]], None),
        ([[[[0, 1]]]], None),
        ([[None] * 6], None),
        ({'size': [3, 4], 'counts': [0, 12]}, None),
        ([], None),
        (None, None),
    ],
)  # pyformat: disable
def test_a_polygon_is_bounded_or_refused(value, box):
  assert polygon_box(value) == box


@BOTH
def test_boxes_in_0_to_1_are_refused_with_the_remedy(opened, kind):
  unit = {'bbox': [0.25, 0.5, 0.3, 0.51]}
  with pytest.raises(UserError, match=r'all 2 boxes .* in 0\.\.1.*multiply x'):
    opened(_content(unit, unit), kind)
  source = opened(_content(unit, {}), kind)
  assert source.report.kept['boxes'] == (2, 2)
  told = source.report.names['box within the first pixel, as if in 0..1']
  assert told == ['annotations[0] [0.25, 0.5, 0.3, 0.51]']


@BOTH
@pytest.mark.parametrize(
    'change, reason',
    [
        ({'iscrowd': 1}, '2 x crowd or to be ignored'),
        ({'ignore': 1}, '2 x crowd or to be ignored'),
        ({'image_id': 'a.png'}, '2 x box of an unknown image .*a.png'),
        ({'bbox': [1, 2, 3]}, '2 x malformed box'),
        ({'bbox': [1, 2, 0, 3]}, '2 x box of no area'),
        ({'bbox': [50, 2, 9, 9]}, '2 x box outside its image'),
    ],
)
@pytest.mark.parametrize('size', [True, False], ids=['stated', 'unstated'])
def test_a_file_without_an_object_left_is_refused_with_the_reason(
    opened, kind, change, reason, size
):
  content = _content(change, change)
  if not size:
    del content['images'][0]['width']
    reason = reason.replace('2 x box outside', 'none has an area in')
  with pytest.raises(UserError, match='of 2 boxes none is left.*' + reason):
    opened(content, kind)


def test_boxes_of_unknown_classes_alone_are_refused(opened):
  with pytest.raises(UserError, match='of 2 boxes none .*2 x box of an unkn'):
    opened(_content({'category_id': 'dog'}, {'category_id': 3}))


def test_boxes_linked_to_nothing_alone_are_refused(opened):
  content = _content({'tokens_positive': []}, {'tokens_positive': [[9, 2]]})
  with pytest.raises(UserError, match='of 2 boxes none .*malformed span'):
    opened(content, MdetrSource)


@BOTH
def test_boxes_outside_a_size_that_is_wrongly_stated_are_kept(opened, kind):
  content = _content({'bbox': [20, 2, 9, 9]})
  content['images'][0] |= {'width': 20, 'height': 15}
  assert _boxes(opened(content, kind))[0] == [[20, 2, 29, 11]]


def test_boxes_of_classes_that_were_not_chosen_are_no_loss(opened):
  source = opened(_content({}, {'category_id': 2}), names=('cat',))
  assert source.report.kept['boxes'] == (1, 1)
  assert not source.report.counts
  none = opened(_content({}, {}), names=('cat',))
  assert not len(none[0].boxes) and none.report.kept['boxes'] == (0, 0)
  assert none.report.counts == {'no box to use, every image is a negative': 1}


@BOTH
def test_what_is_left_is_told_once_a_source(opened, kind, caplog):
  caplog.set_level(logging.INFO, 'absl')
  opened(_content({}, {'bbox': None}, {'image_id': 5}), kind)
  (record,) = caplog.records
  assert record.levelname == 'WARNING'
  assert '2 of 2 images, 1 of 3 boxes are used; 1 x malformed' in record.message
  caplog.clear()
  opened(_content({}, {}), kind)
  (record,) = caplog.records
  assert record.levelname == 'INFO'
  assert record.message.endswith('2 of 2 images, 2 of 2 boxes are used')


def test_entries_of_one_file_are_one_image_with_the_boxes_of_all(opened):
  content = _content({}, {'image_id': 3, 'bbox': [5, 5, 6, 6]}, {'image_id': 2})
  content['images'].append({'id': 3, 'file_name': './a.png'})
  source = opened(content, bad_records='raise')
  assert len(source) == 2 and source.image_id(0) == 1
  assert _boxes(source)[0] == [[2, 3, 12, 15], [5, 5, 11, 11]]
  truth = source.ground_truth()
  assert [a['image_id'] for a in truth['annotations']] == [1, 1, 2]
  assert source.report.kept == {'images': (2, 3), 'boxes': (3, 3)}
  assert sum(source.report.counts.values()) == 1


def test_a_file_listed_twice_with_the_same_boxes_has_them_once(opened):
  content = _content({}, {}, {'image_id': 3}, {'image_id': 3, 'category_id': 2})
  content['images'].append({'id': 3, 'file_name': 'a.png'})
  source = opened(content)
  # Twice in one entry is the file's own will.
  assert _boxes(source)[0] == [[2, 3, 12, 15]] * 3
  np.testing.assert_array_equal(source[0].phrase, [0, 0, 1])
  assert source.report.kept['boxes'] == (3, 4)


@BOTH
def test_an_entry_that_stands_twice_is_no_fault(opened, kind):
  content = _content({}, {})
  content['images'].append(dict(content['images'][0]))
  source = opened(content, kind, bad_records='raise')
  assert len(source) == 2
  assert source.report.counts == {'image that is listed twice': 1}


def test_captions_of_one_file_stay_apart_and_equal_ones_are_told(opened):
  content = _content({}, {'image_id': 3}, {'image_id': 4})
  content['images'] += [
      {'id': 3, 'file_name': 'a.png', 'caption': 'a dog'},
      {'id': 4, 'file_name': 'a.png', 'caption': 'a dog, asleep'},
  ]
  source = opened(content, MdetrSource)
  assert len(source) == 4
  (told,) = source.report.names.values()
  assert told == ["images[2] 'a.png'"]
