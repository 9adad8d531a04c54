"""Sources as TFDS sets: what was written is read, here and by TFDS itself."""

import dataclasses
import json
import resource

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from glip_jax.data import tfds_writing
from glip_jax.data.sources import protocol, table
from glip_jax.errors import UserError

NAMES = 'red', 'blue square', 'large star'
CAPTION = 'a red circle on a blue square'


@pytest.fixture(scope='module')
def specs(tmp_path_factory):
  """The same images as COCO, LVIS, MDETR and ODVG."""
  folder = tmp_path_factory.mktemp('written')
  rng = np.random.default_rng(0)
  images, boxes, lines = [], [], []
  for n, suffix in enumerate(('jpg', 'png', 'bmp', 'jpg')):
    pixels = rng.integers(0, 256, (20 + n, 30, 3)).astype(np.uint8)
    exif = Image.Exif()
    if n == 3:
      exif[0x0112] = 6
    file = f'{n}.{suffix}'
    Image.fromarray(pixels).save(folder / file, exif=exif)
    lists = {'neg_category_ids': [2], 'not_exhaustive_category_ids': [0]}
    images.append(
        {'id': f'x{n}', 'file_name': file, 'caption': CAPTION} | lists
    )
    for k in range(n):
      box = {'image_id': f'x{n}', 'category_id': k % 2, 'iscrowd': int(k == 1)}
      spans = ([[2, 12]], [[18, 29]], [[2, 5], [18, 22]])[k]
      boxes.append(box | {'bbox': [3, 2, 9, 40], 'tokens_positive': spans})
    box = {'bbox': [1, 2, 9, 8], 'label': 1, 'category': 'blue square'}
    region = {'bbox': [1, 2, 9, 8], 'phrase': 'blue square'}
    kind = (
        {'detection': {'instances': [box]}}
        if n % 2
        else {'grounding': {'caption': CAPTION, 'regions': [region]}}
    )
    lines.append({'filename': file} | kind)
  categories = [{'id': n, 'name': name} for n, name in enumerate(NAMES)]
  content = {'images': images, 'annotations': boxes, 'categories': categories}
  (folder / 'all.json').write_text(json.dumps(content))
  (folder / 'all.jsonl').write_text('\n'.join(map(json.dumps, lines)))
  files = {'images': str(folder), 'annotations': str(folder / 'all.json')}
  odvg = files | {'annotations': str(folder / 'all.jsonl')}
  world = {
      'source': 'shapes',
      'split': 'train',
      'num_images': 3,
      'image_size': 48,
  }
  world |= {'prompts': {'partial': 1.0}, 'unnamed': True}
  own = {kind: files | {'source': kind} for kind in ('coco', 'lvis', 'mdetr')}
  return own | {'odvg': odvg, 'unnamed': world}


@pytest.mark.parametrize('kind', ['coco', 'lvis', 'mdetr', 'odvg', 'unnamed'])
def test_what_was_written_is_read(specs, tmp_path, kind):
  source = table.open_source(specs[kind])
  tfds_writing.write({'val': source}, tmp_path, name='my_set')
  spec = {'source': 'tfds', 'directory': str(tmp_path), 'dataset': 'my_set'}
  copy = table.open_source(spec | {'split': 'val'})
  assert len(copy) == len(source) >= 3
  assert protocol.is_detection(copy) == protocol.is_detection(source)
  assert protocol.is_federated(copy) == protocol.is_federated(source)
  for index in range(len(source)):
    first, second = copy[index], source[index]
    for field in dataclasses.fields(second):
      one, other = (getattr(each, field.name) for each in (first, second))
      if field.name == 'boxes':
        np.testing.assert_allclose(one, other, atol=1e-4)
      elif isinstance(other, np.ndarray):
        np.testing.assert_array_equal(one, other)
      else:
        assert one == other
    if kind == 'lvis':
      assert copy.absent(index) == source.absent(index)
      assert copy.not_exhaustive(index) == source.not_exhaustive(index)
  if kind == 'coco':
    assert copy.names == source.names
    assert copy.image_file(0) == source.image_file(0)
    assert copy.image_file(3)[:4] == b'\x89PNG'


def test_tfds_reads_it_by_itself(specs, tmp_path):
  source = table.open_source(specs['coco'])
  tfds_writing.write({'train': source, 'val': source}, tmp_path, name='my_set')
  examples = tfds.data_source('my_set', split='val', data_dir=tmp_path)
  assert len(examples) == 4
  example = examples[3]
  np.testing.assert_array_equal(example['image'], source[3].image)
  assert example['image/id'] == b'x3'
  assert list(example['objects']['label']) == [0, 1, 0]
  features = examples.dataset_info.features
  assert tuple(features['objects']['label'].names) == NAMES


def test_what_cannot_be_a_set_is_refused(specs, tmp_path):
  coco, mdetr = (table.open_source(specs[kind]) for kind in ('coco', 'mdetr'))
  with pytest.raises(UserError, match="name='My set' cannot be that"):
    tfds_writing.write({'train': coco}, tmp_path, name='My set')
  with pytest.raises(UserError, match='train, val are of different kinds'):
    tfds_writing.write({'train': coco, 'val': mdetr}, tmp_path, name='my_set')
  tfds_writing.write({'train': coco}, tmp_path, name='my_set')
  with pytest.raises(UserError, match='1.0.0 is there already'):
    tfds_writing.write({'train': coco}, tmp_path, name='my_set')


@pytest.mark.parametrize(
    'name, split, told',
    [
        ('voc', 'train', "name='voc' is a set of the catalogue"),
        ('my_set', 'all', "'all' cannot be the name of a TFDS split"),
        ('my_set', 'a.b', "'a.b' cannot be the name"),
        ('my_set', 'train[1]', 'cannot be the name'),
        ('my_set', 'a b', 'cannot be the name'),
    ],
)
def test_names_that_tfds_does_not_read_are_refused(
    specs, tmp_path, name, split, told
):
  source = table.open_source(specs['coco'])
  with pytest.raises(UserError, match=told):
    tfds_writing.write({split: source}, tmp_path, name=name)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['a\nb', 'a\rb'])
def test_classes_that_tfds_would_change_are_refused(specs, tmp_path, name):
  spec = specs['coco'] | {'class_map': (('red', name),)}
  source = table.open_source(spec)
  with pytest.raises(UserError, match='class .* rename it by class_map='):
    tfds_writing.write({'train': source}, tmp_path, name='my_set')


def test_all_readers_see_the_same_of_any_mode(tmp_path):
  rng = np.random.default_rng(0)
  plain = Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8))
  clear = plain.convert('RGBA')
  clear.putalpha(100)
  marked = plain.convert('P')
  marked.info['transparency'] = 3
  files = {
      'gray.jpg': plain.convert('L'),
      'cmyk.jpg': plain.convert('CMYK'),
      'clear.png': clear,
      'gray_clear.png': clear.convert('LA'),
      'palette.png': plain.convert('P'),
      'marked.png': marked,
      'bits.png': plain.convert('1'),
  }
  for name, image in files.items():
    image.save(tmp_path / name)
  content = {
      'images': [{'id': n, 'file_name': n} for n in files],
      'annotations': [
          {'image_id': n, 'category_id': 1, 'bbox': [1, 1, 9, 9]} for n in files
      ],
      'categories': [{'id': 1, 'name': 'red'}],
  }
  (tmp_path / 'all.json').write_text(json.dumps(content))
  source = table.open_source({'annotations': str(tmp_path / 'all.json')})
  tfds_writing.write({'train': source}, tmp_path, name='modes')
  examples = tfds.data_source('modes', split='train', data_dir=tmp_path)
  for index, name in enumerate(files):
    np.testing.assert_array_equal(
        examples[index]['image'], source[index].image, err_msg=name
    )


def test_what_a_killed_run_left_is_removed(specs, tmp_path):
  left = tmp_path / 'my_set' / 'incomplete.ABCDEF_1.0.0'
  left.mkdir(parents=True)
  (left / 'half').touch()
  source = table.open_source(specs['coco'])
  tfds_writing.write({'train': source}, tmp_path, name='my_set')
  assert [path.name for path in left.parent.iterdir()] == ['1.0.0']


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(specs, tmp_path):
  source = table.open_source(specs['coco'])
  (tmp_path / 'my_set').touch()
  with pytest.raises(UserError, match='my_set cannot be written .*Not a direc'):
    tfds_writing.write({'train': source}, tmp_path, name='my_set')
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
  try:
    told = 'other cannot be written .*too large.*make room'
    with pytest.raises(UserError, match=told) as caught:
      tfds_writing.write({'train': source}, tmp_path, name='other')
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert '\n' not in str(caught.value)
  assert not list((tmp_path / 'other').iterdir())


def test_a_broken_image_is_left_out_or_refused_in_one_line(tmp_path):
  for name in 'a', 'b':
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f'{name}.png')
  whole = (tmp_path / 'b.png').read_bytes()
  (tmp_path / 'b.png').write_bytes(whole[:300])
  content = {
      'images': [{'id': n, 'file_name': f'{n}.png'} for n in 'ab'],
      'annotations': [
          {'image_id': 'a', 'category_id': 1, 'bbox': [1, 1, 9, 9]}
      ],
      'categories': [{'id': 1, 'name': 'red'}],
  }
  (tmp_path / 'all.json').write_text(json.dumps(content))
  source = table.open_source({'annotations': str(tmp_path / 'all.json')})
  with pytest.raises(UserError, match='b.png cannot be read') as caught:
    tfds_writing.write(
        {'train': source}, tmp_path, name='one', bad_records='raise'
    )
  assert '\n' not in str(caught.value)
  tfds_writing.write({'train': source}, tmp_path, name='one')
  spec = {'source': 'tfds', 'directory': str(tmp_path), 'dataset': 'one'}
  assert len(table.open_source(spec)) == 1
