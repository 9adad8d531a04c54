"""Prepared TFDS sets as a source."""

import contextlib
import io
import itertools
import pickle

import numpy as np
import pytest
from PIL import Image
from small_world import config_of

from glip_jax import fields
from glip_jax.data import packing, stream
from glip_jax.data.sources import protocol, table
from glip_jax.data.sources import tfds as tfds_source
from glip_jax.data.training_sources import open_training
from glip_jax.errors import UserError
from glip_jax.evaluators import evaluation, runner


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
        buffer = io.BytesIO()
        Image.new('L', (30, 20), count).save(buffer, 'PNG')
        buffer.seek(0)
        box = tfds.features.BBox(0.1, 0.2, 0.5, 0.6)
        rows = [
            {'bbox': box, 'label': n, 'is_crowd': n == 1} for n in range(count)
        ]
        yield count, {'image': buffer, 'objects': rows}

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


@pytest.fixture
def crowds(prepared):
  """Of the set what is a crowd, or no box at all."""
  return {'source': 'tfds', 'directory': str(prepared), 'names': ('dog',)}


def test_training_on_crowds_alone_is_refused(crowds, prepared, monkeypatch):
  data = config_of(crowds)
  with pytest.raises(UserError, match='data.train: no image has a box to lea'):
    open_training(data)
  whole = crowds | {'names': ()}
  open_training(config_of(whole))
  open_training(config_of({'a': crowds, 'b': whole}))
  # Where not all of a set is looked at, a box may be in the rest.
  monkeypatch.setattr(protocol, 'LOOKED_AT', 2)
  open_training(data)


def test_crowds_alone_are_told_after_a_pass_where_nobody_looked(
    crowds, monkeypatch, caplog
):
  monkeypatch.setattr(protocol, 'LOOKED_AT', 2)
  for names, told in ((('dog',), 1), ((), 0)):
    data = config_of(crowds | {'names': names})
    batches = stream.train_stream(
        open_training(data), data, batch_size=1, seed=0
    )
    caplog.clear()
    list(itertools.islice(iter(batches), 7))
    said = [r.message for r in caplog.records if 'whole pass' in r.message]
    assert len(said) == told


def test_evaluation_of_crowds_alone_is_refused(crowds):
  for names, refused in ((('dog',), True), ((), False)):
    spec = {'type': 'detection', 'data': crowds | {'names': names}}
    spec = fields.from_dict(runner.Evaluation, spec, 'evals.val')
    expect = pytest.raises(UserError, match='evals.val.data: of 1 boxes none')
    with expect if refused else contextlib.nullcontext():
      evaluation.open_sources({'val': spec}, config_of(crowds))


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
