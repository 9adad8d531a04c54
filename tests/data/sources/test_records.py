"""Packed sources: what was packed comes back, and damage is named."""

import collections
import dataclasses
import io
import itertools
import json
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from glip_jax.data import images, packing, reading, stream
from glip_jax.data.sources import protocol, record_files, record_tables, table
from glip_jax.data.sources.odinw_sets import ODINW
from glip_jax.data.training_sources import open_training
from glip_jax.errors import UserError

NAMES = 'red', 'green', 'blue', 'circle', 'star', 'large red triangle'
WORDS = 'striped', 'cyan', 'gray', 'disk', 'cross', 'huge'
CAPTION = 'a red circle on a blue square'
SPANS = [[2, 12]], [[18, 29]], [[2, 5], [18, 22]]
COUNT = 9
SHAPES = (64, 32, 12), (32, 64, 12), (64, 64, 12), (64, 64, 24)


def _images(folder, rng):
  """Files of several formats and sizes; one is turned by its EXIF."""
  for n in range(COUNT):
    size = (64, 30), (34, 64), (50, 50)
    height, width = size[n % 3]
    pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    image, file = Image.fromarray(pixels), f'{n}.jpg' if n % 2 else f'{n}.png'
    exif = Image.Exif()
    if n in (3, 7):
      exif[0x0112] = 6
    image.save(folder / file, exif=exif)
    # Of 3 the stored size is stated, so it is read unturned; of 7 it is not.
    stated = {} if n in (0, 7) else {'height': height, 'width': width}
    yield {'id': f'x{n}' if n == 4 else 10 * n, 'file_name': file} | stated


def _content(folder):
  rng = np.random.default_rng(0)
  images, boxes = [], []
  for n, image in enumerate(_images(folder, rng)):
    lists = {'neg_category_ids': [3, 5], 'not_exhaustive_category_ids': [1]}
    images.append(image | {'caption': f'{CAPTION} {n}'} | lists)
    for k in range(n % 4):
      label = int(rng.integers(6))
      boxes.append({
          'image_id': image['id'],
          'category_id': label,
          # One leaves its image, one is outside of it, one has dust.
          'bbox': [[5, 4, 20.123456789, 9], [20, 40, 80, 80], [500, 1, 9, 9]][
              k
          ],
          'area': 17.5,
          'iscrowd': int(label == 2),
          'tokens_positive': SPANS[k],
      })
  categories = [
      {
          'id': n,
          'name': name,
          'frequency': 'rcf'[n % 3],
          'synonyms': [name, 'x'],
      }
      for n, name in enumerate(NAMES)
  ]
  return {'images': images, 'annotations': boxes, 'categories': categories}


def _lines(content):
  """The same as ODVG: lists and sentences in turn."""
  for n, image in enumerate(content['images']):
    own = {'filename': image['file_name']}
    xyxy = [1, 2, 20 + n, 30]
    if n % 2:
      box = {'bbox': xyxy, 'label': n % 6, 'category': NAMES[n % 6]}
      yield own | {'detection': {'instances': [box]}}
    else:
      region = {'bbox': xyxy, 'phrase': 'blue square'}
      yield own | {'grounding': {'caption': CAPTION, 'regions': [region]}}


def _shard(path, images):
  with tarfile.open(path, 'w') as archive:
    for file in sorted(images.iterdir()):
      archive.add(file, file.name)
      info = tarfile.TarInfo(f'{file.stem}.txt')
      info.size = len(CAPTION)
      archive.addfile(info, io.BytesIO(CAPTION.encode()))


def _found(content):
  """The same as captions whose boxes were found."""
  for n, image in enumerate(content['images']):
    yield {
        'filename': image['file_name'],
        'caption': CAPTION,
        'bboxes': [[1, 2, 20 + n, 30], [3, 3, 9, 9]],
        'scores': [0.9, 0.2 + n / 10],
        'tokens_positive': [[[2, 12]], [[18, 29]]],
    }


def _xml(folder, stem, corners, entity=''):
  """A file of one box, as VOC and Flickr30k Entities have them."""
  folder.mkdir(parents=True, exist_ok=True)
  keys = 'xmin', 'ymin', 'xmax', 'ymax'
  inside = ''.join(
      f'<{k}>{v}</{k}>' for k, v in zip(keys, corners, strict=True)
  )
  name = entity or ('star' if corners[0] % 2 else 'red')
  extra = '' if entity else f'<difficult>{corners[0] % 3 // 2}</difficult>'
  (folder / f'{stem}.xml').write_text(
      f'<annotation><object><name>{name}</name>{extra}'
      f'<bndbox>{inside}</bndbox></object></annotation>'
  )


def _folders(folder, content, images):
  """The same in folders: VOC, Flickr30k Entities, and a set of ODinW."""
  (folder / 'flickr' / 'Sentences').mkdir(parents=True)
  for n, image in enumerate(content['images']):
    _xml(folder / 'voc' / 'Annotations', n, (n + 1, 2, n + 20, 30))
    if image['file_name'].endswith('.jpg'):
      _xml(folder / 'flickr' / 'Annotations', n, (1, 2, n + 9, 20), '7')
      line = 'the [/EN#7/shape red star] of [/EN#0/notvisual it]'
      (folder / 'flickr' / 'Sentences' / f'{n}.txt').write_text(f'{line}\n' * 2)
  test = folder / 'odinw' / ODINW['Aquarium'].folder / 'test'
  shutil.copytree(images, test)
  boxes = [
      box | {'category_id': box['category_id'] + 1}
      for box in content['annotations']
  ]
  (test / '_annotations.coco.json').write_text(
      json.dumps(content | {'annotations': boxes})
  )


@pytest.fixture(scope='module')
def specs(tmp_path_factory):
  """The same images as sources of several kinds."""
  folder = tmp_path_factory.mktemp('packed')
  images = folder / 'images'
  (folder / 'labels').mkdir()
  images.mkdir()
  content = _content(images)
  (folder / 'all.json').write_text(json.dumps(content))
  (folder / 'all.jsonl').write_text('\n'.join(map(json.dumps, _lines(content))))
  for n in range(COUNT):
    (folder / 'labels' / f'{n}.txt').write_text(f'{n % 3} .4 .5 .3 .{n + 1}')
  (folder / 'data.yaml').write_text('train: images\nnames: [red, blue, star]')
  found = '\n'.join(map(json.dumps, _found(content)))
  (folder / 'found.jsonl').write_text(found)
  _folders(folder, content, images)
  _shard(folder / 'a.tar', images)
  files = {'annotations': str(folder / 'all.json'), 'images': str(images)}
  world = {'source': 'shapes', 'split': 'train', 'num_images': 8}
  world['image_size'] = 48
  return {
      'coco': {'source': 'coco'} | files,
      'lvis': {'source': 'lvis'} | files,
      'mdetr': {'source': 'mdetr'} | files,
      'odvg': {
          'annotations': str(folder / 'all.jsonl'),
          'images': str(images),
      },
      'yolo': {'annotations': str(folder / 'data.yaml'), 'split': 'train'},
      'webdataset': {'source': 'webdataset', 'directory': str(folder)},
      'pseudo_labels': {
          'source': 'pseudo_labels',
          'annotations': str(folder / 'found.jsonl'),
          'images': str(images),
      },
      'voc': {
          'source': 'voc',
          'directory': str(folder / 'voc'),
          'images': str(images),
      },
      'flickr30k': {
          'source': 'flickr30k',
          'directory': str(folder / 'flickr'),
          'images': str(images),
      },
      'odinw': {
          'source': 'odinw',
          'directory': str(folder / 'odinw'),
          'dataset': 'Aquarium',
          'split': 'test',
      },
      'shapes': world,
      'vocabulary': world | {'split': 'heldout', 'prompts': {'all': 1.0}},
      'unnamed': world | {'prompts': {'partial': 1.0}, 'unnamed': True},
  }


KINDS = (
    'coco lvis mdetr odvg yolo webdataset pseudo_labels voc flickr30k odinw'
    ' shapes vocabulary unnamed'
).split()


@pytest.fixture(scope='module')
def packed(specs, tmp_path_factory):
  """The folder that each of them is packed in, in shards of four."""
  made = {}

  def pack(kind):
    if kind not in made:
      made[kind] = tmp_path_factory.mktemp(kind) / 'records'
      source = table.open_source(specs[kind], bad_records='raise')
      packing.pack(source, made[kind], shard_images=4, bad_records='raise')
    return made[kind]

  return pack


def _open(folder, **fields):
  spec = {'directory': str(folder)} | fields
  return table.open_source(spec, bad_records='raise')


def _check_equal(first, second):
  for field in dataclasses.fields(first):
    one, other = (getattr(each, field.name) for each in (first, second))
    if isinstance(one, np.ndarray):
      assert one.dtype == other.dtype
      np.testing.assert_array_equal(one, other)
    else:
      assert one == other


@pytest.mark.parametrize('kind', KINDS)
def test_a_packed_source_gives_what_was_packed(specs, packed, kind):
  source = table.open_source(specs[kind])
  copy = _open(packed(kind))
  data = pickle.dumps(copy)
  assert len(data) < 1000
  copy = pickle.loads(data)
  assert len(copy) == len(source) > 7
  counts = [len(source.truth(index).boxes) for index in range(len(source))]
  assert (protocol.num_boxes(copy) >= counts).all()
  assert any(counts) == (kind != 'webdataset')
  for index in range(len(source)):
    _check_equal(copy[index], source[index])
    _check_equal(copy.truth(index), source.truth(index))
    assert copy.text(index) == source.text(index)
    assert copy.image_id(index) == source.image_id(index)
    size = protocol.image_size(source, index)
    assert protocol.image_size(copy, index) == size
    if (labels := protocol.labels(source, index)) is not None:
      np.testing.assert_array_equal(copy.labels(index), labels)
  is_detection = protocol.is_detection(source)
  assert protocol.is_detection(copy) == is_detection
  if is_detection:
    assert copy.names == source.names
    assert copy.ground_truth() == source.ground_truth()
  for index in (-1, len(source)):
    for read in (copy.__getitem__, copy.truth, copy.image_size):
      with pytest.raises(IndexError):
        read(index)


def test_types_of_phrases_are_kept(specs, packed):
  source = table.open_source(specs['flickr30k'])
  copy = _open(packed('flickr30k'))
  types = [protocol.phrase_types(source, n) for n in range(len(source))]
  assert types[0] == (('shape',),)
  assert [protocol.phrase_types(copy, n) for n in range(len(copy))] == types


def test_a_folder_that_was_packed_without_types_has_none(packed, monkeypatch):
  whole = record_tables.read

  def without(path, **arguments):
    arrays = whole(path, **arguments)
    return {k: v for k, v in arrays.items() if not k.startswith('types')}

  monkeypatch.setattr(record_tables, 'read', without)
  copy = _open(packed('flickr30k'), part=(0, 0.5))
  assert 0 < len(copy) < 8
  assert protocol.phrase_types(copy, 0) == ((),)


def test_image_files_keep_their_bytes(specs, packed):
  source, copy = table.open_source(specs['coco']), _open(packed('coco'))
  for index in range(COUNT):
    assert copy.image_file(index) == source.image_file(index)
  assert copy.image_file(1)[:3] == b'\xff\xd8\xff'
  assert _open(packed('shapes')).image_file(0)[:4] == b'\x89PNG'


def test_a_published_prompt_is_not_packed(specs, tmp_path):
  source = table.open_source(specs['odinw'] | {'published_prompt': True})
  with pytest.raises(UserError, match='not kept: set published'):
    packing.pack(source, tmp_path / 'out')


def test_what_lvis_knows_is_kept(specs, packed):
  source, copy = table.open_source(specs['lvis']), _open(packed('lvis'))
  assert protocol.is_federated(copy)
  assert not protocol.is_federated(_open(packed('coco')))
  assert copy.frequency == source.frequency
  assert copy.synonyms == source.synonyms
  for index in range(COUNT):
    assert copy.absent(index) == source.absent(index)
    assert copy.not_exhaustive(index) == source.not_exhaustive(index)


SELECTED = [
    {'names': ('star', 'red')},
    {'exclude': ('circle',), 'part': (0.3, 0.8)},
    {'class_map': (('circle', 'shape'), ('star', 'shape'), ('red', ''))},
    {'part': (0.5, 1.0), 'part_seed': 3},
]


@pytest.mark.parametrize('selected', SELECTED)
@pytest.mark.parametrize('kind', ['coco', 'lvis'])
def test_classes_and_images_are_selected_as_of_the_source(
    specs, packed, kind, selected
):
  source = table.open_source(specs[kind] | selected)
  copy = _open(packed(kind), **selected)
  assert copy.names == source.names
  assert copy.ground_truth() == source.ground_truth()
  for index in range(len(source)):
    _check_equal(copy[index], source[index])
    if kind == 'lvis':
      assert copy.absent(index) == source.absent(index)
      assert copy.not_exhaustive(index) == source.not_exhaustive(index)


def _batches(spec, **fields):
  config = {
      'tokenizer': 'shapes',
      'num_tokens': 24,
      'num_phrases': 10,
      'num_boxes': 3,
      'image_size': (64, 64),
      'buckets': SHAPES,
      'draw_names': {'on': True, 'full': 0.3},
      'augment': {'flip': 0.5, 'scale': (0.8, 1.2), 'contrast': 0.2},
      'train': spec,
  } | fields
  sources = open_training(config)
  return list(
      itertools.islice(
          stream.train_stream(sources, config, batch_size=2, seed=1), 12
      )
  )


@pytest.mark.parametrize('kind', ['coco', 'lvis', 'mdetr', 'odvg', 'shapes'])
def test_training_from_it_is_training_from_the_source(specs, packed, kind):
  import jax

  fields = {'num_tokens': 64, 'buckets': ()} if kind == 'shapes' else {}
  expected = _batches(specs[kind], **fields)
  found = _batches({'directory': str(packed(kind))}, **fields)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  shapes = {(*b.image.shape[1:3], b.prompt.ids.shape[1]) for b in found}
  assert len(shapes) == 1 if kind == 'shapes' else len(shapes) > 1


@pytest.fixture
def planned(monkeypatch):
  """The lengths of prompts that buckets were chosen for."""
  told, fit = [], reading.fitting.best

  def best(fits, size, num_tokens, short):
    told.append(num_tokens)
    return fit(fits, size, num_tokens, short)

  monkeypatch.setattr(reading.fitting, 'best', best)
  return told


def _check_planned(batches, planned):
  """Batches come by bucket: what is read is among what was planned."""
  read = [int(n) for each in batches for n in each.prompt.mask.sum(axis=1)]
  assert not collections.Counter(read) - collections.Counter(planned)


def test_mosaics_are_planned_as_they_are_read(specs, packed, planned):
  import jax

  fields = {'augment': {'mosaic': 0.6, 'flip': 0.5}, 'num_boxes': 12}
  found = _batches(specs['coco'], **fields)
  _check_planned(found, planned)
  copy = _batches({'directory': str(packed('coco'))}, **fields)
  jax.tree.map(np.testing.assert_array_equal, copy, found)


def test_synonyms_are_drawn_alike_when_planned_and_read(specs, packed, planned):
  rows = json.loads(open(specs['lvis']['annotations']).read())
  for category, word in zip(rows['categories'], WORDS, strict=True):
    category['synonyms'] = [word]
  path = packed('lvis').parent / 'words.json'
  path.write_text(json.dumps(rows))
  drawn = {'on': True, 'full': 0.3, 'synonyms': True}
  spec = specs['lvis'] | {'annotations': str(path)}
  found = _batches(spec, draw_names=drawn)
  _check_planned(found, planned)
  plain = _batches(spec, draw_names={'on': True, 'full': 0.3})
  words = _ids(found) - _ids(plain)
  assert words


def _ids(batches):
  return {n for batch in batches for n in batch.prompt.ids.ravel().tolist()}


def test_a_vocabulary_of_the_world_is_drawn_alike_in_buckets(specs, packed):
  import jax

  shapes = (64, 64, 11), (64, 64, 64)
  fields = {'num_tokens': 64, 'buckets': shapes}
  expected = _batches(specs['vocabulary'], **fields)
  found = _batches({'directory': str(packed('vocabulary'))}, **fields)
  assert {b.prompt.ids.shape[1] for b in expected} == {11, 64}
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def _damaged(packed, tmp_path):
  folder = tmp_path / 'copy'
  shutil.copytree(packed('coco'), folder)
  return folder


def test_missing_and_cut_files_are_named_when_it_is_opened(packed, tmp_path):
  folder = _damaged(packed, tmp_path)
  shard = folder / record_files.shard_name(1, 3)
  data = shard.read_bytes()
  shard.write_bytes(data[:-7])
  told = f'{shard} has {len(data) - 7} bytes of {len(data)}: copy it again'
  with pytest.raises(UserError, match=told):
    _open(folder)
  shard.unlink()
  with pytest.raises(UserError, match=f'{shard} is missing'):
    _open(folder)
  shard.write_bytes(data)
  (folder / 'records.npz').unlink()
  with pytest.raises(UserError, match='records.npz cannot be read .No such'):
    _open(folder)
  (folder / 'records.json').unlink()
  with pytest.raises(UserError, match='holds no records.json: give a folder'):
    _open(folder)


@pytest.mark.parametrize(
    'change, message',
    [
        ({'version': 2}, 'is of version 2, 1 is read: pack the source again'),
        ({'kind': 'other'}, "is damaged .kind 'other'.; copy it again"),
        ({'names': []}, 'names and category_ids differ'),
        ({'table_crc': 7}, 'records.npz cannot be read .its bytes are not'),
        ({'shard_bytes': None}, 'records.json is damaged'),
    ],
)
def test_a_wrong_header_is_refused_in_one_line(
    packed, tmp_path, change, message
):
  path = _damaged(packed, tmp_path) / 'records.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(UserError, match=message) as caught:
    _open(path.parent)
  assert '\n' not in str(caught.value)


def test_a_flipped_byte_is_one_bad_record(packed, tmp_path):
  folder = _damaged(packed, tmp_path)
  shard = folder / record_files.shard_name(1, 3)
  data = bytearray(shard.read_bytes())
  third = _open(folder).image_file(6)
  data[data.index(third) + len(third) // 2] ^= 1
  shard.write_bytes(data)
  source = _open(folder)
  for index in (4, 5, 7):
    assert source.image_file(index)
  with pytest.raises(UserError, match=f'{shard}: image 2 is not what') as told:
    source[6]
  assert '\n' not in str(told.value) and 'copy the shard again' in str(
      told.value
  )
  assert len(source.ground_truth()['images']) == COUNT


def test_a_flipped_byte_that_no_shard_checks_is_found_by_its_crc(packed):
  source = _open(packed('coco'))
  shards = record_files.Shards(packed('coco'), (4, 4, 1))
  with pytest.raises(UserError, match='image 1 .*its CRC is another'):
    shards.read(5, 0)
  assert shards.read(5, int(source._table['crc'][5])) == source.image_file(5)


def test_a_very_large_jpeg_is_packed_with_boxes_in_its_own_pixels(
    tmp_path, monkeypatch
):
  monkeypatch.setattr(images, 'MODERATE_PIXELS', 5000)
  Image.new('RGB', (91, 60)).save(tmp_path / 'a.jpg')
  (tmp_path / 'a.txt').write_text('0 .5 .5 .2 .4')
  (tmp_path / 'data.yaml').write_text('train: .\nnames: [red]')
  spec = {'annotations': str(tmp_path / 'data.yaml'), 'split': 'train'}
  source = table.open_source(spec)
  packing.pack(source, tmp_path / 'packed')
  copy = _open(tmp_path / 'packed')
  assert source[0].image.shape == (30, 46, 3)
  assert source[0].original_size == copy.image_size(0) == (60, 91)
  _check_equal(copy[0], source[0])
  np.testing.assert_array_equal(copy.truth(0).boxes, source.truth(0).boxes)
  assert copy.ground_truth() == source.ground_truth()
