"""Prepared TFDS sets as a source."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from glip_jax.data import packing
from glip_jax.data.sources import table
from glip_jax.data.sources import tfds as tfds_source
from glip_jax.errors import UserError


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A TFDS detection set, prepared without TensorFlow."""
  tfds = pytest.importorskip('tensorflow_datasets')

  class Toy(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
      objects = tfds.features.Sequence({
          'bbox': tfds.features.BBoxFeature(),
          'label': tfds.features.ClassLabel(names=['cat', 'dog']),
          'is_crowd': np.bool_,
      })
      image = tfds.features.Image(encoding_format='png')
      features = tfds.features.FeaturesDict(
          {'image': image, 'objects': objects}
      )
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
      return {'train': self._generate_examples()}

    def _generate_examples(self):
      for count in range(3):
        stream = io.BytesIO()
        Image.new('L', (30, 20), count).save(stream, 'PNG')
        stream.seek(0)
        box = tfds.features.BBox(0.1, 0.2, 0.5, 0.6)
        rows = [
            {'bbox': box, 'label': n, 'is_crowd': n == 1} for n in range(count)
        ]
        yield count, {'image': stream, 'objects': rows}

  builder = Toy(
      data_dir=tmp_path_factory.mktemp('tfds'), file_format='array_record'
  )
  builder.download_and_prepare()
  return builder.data_dir


def test_a_prepared_tfds_set_is_read_at_random(prepared):
  source = table.open_source({'directory': prepared, 'split': 'train'})
  source = pickle.loads(pickle.dumps(source))
  assert source.names == ('cat', 'dog') and len(source) == 3
  records = sorted(source, key=lambda record: len(record.boxes))
  assert [len(record.boxes) for record in records] == [0, 1, 2]
  assert records[2].image.shape == (20, 30, 3)
  np.testing.assert_allclose(records[2].boxes[0], [6, 2, 18, 10], atol=1e-5)
  assert records[2].phrase.tolist() == [0, 1]
  assert records[2].crowd.tolist() == [False, True]
  assert len(source.ground_truth()['annotations']) == 3


def test_the_truth_is_read_once_and_only_headers_of_images(
    prepared, monkeypatch
):
  source = table.open_source({'directory': prepared, 'split': 'train'})
  records = list(source)
  sizes = []

  def counted(file):
    sizes.append(file)
    return image_size(file)

  image_size = tfds_source.image_size
  monkeypatch.setattr(tfds_source, 'image_size', counted)
  monkeypatch.setattr(tfds_source, 'read_image', pytest.fail)
  truth = source.ground_truth()
  assert source.ground_truth() is truth and len(sizes) == 3
  assert [(i['height'], i['width']) for i in truth['images']] == [(20, 30)] * 3
  for index, record in enumerate(records):
    own = source.truth(index)
    assert own.text == source.text(index) == record.text
    assert own.is_list and record.is_list
    np.testing.assert_array_equal(own.boxes, record.boxes)
    np.testing.assert_array_equal(own.phrase, record.phrase)
    xywh = [a['bbox'] for a in truth['annotations'] if a['image_id'] == index]
    corners = np.array(xywh).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    np.testing.assert_allclose(corners, record.boxes, atol=1e-4)


def test_tfds_classes_can_be_chosen(prepared):
  spec = {'source': 'tfds', 'directory': prepared, 'names': ('dog',)}
  source = table.open_source(spec)
  truth = source.ground_truth()
  assert source.category_id(0) == 1
  assert [a['category_id'] for a in truth['annotations']] == [1]


def test_tfds_classes_can_be_merged(prepared):
  spec = {'directory': prepared, 'class_map': (('dog', 'pet'), ('cat', 'pet'))}
  source = table.open_source(spec)
  assert source.names == ('pet',) and source.category_id(0) == 0
  records = sorted(source, key=lambda record: len(record.boxes))
  assert [record.phrase.tolist() for record in records] == [[], [0], [0, 0]]


def test_a_part_of_a_tfds_set_is_refused_with_its_own_way(prepared):
  spec = {'directory': prepared, 'part': (0.0, 0.9)}
  with pytest.raises(UserError, match=r"part=.*give split='train\[:90%\]'"):
    table.open_source(spec)


def test_a_missing_tfds_set_is_refused(tmp_path):
  with pytest.raises(UserError, match='directory=.*nothing.*array_record'):
    table.open_source({'directory': str(tmp_path / 'nothing')})


def test_a_packed_set_is_the_same(prepared, tmp_path):
  source = table.open_source({'directory': prepared, 'split': 'train'})
  packing.pack(source, tmp_path / 'out')
  copy = table.open_source({'directory': str(tmp_path / 'out')})
  assert copy.names == source.names
  assert copy.ground_truth() == source.ground_truth()
  for index, record in enumerate(source):
    assert copy.image_file(index) == source.image_file(index)
    np.testing.assert_array_equal(copy[index].boxes, record.boxes)
    np.testing.assert_array_equal(copy[index].phrase, record.phrase)
    np.testing.assert_array_equal(copy.labels(index), record.phrase)
