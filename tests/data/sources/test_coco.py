"""COCO files as a source: classes, boxes, faults, truth."""

import json
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from glip_jax.data import images, transforms
from glip_jax.data.images import BadImage
from glip_jax.data.sources import image_list, table
from glip_jax.data.sources.coco import CocoSource
from glip_jax.data.sources.mdetr import MdetrSource
from glip_jax.data.sources.protocol import is_detection
from glip_jax.errors import UserError


def test_labels_follow_category_ids_and_the_prompt_names_them_all(opened):
  source = opened()
  assert is_detection(source)
  assert source.names == ('hot_dog', 'T-Shirt', 'truck')
  assert [source.category_id(label) for label in range(3)] == [0, 7, 90]
  assert source[0].text.caption == 'hot dog. T-Shirt. truck'
  assert source[1].phrase.tolist() == [2]


def test_records_hold_upright_rgb_and_clipped_boxes(opened):
  record = opened()[0]
  assert record.image.shape == (30, 40, 3)
  np.testing.assert_array_equal(record.boxes, [[0, 4, 20, 30], [0, 0, 40, 30]])
  assert record.boxes.dtype == np.float32
  assert record.crowd.tolist() == [False, True]
  assert opened()[1].image[0, 0].tolist() == [99, 99, 99]


def test_ground_truth_keeps_ids_and_areas_of_the_file(opened):
  truth = opened().ground_truth()
  assert [image['id'] for image in truth['images']] == ['x', 2**60 + 1]
  assert truth['categories'][1] == {'id': 7, 'name': 'T-Shirt'}
  clipped, crowd, other = truth['annotations']
  assert clipped['bbox'] == [0, 4, 20, 26] and clipped['area'] == 520
  # Half a pixel outside stays as it is, as does the area of its mask.
  assert crowd['bbox'] == [0, 0, 40.5, 30] and crowd['area'] == 17.25
  assert crowd['iscrowd'] == 1
  assert other['bbox'] == [1, 2, 3, 4.5] and other['category_id'] == 90
  assert [a['id'] for a in truth['annotations']] == [1, 2, 3]


def test_names_choose_and_order_the_vocabulary(opened):
  source = opened(names=('truck', 't-shirt'))
  assert source.names == ('truck', 'T-Shirt')
  assert source[0].phrase.tolist() == [1]
  assert source[1].phrase.tolist() == [0]
  truth = source.ground_truth()
  assert [c['id'] for c in truth['categories']] == [90, 7]
  assert [a['category_id'] for a in truth['annotations']] == [7, 90]


def test_excluded_classes_vanish_from_prompt_boxes_and_truth(opened):
  source = opened(exclude=('truck',))
  assert source.names == ('hot_dog', 'T-Shirt')
  assert len(source) == 2 and not len(source[1].boxes)
  assert len(source.ground_truth()['annotations']) == 2


def test_an_unknown_name_is_refused_with_its_neighbours(opened):
  with pytest.raises(UserError, match="'trunk' is no.*'truck'"):
    opened(names=('trunk',))
  with pytest.raises(UserError, match='leaves no class'):
    opened(names=('truck',), exclude=('truck',))


def test_an_unreadable_image_is_named_and_leaves_the_truth(folder, opened):
  (folder / 'a.png').write_bytes((folder / 'a.png').read_bytes()[:20])
  source = opened()
  with pytest.raises(BadImage, match='a.png'):
    source[0]
  truth = source.ground_truth()
  assert [image['id'] for image in truth['images']] == [2**60 + 1]
  assert len(truth['annotations']) == 1


def test_raise_refuses_an_unreadable_image_in_the_truth(folder, opened):
  (folder / 'a.png').write_text('<html>')
  with pytest.raises(BadImage, match='a.png'):
    opened(bad_records='raise').ground_truth()


def test_the_report_counts_and_names_each_kind_of_fault(content, opened):
  content['annotations'] += [
      {'image_id': 'x', 'category_id': 5, 'bbox': [0, 0, 4, 4]},
      {'image_id': 'x', 'category_id': 7, 'bbox': [0, 0, float('nan'), 4]},
      {'image_id': 'x', 'category_id': 7, 'bbox': None},
  ]
  report = opened(content).report
  assert report.counts['malformed box'] == 2
  assert report.counts['box of an unknown class'] == 1
  assert report.names['malformed box'][1] == 'annotations[5] None'
  assert '2 x malformed box (annotations[4]' in str(report)


def test_values_that_nothing_can_hold_are_faults_or_unstated(content, opened):
  content['images'][0] |= {'width': 10**400, 'height': 10**400}
  content['images'].append({'id': 3, 'file_name': '\ud800/c.png'})
  content['annotations'][0]['area'] = 10**400
  content['categories'].append({'id': 1, 'name': 'dog\ud800'})
  source = opened(content)
  assert len(source) == 2
  assert source.names == ('hot_dog', 'T-Shirt', 'truck')
  assert source.report.counts['missing image'] == 1
  assert source.report.counts['class without id or name'] == 1
  areas = [a['area'] for a in source.ground_truth()['annotations']]
  assert 3 * 4.5 in areas


def test_boxes_of_an_image_left_out_are_no_fault_of_their_own(content, opened):
  content['images'][0]['file_name'] = 'gone.png'
  report = opened(content).report
  assert report.counts == {'missing image': 1}


def test_no_usable_image_is_refused_with_the_reason(content, opened):
  for image in content['images']:
    image['file_name'] = '../a.png'
  with pytest.raises(UserError, match='no usable image.*2 x file_name outside'):
    opened(content)


def test_the_truth_is_read_once_and_only_headers_of_images(opened, monkeypatch):
  records = list(opened())
  source = opened()
  sizes = []

  def counted(path, **stated):
    sizes.append(path)
    return image_size(path, **stated)

  image_size = image_list.image_size
  monkeypatch.setattr(image_list, 'image_size', counted)
  monkeypatch.setattr(image_list, 'read_moderate', pytest.fail)
  truth = source.ground_truth()
  assert source.ground_truth() is truth
  for index, record in enumerate(records):
    own = source.truth(index)
    assert own.text == source.text(index) == record.text
    assert own.is_list and record.is_list
    np.testing.assert_array_equal(own.boxes, record.boxes)
    np.testing.assert_array_equal(own.crowd, record.crowd)
  assert len(sizes) == 2


@pytest.mark.parametrize('kind, per_box', [(CocoSource, 45), (MdetrSource, 61)])
def test_a_large_set_is_small_when_sent_to_workers(
    folder, opened, kind, per_box
):
  """Bytes: 45 a box, 16 a phrase; 40 an image and 16 a caption, and texts."""
  num_images, num_boxes = 5_000, 50_000
  caption = 'ten things'
  images = [
      {'id': n, 'file_name': f'{n:05}', 'caption': caption}
      for n in range(num_images)
  ]
  for image in images:
    os.link(folder / 'a.png', folder / image['file_name'])
  boxes = [
      {
          'image_id': n % num_images,
          'category_id': 1,
          'bbox': [n % 7, n % 11, 9, 9],
          # A phrase of its own for each box of a caption.
          'tokens_positive': [[0, 1 + n // num_images]],
      }
      for n in range(num_boxes)
  ]
  categories = [{'id': 1, 'name': 'thing'}]
  source = opened(
      {'images': images, 'annotations': boxes, 'categories': categories}, kind
  )
  sent = pickle.dumps(source)
  texts = len('00000') + len('4999') + (kind is MdetrSource) * len(caption)
  per_image = 40 + texts + (kind is MdetrSource) * 16
  assert len(sent) <= num_images * per_image + num_boxes * per_box + 4000
  copy = pickle.loads(sent)
  assert copy.image_id(num_images - 1) == num_images - 1
  record, own = copy[7], source[7]
  np.testing.assert_array_equal(record.boxes, own.boxes)
  np.testing.assert_array_equal(record.phrase, own.phrase)
  assert record.text == own.text and len(record.boxes) == 10


def test_sources_survive_pickling(opened):
  source = opened()
  copy = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(copy[0].boxes, source[0].boxes)
  assert copy.ground_truth() == source.ground_truth()


def test_a_missing_images_folder_is_refused(folder, opened):
  opened()
  with pytest.raises(UserError, match="images='nowhere' is not a folder"):
    CocoSource(annotations=folder.parent / 'file.json', images='nowhere')


@pytest.mark.parametrize(
    'name, split, counts',
    [
        ('raccoon', 'train', (160, 173, 1)),
        ('chess416', 'train', (202, 2107, 13)),
        ('coco_captions100', 'val', (50, 382, 80)),
    ],
)  # pyformat: disable
def test_ground_truth_of_real_sets_is_the_file_itself(
    shared, name, split, counts
):
  path = shared / 'data' / name / f'{split}.json'
  source = CocoSource(
      annotations=path, images=path.parent / 'images', bad_records='raise'
  )
  truth, content = source.ground_truth(), json.loads(path.read_text())
  keys = ('images', 'annotations', 'categories')
  assert tuple(len(truth[key]) for key in keys) == counts

  def table(annotations):
    fields = ('image_id', 'category_id', 'iscrowd', 'area')
    return sorted(
        (*(a[key] for key in fields), *a['bbox']) for a in annotations
    )

  assert table(truth['annotations']) == table(content['annotations'])
  assert [c['id'] for c in truth['categories']] == [
      c['id'] for c in content['categories']
  ]


def test_a_stray_class_can_be_excluded_from_a_real_set(shared):
  folder = shared / 'data' / 'chess416'
  spec = {
      'annotations': str(folder / 'train.json'),
      'images': str(folder / 'images'),
      'exclude': ('bishop',),
  }
  source = table.open_source(spec)
  assert len(source.names) == 12 and 'bishop' not in source.names
  assert len(source.ground_truth()['annotations']) == 2106
  record = source[0]
  assert len(record.text.phrases) == 12
  assert record.phrase.max() < 12


def _roboflow(folder, background):
  """What Roboflow exports: a JSON beside its images, and a class 0 of all."""
  content = {
      'images': [{'id': 0, 'file_name': 'a.png', 'height': 30, 'width': 40}],
      'annotations': [
          {'id': 0, 'image_id': 0, 'category_id': 1, 'bbox': [1, 2, 9, 9]}
      ],
      'categories': [
          {'id': 0, 'name': background, 'supercategory': 'none'},
          {'id': 1, 'name': 'raccoon', 'supercategory': background},
          {'id': 2, 'name': 'cat', 'supercategory': background},
      ],
  }
  path = folder / '_annotations.coco.json'
  path.write_text(json.dumps(content))
  return path, content


@pytest.mark.parametrize('background', ['animals', 'raccoon'])
def test_what_roboflow_exports_opens_by_its_file_alone(folder, background):
  path, _ = _roboflow(folder, background)
  source = table.open_source({'annotations': str(path)}, bad_records='raise')
  assert source.names == ('raccoon', 'cat')
  assert [source.category_id(label) for label in range(2)] == [1, 2]
  assert source[0].phrase.tolist() == [0]
  (told,) = source.report.names.items()
  assert told == (
      'class that stands for all others, dropped',
      ['categories[0]'],
  )


def test_a_class_of_id_0_is_kept_where_it_has_boxes_or_is_no_parent(folder):
  path, content = _roboflow(folder, 'animals')
  content['annotations'][0]['category_id'] = 0
  path.write_text(json.dumps(content))
  assert CocoSource(annotations=path).names == ('animals', 'raccoon', 'cat')
  content['annotations'][0]['category_id'] = 1
  content['categories'][2]['supercategory'] = 'pets'
  path.write_text(json.dumps(content))
  assert CocoSource(annotations=path).names == ('animals', 'raccoon', 'cat')


def test_boxes_of_a_very_large_image_are_in_what_is_read(
    folder, opened, monkeypatch
):
  Image.new('RGB', (90, 60)).save(folder / 'large.jpg')
  content = {
      'images': [{'id': 1, 'file_name': 'large.jpg'}],
      'annotations': [
          {'image_id': 1, 'category_id': 1, 'bbox': [10, 20, 30, 40]}
      ],
      'categories': [{'id': 1, 'name': 'thing'}],
  }
  source = opened(content)
  monkeypatch.setattr(images, 'MODERATE_PIXELS', 5000)
  record = source[0]
  assert record.image.shape == (30, 45, 3) and record.scale == (0.5, 0.5)
  np.testing.assert_array_equal(record.boxes, [[5, 10, 20, 30]])
  np.testing.assert_array_equal(source.truth(0).boxes, [[10, 20, 40, 60]])
  resized = transforms.FitInside((60, 60)).map(record)
  # What is found is given back in pixels of the file.
  assert resized.scale == pytest.approx((40 / 60, 60 / 90), rel=1e-6)
