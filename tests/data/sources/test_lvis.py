"""LVIS files as a source."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from glip_jax.data.sources import table
from glip_jax.data.sources.lvis import LvisSource
from glip_jax.data.sources.protocol import is_federated
from glip_jax.data.sources.selection import Selection
from glip_jax.errors import UserError

URL = 'http://images.cocodataset.org/'


def _content():
  """Three images as LVIS v1 writes them, and four classes."""
  files = 'train2017/000000000009.jpg', 'val2017/000000000025.jpg'
  images = [
      {
          'id': int(file[-6:-4]),
          'coco_url': URL + file,
          'width': 40,
          'height': 30,
          'neg_category_ids': absent,
          'not_exhaustive_category_ids': partial,
      }
      for file, absent, partial in (
          (files[0], [4, 2], []),
          (files[1], [3], [1, 2]),
      )
  ]
  boxes = [
      {'id': 1, 'image_id': 9, 'category_id': 1, 'bbox': [1, 2, 9, 9]},
      {'id': 2, 'image_id': 25, 'category_id': 2, 'bbox': [1, 2, 9, 9]},
  ]
  names = 'bat_(animal)', 'bat_(sports_equipment)', 'cup', 'cow'
  categories = [
      {
          'id': n,
          'name': name,
          'frequency': group,
          'synonyms': [name, f'{name}s'],
      }
      for n, (name, group) in enumerate(zip(names, 'rfcc', strict=True), 1)
  ]
  return {'images': images, 'annotations': boxes, 'categories': categories}


@pytest.fixture
def lvis(tmp_path):
  """Opens a file of the images above."""
  for file in ('train2017/000000000009.jpg', 'val2017/000000000025.jpg'):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    Image.new('RGB', (40, 30)).save(path)

  def open_file(content, folder='', bad_records='raise', **selected):
    (tmp_path / 'lvis.json').write_text(json.dumps(content))
    return LvisSource(
        annotations=tmp_path / 'lvis.json',
        images=tmp_path / folder,
        selection=Selection(**selected),
        bad_records=bad_records,
    )

  return open_file


def test_images_without_a_file_name_are_those_of_their_url(lvis):
  source = lvis(_content())
  assert is_federated(source)
  files = [image['file_name'] for image in source.ground_truth()['images']]
  assert files == ['train2017/000000000009.jpg', 'val2017/000000000025.jpg']
  assert not source.report.counts
  only = lvis(_content(), 'val2017', bad_records='skip')
  assert only.image_id(0) == 25 and len(only) == 1


@pytest.mark.parametrize(
    'file', ['COCO_val2014_000000000025.jpg', None, 7, '../x.jpg']
)
def test_a_file_name_that_is_not_there_gives_way_to_the_url(lvis, file):
  content = _content()
  content['images'][1]['file_name'] = file
  assert lvis(content)[1].image.shape == (30, 40, 3)


def test_a_file_name_that_is_there_is_taken(lvis, tmp_path):
  content = _content()
  content['images'][1]['file_name'] = 'COCO_val2014_000000000025.jpg'
  name = tmp_path / 'COCO_val2014_000000000025.jpg'
  Image.new('RGB', (40, 30), (9, 9, 9)).save(name)
  assert lvis(content)[1].image.max() == 9


def test_what_is_known_to_be_absent_is_told_by_label(lvis):
  source = lvis(_content(), names=('cow', 'cup', 'bat_(sports_equipment)'))
  assert [source.absent(n) for n in range(2)] == [(0, 2), (1,)]
  assert [source.not_exhaustive(n) for n in range(2)] == [(), (2,)]
  assert source.frequency == ('c', 'c', 'f')
  assert source.synonyms[0] == ('cow', 'cows')
  copy = pickle.loads(pickle.dumps(source))
  assert copy.absent(0) == (0, 2) and copy.frequency == source.frequency


def test_classes_of_equal_tokens_stay_apart_under_names_of_their_own(lvis):
  source = lvis(_content())
  assert source.names[:2] == ('bat_(animal)', 'bat_(sports_equipment)')
  assert [source[n].phrase.tolist() for n in range(2)] == [[0], [1]]
  renamed = lvis(
      _content(),
      class_map=(('bat_(animal)', 'flying bat'), ('cow', '')),
  )
  assert renamed.names == ('flying bat', 'bat_(sports_equipment)', 'cup')
  assert renamed.absent(0) == (1,)


def test_a_merged_class_is_absent_where_all_of_it_are(lvis):
  content = _content()
  source = lvis(content, class_map=(('cup', 'thing'), ('cow', 'thing')))
  assert source.names[2:] == ('thing',)
  assert [source.absent(n) for n in range(2)] == [(1,), ()]
  content['images'][0]['neg_category_ids'] = [3, 4]
  content['images'][1]['not_exhaustive_category_ids'] = [4]
  content['categories'][3]['frequency'] = 'r'
  source = lvis(content, class_map=(('cup', 'thing'), ('cow', 'thing')))
  assert source.absent(0) == (2,) and source.not_exhaustive(1) == (2,)
  assert source.frequency == ('r', 'f', 'c')
  assert source.synonyms[2] == ('cup', 'cups', 'cow', 'cows')


def test_a_class_with_a_box_is_not_absent(lvis):
  content = _content()
  content['images'][0]['neg_category_ids'] = [1, 2]
  assert lvis(content).absent(0) == (1,)


def test_the_truth_has_what_lvis_evaluates_by(lvis):
  truth = lvis(_content()).ground_truth()
  assert truth['images'][0]['neg_category_ids'] == [2, 4]
  assert truth['images'][1]['not_exhaustive_category_ids'] == [1, 2]
  assert [c['frequency'] for c in truth['categories']] == list('rfcc')


def test_lists_that_are_none_are_empty(lvis):
  content = _content()
  content['images'][0]['neg_category_ids'] = None
  content['images'][1]['neg_category_ids'] = ['x', None, {}, 3]
  del (
      content['categories'][0]['synonyms'],
      content['categories'][0]['frequency'],
  )
  source = lvis(content)
  assert [source.absent(n) for n in range(2)] == [(), (2,)]
  assert source.frequency[0] == '' and source.synonyms[0] == ()


def test_images_are_refused_that_are_no_list_or_nowhere(lvis):
  with pytest.raises(UserError, match="has no list 'images'"):
    lvis(_content() | {'images': 3})
  with pytest.raises(UserError, match='is not a folder'):
    lvis(_content(), 'gone')


def test_the_published_sample_is_read_whole(shared, tmp_path):
  path = shared / 'data' / 'annotation_samples' / 'lvis_val_100.json'
  content = json.loads(path.read_text())
  for image in content['images']:
    file = tmp_path / image['coco_url'].rpartition('/')[2]
    Image.new('RGB', (image['width'], image['height'])).save(file)
  spec = {
      'source': 'lvis',
      'annotations': str(path),
      'images': str(tmp_path),
  }
  source = table.open_source(spec, bad_records='raise')
  assert len(source) == 100 and len(source.names) == 1230
  assert source.num_boxes().sum() == 977
  assert set(source.frequency) == set('rcf')
  for index, image in enumerate(content['images']):
    absent = [source.category_id(label) for label in source.absent(index)]
    assert absent == sorted(image['neg_category_ids'])
    partial = map(source.category_id, source.not_exhaustive(index))
    assert sorted(partial) == sorted(image['not_exhaustive_category_ids'])
    assert source.image_id(index) == image['id']
  assert len(source.truth(0).text.phrases) == 1230
  areas = [a['area'] for a in source.ground_truth()['annotations']]
  want = {a['area'] for a in content['annotations']}
  assert np.isin(areas, sorted(want)).all()
