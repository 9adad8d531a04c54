"""Sets in the layouts of TFDS's catalogue, found by name."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tfds_sets import BOX, CLASSES, XYXY, F, opened, prepare

from glip_jax.data.sources import protocol, table, tfds_boxes, tfds_files
from glip_jax.data.specs import Spec
from glip_jax.errors import UserError


def test_voc_is_found_by_its_name_and_difficult_objects_are_ignored(tmp_path):
  objects = F.Sequence({
      'label': CLASSES,
      'bbox': F.BBoxFeature(),
      'pose': F.ClassLabel(names=['left', 'right']),
      'is_difficult': np.bool_,
  })
  rows = [
      {'label': n, 'bbox': BOX, 'pose': 0, 'is_difficult': n == 2}
      for n in (0, 2)
  ]
  features = {'objects': objects, 'image/filename': F.Text()}
  examples = [{'objects': rows, 'image/filename': 'a.jpg'}]
  for config in '2007', '2012':
    prepare(tmp_path, 'toy_voc', features, examples, config)
  for dataset in 'toy_voc/2007', 'toy_voc/2012:1.0.0':
    source = opened(tmp_path, dataset)
    assert source.names == ('cat', 'dog', 'owl')
    truth = source.truth(0)
    np.testing.assert_allclose(truth.boxes, [XYXY] * 2, atol=1e-5)
    assert truth.phrase.tolist() == [0, 2]
    assert truth.crowd.tolist() == [False, True]
  with pytest.raises(UserError, match="as 2007, 2012: give dataset='toy_voc/"):
    opened(tmp_path, 'toy_voc')
  told = (
      r"'toy_voc/2008' is not prepared .*builder\('toy_voc/2008', data_dir=.*"
  )
  with pytest.raises(UserError, match=told) as caught:
    opened(tmp_path, 'toy_voc/2008')
  assert '\n' not in str(caught.value)


def test_the_highest_version_is_taken(tmp_path):
  for version in '2.0.0', '10.0.0':
    folder = tmp_path / 'toy' / version
    folder.mkdir(parents=True)
    (folder / 'dataset_info.json').touch()
  assert tfds_files.find_version(tmp_path, 'toy').endswith('10.0.0')
  assert tfds_files.find_version(tmp_path, 'toy:2.0.0').endswith('2.0.0')


def test_lvis_keeps_what_it_knows_of_its_images(tmp_path):
  objects = F.Sequence({
      'id': np.int64,
      'bbox': F.BBoxFeature(),
      'label': CLASSES,
      'segmentation': F.Image(shape=(None, None, 1)),
  })
  row = {'id': 7, 'bbox': BOX, 'label': 1, 'segmentation': b'no image'}
  features = {
      'image/id': np.int64,
      'neg_category_ids': F.Sequence(CLASSES),
      'not_exhaustive_category_ids': F.Sequence(CLASSES),
      'objects': objects,
  }
  lists = {'neg_category_ids': [2, 0], 'not_exhaustive_category_ids': [1]}
  examples = [{'image/id': 5, 'objects': [row]} | lists]
  prepare(tmp_path, 'toy_lvis', features, examples)
  source = opened(tmp_path, 'toy_lvis')
  assert protocol.is_federated(source)
  assert source.absent(0) == (0, 2) and source.not_exhaustive(0) == (1,)
  (image,) = source.ground_truth()['images']
  assert image['neg_category_ids'] == [0, 2]
  assert image['not_exhaustive_category_ids'] == [1]
  # Of merged classes all must be known to be absent.
  source = opened(
      tmp_path, 'toy_lvis', class_map=(('cat', 'pet'), ('dog', 'pet'))
  )
  assert source.names == ('pet', 'owl') and source.absent(0) == (1,)
  assert source.not_exhaustive(0) == (0,)


def test_open_images_has_groups_and_names_of_a_file(tmp_path):
  label = F.ClassLabel(names=['/m/01', '/m/02'])
  features = {
      # Labels of whole images, which no box is of.
      'objects': F.Sequence({'label': label, 'confidence': np.int32}),
      'bobjects': F.Sequence(
          {'label': label, 'bbox': F.BBoxFeature(), 'is_group_of': np.int8}
      ),
  }
  boxes = [
      {'label': n % 2, 'bbox': BOX, 'is_group_of': group}
      for n, group in enumerate((0, 1, -1))
  ]
  whole = [{'label': 1, 'confidence': 10}]
  examples = [{'objects': whole, 'bobjects': boxes}]
  prepare(tmp_path, 'toy_open_images', features, examples, 'original')
  file = tmp_path / 'names.json'
  file.write_text(json.dumps({'/m/01': 'red car'}))
  dataset = 'toy_open_images/original'
  source = opened(tmp_path, dataset, label_map=str(file))
  assert source.names == ('red car', '/m/02')
  truth = source.truth(0)
  assert truth.phrase.tolist() == [0, 1, 0]
  assert truth.crowd.tolist() == [False, True, False]
  file.write_text(json.dumps(['red car']))
  with pytest.raises(UserError, match='label_map=.* holds a list, give a JSON'):
    opened(tmp_path, dataset, label_map=str(file))
  file.write_text(json.dumps({'car': 'red car'}))
  with pytest.raises(UserError, match='label_map=.*names none of the classes'):
    opened(tmp_path, dataset, label_map=str(file))


def test_kitti_counts_rows_from_below(tmp_path):
  objects = F.Sequence({'bbox': F.BBoxFeature(), 'type': CLASSES})
  upside_down = F.BBox(0.5, 0.25, 0.9, 0.75)
  examples = [{'objects': [{'bbox': upside_down, 'type': 2}]}]
  prepare(tmp_path, 'kitti', {'objects': objects}, examples)
  truth = opened(tmp_path, 'kitti').truth(0)
  np.testing.assert_allclose(truth.boxes, [XYXY], atol=1e-5)
  assert truth.phrase.tolist() == [2]


def test_wider_face_is_of_one_class(tmp_path):
  faces = F.Sequence({'bbox': F.BBoxFeature(), 'blur': np.uint8})
  examples = [{'faces': [{'bbox': BOX, 'blur': 1}]}]
  prepare(tmp_path, 'toy_faces', {'faces': faces}, examples)
  source = opened(tmp_path, 'toy_faces')
  assert source.names == ('face',) and source.truth(0).phrase.tolist() == [0]


def test_an_expression_of_ref_coco_is_a_record(tmp_path):
  lists = F.Sequence({
      'label': np.int64,
      'bbox': F.BBoxFeature(),
      'refexp': F.Sequence({'refexp_id': np.int64, 'raw': F.Text()}),
  })
  # TFDS writes lists in lists by TensorFlow alone, and reads them without: so
  # they are written as they are stored, and then said to be such.
  stored = {
      'label': F.Sequence(np.int64),
      'bbox': F.Sequence(F.BBoxFeature()),
      'refexp': {
          'raw': {
              'ragged_flat_values': F.Sequence(F.Text()),
              'ragged_row_lengths_0': F.Sequence(np.int64),
          }
      },
  }
  words = ['man on left', 'red shirt', ' ', 'dog']
  raw = {'ragged_flat_values': words, 'ragged_row_lengths_0': [1, 3]}
  low = F.BBox(0.5, 0.25, 1.0, 0.75)
  objects = {'label': [1, 1], 'bbox': [BOX, low], 'refexp': {'raw': raw}}
  builder = prepare(
      tmp_path, 'toy_ref', {'objects': stored}, [{'objects': objects}], 'unc'
  )
  image = F.Image(shape=(None, None, 3))
  F.FeaturesDict({'image': image, 'objects': lists}).save_config(
      builder.data_dir
  )
  source = opened(tmp_path, 'toy_ref/unc')
  assert not protocol.is_detection(source)
  texts = [source.text(index) for index in range(len(source))]
  assert [text.caption for text in texts] == ['man on left', 'red shirt', 'dog']
  assert [text.phrases for text in texts] == [(t.caption,) for t in texts]
  np.testing.assert_allclose(source.truth(0).boxes, [XYXY], atol=1e-5)
  for index in 1, 2:
    record = source[index]
    assert record.image.shape == (20, 40, 3) and record.phrase.tolist() == [0]
    np.testing.assert_allclose(record.boxes, [[10, 10, 30, 20]], atol=1e-5)
  with pytest.raises(IndexError):
    source[3]


@pytest.mark.parametrize('key', ['caption', 'text', 'captions'])
def test_pairs_have_a_caption_and_no_box(tmp_path, key):
  several = F.Sequence({'id': np.int64, 'text': F.Text()})
  feature = several if key == 'captions' else F.Text()
  texts = 'a dog', ' ', 'a café'
  values = [
      [{'id': n, 'text': text} for n, text in enumerate(('-', own))]
      if key == 'captions'
      else own
      for own in texts
  ]
  prepare(tmp_path, 'toy_pairs', {key: feature}, [{key: v} for v in values])
  source = opened(tmp_path, 'toy_pairs')
  assert len(source) == 3
  assert [source.text(n).caption for n in (0, 2)] == ['a dog', 'a café']
  record = source[2]
  assert record.boxes.shape == (0, 4) and not record.text.phrases
  assert source.image_file(0)[:4] == b'\x89PNG'
  with pytest.raises(UserError, match='holds no words'):
    source[1]


def test_a_set_of_neither_is_refused_in_one_line(tmp_path):
  prepare(tmp_path, 'toy_none', {'label': CLASSES}, [{'label': 1}])
  told = 'no set of boxes or captions: it needs .* and has image, label$'
  with pytest.raises(UserError, match=told):
    opened(tmp_path, 'toy_none')


def test_a_set_that_is_not_prepared_is_told_before_anything_is_read(tmp_path):
  spec = Spec(source='tfds', directory=str(tmp_path), dataset='coco/2017')
  with pytest.raises(UserError, match="train: dataset='coco/2017' is not pre"):
    table.check_places({'train': spec})


@pytest.mark.parametrize(
    'name, boxes, count',
    [
        ('voc/2007', 'objects', 20),
        ('lvis', 'objects', 1203),
        ('open_images_v4', 'bobjects', 601),
        ('kitti', 'objects', 8),
        ('wider_face', 'faces', 1),
    ],
)
def test_the_catalogue_has_these_layouts(tmp_path, name, boxes, count):
  # Their code needs no TensorFlow.
  builder = tfds.builder(name, data_dir=tmp_path)
  layout = tfds_boxes.find_layout(builder.info.features, builder.name)
  assert layout.boxes == boxes and len(layout.names) == count
  assert layout.from_below == (name == 'kitti')


def test_the_catalogue_has_the_expressions(tmp_path):
  features = tfds.builder('ref_coco', data_dir=tmp_path).info.features
  assert tfds_boxes.find_layout(features, 'ref_coco') is None
  assert 'refexp' in tfds_boxes.parts_of(features, 'objects')
