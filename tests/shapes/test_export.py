"""The embedded world written to files and read back."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from glip_jax.data.sources.table import open_source
from glip_jax.errors import UserError
from glip_jax.shapes import export
from glip_jax.shapes.source import HELD_OUT, SEEN, open_world


def _xyxy(entry):
  x, y, width, height = entry['bbox']
  return [x, y, x + width, y + height]


def test_coco_files_hold_the_images_and_boxes_of_the_source(tmp_path):
  source = open_world('val', num_images=4, image_size=160)
  content = json.loads(export.write_coco(tmp_path, source).read_text())
  assert content == json.loads(json.dumps(source.ground_truth()))
  for index, image in enumerate(content['images']):
    record = source[index]
    with Image.open(tmp_path / 'images' / image['file_name']) as opened:
      assert opened.format == 'JPEG'
      assert opened.size == (image['width'], image['height']) == (160, 160)
      pixels = np.asarray(opened).astype(int)
    assert np.abs(pixels - record.image).mean() < 4
    own = [a for a in content['annotations'] if a['image_id'] == image['id']]
    np.testing.assert_allclose(
        [_xyxy(entry) for entry in own], record.boxes, atol=0.01
    )


def test_coco_is_refused_for_prompts_without_one_vocabulary(tmp_path):
  source = open_world('val', prompts={'caption': 1}, num_images=1)
  with pytest.raises(UserError, match='no categories'):
    export.write_coco(tmp_path, source)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('kind', ['caption', 'relation', 'list'])
def test_mdetr_files_link_boxes_to_the_words_of_captions(tmp_path, kind):
  source = open_world('val', num_images=4, prompts={kind: 1})
  content = json.loads(export.write_mdetr(tmp_path, source).read_text())
  for index, image in enumerate(content['images']):
    truth = source.truth(index)
    assert image['caption'] == truth.text.caption
    assert (tmp_path / 'images' / image['file_name']).is_file()
    assert [
        ' '.join(image['caption'][start:end] for start, end in spans)
        for spans in image['tokens_positive_eval']
    ] == list(truth.text.phrases)
    own = [a for a in content['annotations'] if a['image_id'] == image['id']]
    assert len(own) == len(truth.boxes) > 0
    for entry, box, phrase in zip(own, truth.boxes, truth.phrase, strict=True):
      np.testing.assert_allclose(_xyxy(entry), box, atol=0.01)
      ((start, end),) = entry['tokens_positive']
      assert image['caption'][start:end] == truth.text.phrases[phrase]


def test_tfds_sets_are_written_and_read_without_tensorflow(tmp_path):
  tfds = pytest.importorskip('tensorflow_datasets')
  from glip_jax.shapes.tfds import Shapes

  builder = Shapes(data_dir=tmp_path, num_images=3, image_size=64, seed=5)
  builder.download_and_prepare()
  assert 'tensorflow' not in sys.modules

  read = tfds.builder_from_directory(builder.data_dir)
  names = read.info.features['objects']['label'].names
  assert tuple(names) == SEEN + HELD_OUT
  for split in ('train', 'val', 'heldout'):
    source = open_world(split, num_images=3, image_size=64, seed=5)
    examples = read.as_data_source(split=split)
    assert len(examples) == 3
    for index in range(3):
      example, scene = examples[index], source.scene(index)
      np.testing.assert_array_equal(example['image'], source[index].image)
      assert example['image/id'] == source.image_id(index)
      objects = example['objects']
      boxes = np.array(objects['bbox'])[:, [1, 0, 3, 2]]
      np.testing.assert_allclose(boxes, scene.boxes(1), atol=1e-6)
      assert [names[label] for label in objects['label']] == [
          item.kind.composition for item in scene.items
      ]
      assert not any(objects['is_crowd'])


@pytest.mark.parametrize('kind', ['caption', 'relation'])
def test_grounding_files_read_back_as_the_same_records(tmp_path, kind):
  source = open_world('val', num_images=3, prompts={kind: 1})
  path = export.write_mdetr(tmp_path, source)
  read = open_source(
      dict(
          source='mdetr',
          annotations=str(path),
          images=str(tmp_path / 'images'),
      )
  )
  _assert_same_records(read, source)
  for index in range(3):
    assert read[index].text == source[index].text


def test_coco_files_read_back_as_the_same_records(tmp_path):
  source = open_world('val', num_images=3)
  path = export.write_coco(tmp_path, source)
  read = open_source(
      dict(
          source='coco',
          annotations=str(path),
          images=str(tmp_path / 'images'),
      )
  )
  assert read.names == source.names
  _assert_same_records(read, source)


def _assert_same_records(read, source):
  assert len(read) == len(source)
  for index in range(len(source)):
    one, two = read[index], source[index]
    assert read.image_id(index) == source.image_id(index)
    np.testing.assert_allclose(one.boxes, two.boxes, atol=0.01)
    np.testing.assert_array_equal(one.phrase, two.phrase)
    assert one.image.shape == two.image.shape


def test_tfds_worlds_of_other_settings_have_other_folders(tmp_path):
  pytest.importorskip('tensorflow_datasets')
  from glip_jax.shapes.tfds import Shapes

  folders = {
      str(Shapes(data_dir=tmp_path, **settings).data_dir)
      for settings in ({}, {'seed': 1}, {'num_images': 2}, {'image_size': 64})
  }
  assert len(folders) == 4
