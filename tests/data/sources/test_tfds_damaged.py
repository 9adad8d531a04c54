"""Prepared sets that are damaged, or that hold what no set may."""

import json

import numpy as np
import pytest
from tfds_sets import BOX, CLASSES, F, opened, prepare

from glip_jax.data.sources import table
from glip_jax.data.training_sources import open_training
from glip_jax.errors import UserError

GOOD = [0.1, 0.25, 0.5, 0.75]
FILE = 'toy-train.array_record-00000-of-00001'


def _stored(folder, rows, name='toy'):
  """A set of (labels, boxes) that TFDS itself would refuse to write."""
  raw = {
      'label': F.Sequence(np.int64),
      'bbox': F.Sequence(F.Tensor(shape=(4,), dtype=np.float32)),
  }
  examples = [
      {'objects': {'label': labels, 'bbox': np.array(boxes, np.float32)}}
      for labels, boxes in rows
  ]
  builder = prepare(folder, name, {'objects': raw}, examples)
  objects = F.Sequence({'label': CLASSES, 'bbox': F.BBoxFeature()})
  image = F.Image(shape=(None, None, 3))
  F.FeaturesDict({'image': image, 'objects': objects}).save_config(
      builder.data_dir
  )
  return builder.data_path


@pytest.mark.parametrize(
    'labels, boxes, told',
    [
        ([3], [GOOD], 'label holds 3, which is none of the 3 classes'),
        ([-2], [GOOD], 'label holds -2, which is none'),
        ([0], [[0.1, 0.2, np.nan, 0.4]], 'nan, .* is no box in parts of the'),
        ([0], [[0.1, 0.2, np.inf, 0.4]], 'inf, .* is no box in parts of the'),
        ([0], [[2, 10, 10, 30]], r'\[2.0, 10.0, 10.0, 30.0\], which is no box'),
        ([0, 1], [GOOD], 'has 1 boxes, and 2 labels'),
    ],
)
def test_an_example_that_cannot_be_is_a_bad_record(
    tmp_path, labels, boxes, told
):
  _stored(tmp_path, [([0], [GOOD]), (labels, boxes)])
  source = opened(tmp_path, 'toy')
  with pytest.raises(UserError, match=told):
    source[1]
  truth = source.ground_truth()
  assert [image['id'] for image in truth['images']] == [0]
  spec = {'source': 'tfds', 'directory': str(tmp_path), 'dataset': 'toy'}
  with pytest.raises(UserError, match=f'record 1: .*{told}'):
    table.open_source(spec, bad_records='raise').ground_truth()


def test_a_set_of_bad_records_alone_is_refused_by_its_last(tmp_path):
  _stored(tmp_path, [([0], [[2, 10, 10, 30]])] * 3)
  spec = {'source': 'tfds', 'directory': str(tmp_path), 'dataset': 'toy'}
  names = (('cat', 'red'), ('dog', 'blue'), ('owl', 'star'))
  config = {'tokenizer': 'shapes', 'train': spec | {'class_map': names}}
  told = 'train: none of the first 3 records is usable; the last: record 2'
  with pytest.raises(UserError, match=told):
    open_training(config)


def test_a_list_of_classes_that_are_none_is_a_bad_record(tmp_path):
  lists = 'neg_category_ids', 'not_exhaustive_category_ids'
  objects = F.Sequence({'label': CLASSES, 'bbox': F.BBoxFeature()})
  row = {'objects': [{'label': 0, 'bbox': BOX}]}
  examples = [row | {lists[0]: [7], lists[1]: []}]
  features = {key: F.Sequence(np.int64) for key in lists}
  builder = prepare(tmp_path, 'toy', {'objects': objects} | features, examples)
  F.FeaturesDict(
      {'image': F.Image(shape=(None, None, 3)), 'objects': objects}
      | {key: F.Sequence(CLASSES) for key in lists}
  ).save_config(builder.data_dir)
  with pytest.raises(UserError, match='neg_category_ids holds 7, which is'):
    opened(tmp_path, 'toy')[0]


@pytest.mark.parametrize(
    'damage, told',
    [
        ('gone', f'{FILE} is missing; copy or prepare'),
        ('cut', f'{FILE} is damaged'),
        ('count', f'{FILE} holds 2 examples, not 9'),
    ],
)
def test_a_damaged_file_is_named_before_work_starts(tmp_path, damage, told):
  folder = _stored(tmp_path, [([0], [GOOD])] * 2)
  file, info = folder / FILE, folder / 'dataset_info.json'
  if damage == 'gone':
    file.unlink()
  elif damage == 'cut':
    file.write_bytes(file.read_bytes()[:-9])
  else:
    content = json.loads(info.read_text())
    content['splits'][0]['shardLengths'] = ['9']
    info.write_text(json.dumps(content))
  with pytest.raises(UserError, match=f'1 of the 1 files .*{told}') as caught:
    opened(tmp_path, 'toy')
  assert '\n' not in str(caught.value)


def test_a_flipped_byte_is_a_bad_record(tmp_path):
  folder = _stored(tmp_path, [([0], [GOOD])] * 2)
  data = bytearray((folder / FILE).read_bytes())
  data[data.index(b'IHDR')] ^= 1
  (folder / FILE).write_bytes(data)
  source = opened(tmp_path, 'toy')
  with pytest.raises(UserError, match="example 0 of split='train' .* damaged"):
    source[0]
  assert source[1].phrase.tolist() == [0]


def _detection(**parts):
  """Features of objects of classes, but for what is given."""
  own = {'label': CLASSES, 'bbox': F.BBoxFeature()} | parts
  return {'objects': F.Sequence(own)}


@pytest.mark.parametrize(
    'features',
    [
        _detection(label=F.Text()),
        _detection(bbox=F.Tensor(shape=(4,), dtype=np.int32)),  # Pixels.
        _detection(bbox=F.Tensor(shape=(5,), dtype=np.float32)),
        _detection() | {'image': F.Text()},
        _detection() | {'image': F.Tensor(shape=(2, 2, 1), dtype=np.uint8)},
        _detection() | {'image': F.Tensor(shape=(2, 2, 3), dtype=np.float32)},
        {
            'objects': {
                k: F.Sequence(v)
                for k, v in _detection()['objects'].feature.items()
            }
        },
        {'caption': np.int64},
        {'text': CLASSES},
        {'captions': F.Sequence({'id': np.int64})},
    ],
)
def test_a_set_of_other_features_is_refused_when_it_is_opened(
    tmp_path, features
):
  folder = _stored(tmp_path, [([0], [GOOD])])
  own = {'image': F.Image(shape=(None, None, 3))} | features
  F.FeaturesDict(own).save_config(folder)
  with pytest.raises(UserError, match='is no set of boxes or captions: it nee'):
    opened(tmp_path, 'toy')


@pytest.mark.parametrize(
    'phrase, spans, told',
    [
        (5, [(0, 0, 9)], r'example 0 do not match \(phrase \[5\] of 1\)'),
        (0, [(0, 4, 99)], r'span \[4, 99\) in a caption of 9'),
        (0, [(0, 0, 4), (0, 5, 9)], 'example 0 do not match'),
    ],
)
def test_phrases_that_no_caption_has_are_bad_records(
    tmp_path, phrase, spans, told
):
  keys = 'phrase', 'start', 'end'
  features = {
      'caption': F.Text(),
      'is_list': np.bool_,
      'spans': F.Sequence({key: np.int32 for key in keys}),
      'objects': F.Sequence(
          {'bbox': F.BBoxFeature(), 'is_crowd': np.bool_, 'phrase': np.int32}
      ),
  }
  box = {'bbox': BOX, 'is_crowd': False, 'phrase': phrase}
  example = {
      'caption': 'a red dog',
      'is_list': len(spans) > 1,
      'spans': [dict(zip(keys, span, strict=True)) for span in spans],
      'objects': [box],
  }
  prepare(tmp_path, 'toy', features, [example])
  with pytest.raises(UserError, match=told):
    opened(tmp_path, 'toy')[0]
