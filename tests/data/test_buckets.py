"""Batches that are planned before they are read: shapes, order, positions."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image
from small_world import check_equal, config_of

from glip_jax.data import buckets, order, pipeline, settings, stream
from glip_jax.data.reading import Reader
from glip_jax.data.training_sources import open_training
from glip_jax.errors import UserError

SIZES = ((64, 34), (34, 64), (40, 64), (64, 64), (30, 64))  # (h, w)
SHAPES = ((64, 32, 24), (32, 64, 24), (64, 64, 12), (64, 64, 24))
NUM_IMAGES = 20


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A COCO file of images of several shapes, each with two boxes."""
  path = tmp_path_factory.mktemp('shapes')
  rng = np.random.default_rng(0)
  images, annotations = [], []
  for number in range(NUM_IMAGES):
    height, width = SIZES[number % len(SIZES)]
    pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path / f'{number}.png')
    images.append({
        'id': number,
        'file_name': f'{number}.png',
        'height': height,
        'width': width,
    })
    for label in rng.choice(6, 2, replace=False):
      annotations.append({
          'id': len(annotations) + 1,
          'image_id': number,
          'category_id': int(label),
          'bbox': [4, 4, 20, 20],
      })
  names = ('red', 'green', 'blue', 'circle', 'star', 'large red triangle')
  content = {
      'images': images,
      'annotations': annotations,
      'categories': [{'id': i, 'name': n} for i, n in enumerate(names)],
  }
  (path / 'train.json').write_text(json.dumps(content))
  return path


def _config(folder, **fields):
  spec = {'annotations': str(folder / 'train.json'), 'images': str(folder)}
  own = {
      'num_phrases': 6,
      'image_size': (64, 64),
      'buckets': SHAPES,
      'draw_names': {'on': True, 'full': 0.3},
      'shuffle_names': False,
      'augment': {'flip': 0.5, 'contrast': 0.2},
  }
  return config_of(spec, **(own | fields))


def _stream(config, **arguments):
  arguments = {'batch_size': 4, 'seed': 3} | arguments
  return stream.train_stream(open_training(config), config, **arguments)


def _take(batches, count):
  return list(itertools.islice(batches, count))


def test_every_batch_has_one_of_the_shapes_and_all_occur(folder):
  batches = _take(_stream(_config(folder)), 30)
  shapes = settings.buckets(settings.read_data(_config(folder)))
  found = [buckets.of_batch(batch) for batch in batches]
  assert set(found) <= set(shapes) and len(set(found)) > 2
  for batch, (canvas, num_tokens) in zip(batches, found, strict=True):
    assert (batch.extent <= canvas).all()
    assert batch.targets.tokens.shape[-1] == num_tokens
    # What is in an image is named, and its tokens are where its phrase is.
    valid = batch.targets.valid
    assert batch.targets.tokens.any(axis=-1)[valid].all()
    assert (valid.sum(axis=1) == 2).all()


def test_a_pass_has_every_record_once_whatever_waits(folder):
  batches = _take(_stream(_config(folder)), 40)
  ids = np.concatenate([batch.id for batch in batches])
  counts = np.bincount(ids, minlength=NUM_IMAGES)
  # 160 records are eight passes; fewer than a batch of each shape wait.
  assert counts.min() >= 6 and counts.sum() == 160
  assert counts.max() <= 9


def test_prompts_and_images_waste_least(folder):
  def chosen(**drawn):
    config = _config(folder, draw_names=drawn | {'on': True})
    sources = open_training(config)
    reader = Reader(sources, settings.read_data(config), seed=3)
    places = order.Order(sources, 3)
    return {
        (SIZES[places[position].index % len(SIZES)], reader.choose(position))
        for position in range(2 * NUM_IMAGES)
    }

  long = {(64, 34): 0, (34, 64): 1, (40, 64): 1, (30, 64): 1, (64, 64): 3}
  assert chosen(full=1.0) == set(long.items())
  # Two names are few tokens.
  short = long | {(64, 64): 2}
  assert chosen(full=0.0, none=1.0) == set(short.items())


def test_no_bucket_means_one(folder):
  config = _config(folder, buckets=())
  (shape,) = settings.buckets(settings.read_data(config))
  assert shape == buckets.Bucket((64, 64), 24)
  assert {buckets.of_batch(b) for b in _take(_stream(config), 8)} == {shape}


def test_a_stream_goes_on_from_json_bit_for_bit(folder):
  config = _config(folder)
  iterator = _stream(config)
  _take(iterator, 7)
  state = json.loads(json.dumps(iterator.get_state()))
  assert any(state['waiting'])
  expected = _take(iterator, 9)
  again = _stream(config)
  again.set_state(state)
  check_equal(_take(again, 9), expected)
  assert again.get_state() == iterator.get_state()


def test_processes_and_workers_share_the_batches_of_one(folder):
  config = _config(folder)
  whole = _take(_stream(config), 6)
  halves = [
      _take(_stream(config, batch_size=2, process_index=n, process_count=2), 6)
      for n in range(2)
  ]
  for batch, *parts in zip(whole, *halves, strict=True):
    np.testing.assert_array_equal(
        batch.image, np.concatenate([part.image for part in parts])
    )
  # Half of the way with one worker, the rest with threads of this process.
  worked = _stream(config | {'num_workers': 1})
  try:
    first = _take(worked, 3)
    state = worked.get_state()
  finally:
    worked.close()
  rest = _stream(config)
  rest.set_state(state)
  check_equal(first + _take(rest, 3), whole)


def test_a_broken_record_is_replaced_the_same_everywhere(folder, tmp_path):
  for file in folder.iterdir():
    (tmp_path / file.name).write_bytes(file.read_bytes())
  (tmp_path / '6.png').write_bytes(b'\x89PNG')
  config = _config(tmp_path)
  whole = _take(_stream(config), 12)
  ids = np.concatenate([batch.id for batch in whole])
  assert 6 not in ids and 7 in ids
  half = _take(_stream(config, batch_size=2, process_count=2), 12)
  for batch, part in zip(whole, half, strict=True):
    np.testing.assert_array_equal(batch.image[:2], part.image)


def test_a_position_of_other_buckets_is_refused(folder):
  iterator = _stream(_config(folder))
  _take(iterator, 5)
  other = _stream(_config(folder, buckets=SHAPES[1:]))
  with pytest.raises(UserError, match='of 4 buckets.*config.data.buckets'):
    other.set_state(iterator.get_state())


def test_the_plan_is_the_same_however_it_is_asked():
  def make():
    return buckets.Plan(
        lambda position: position * 7 % 5 % 3, num_buckets=3, batch_size=4
    )

  one, other = make(), make()
  planned = [one[number] for number in range(600)]
  assert [other[number] for number in (599, 3, 300)] == [
      planned[number] for number in (599, 3, 300)
  ]
  later = make()
  later.start_from(json.loads(json.dumps(one.state(450))))
  assert [later[number] for number in range(450, 600)] == planned[450:]
  taken = [p for batch in planned for p in batch.positions]
  assert len(set(taken)) == 2400
  assert set(range(2390)) <= set(taken)


@pytest.mark.parametrize(
    'bucket, message',
    [
        ((60, 64, 24), r'holds \(60, 64, 24\): each must be \(height, width'),
        ((64, 64), r'\(64, 64\) must be a tuple of 3'),
        ((64, 64, 25), 'at most 25 tokens, prompts num_tokens=24: the longest'),
    ],
)
def test_shapes_that_cannot_be_are_refused(folder, bucket, message):
  with pytest.raises(UserError, match=message):
    _stream(_config(folder, buckets=(bucket,)))


def test_copies_are_passes_and_all_or_none(folder):
  spec = {'annotations': str(folder / 'train.json'), 'images': str(folder)}
  world = {'split': 'train', 'num_images': 10, 'image_size': 64}
  train = {
      'own': spec | {'copies': 2.0},
      'world': world | {'source': 'shapes', 'copies': 1.0},
  }
  opened = open_training(
      _config(folder, buckets=(), num_tokens=64) | {'train': train}
  )
  assert [each.share for each in opened.train] == [40.0, 10.0]
  train['world'].pop('copies')
  with pytest.raises(UserError, match='train.world have no `copies`'):
    open_training(_config(folder, buckets=()) | {'train': train})


def test_an_evaluation_reads_every_record_once_in_its_bucket(folder):
  config = _config(folder, draw_names={'on': False})
  source = open_training(config).train[0].source
  batches = list(pipeline.eval_batches(source, config, batch_size=3))
  ids = np.concatenate([batch.id for batch in batches])
  assert sorted(ids[ids >= 0]) == list(range(NUM_IMAGES))
  shapes = {buckets.of_batch(batch) for batch in batches}
  assert len(shapes) == 3 and all(shape.num_tokens == 24 for shape in shapes)
  # An image is what it is in a canvas of its own, padding aside.
  square = config | {'buckets': ()}
  for batch in pipeline.eval_batches(source, square, batch_size=NUM_IMAGES):
    whole = batch
  tall = next(b for b in batches if b.image.shape[1:3] == (64, 32))
  row = int(np.flatnonzero(tall.id >= 0)[0])
  height, width = tall.size[row]
  assert (height, width) == (60, 32)
  assert whole.id.tolist() == list(range(NUM_IMAGES))
  parts = [
      list(
          pipeline.eval_batches(
              source, config, batch_size=2, process_index=n, process_count=2
          )
      )
      for n in range(2)
  ]
  for one, other in zip(*parts, strict=True):
    assert buckets.of_batch(one) == buckets.of_batch(other)
  ids = np.concatenate([batch.id for part in parts for batch in part])
  assert sorted(ids[ids >= 0]) == list(range(NUM_IMAGES))


def test_short_sides_are_drawn_and_planned(folder):
  config = _config(
      folder,
      resize=(64, 64),
      buckets=((32, 32, 24), (64, 64, 24)),
      augment={'short_sides': (16, 32, 64)},
  )
  batches = _take(_stream(config), 20)
  sizes = {
      (batch.image.shape[1], int(size.max()))
      for batch in batches
      for size in batch.size
  }
  assert {side for side, _ in sizes} == {32, 64}
  assert all(longest <= side for side, longest in sizes)
  assert min(longest for side, longest in sizes if side == 64) > 32
  with pytest.raises(UserError, match='short_sides.*resize is empty'):
    _stream(_config(folder, augment={'short_sides': (16,)}))


def test_chunks_of_a_list_are_read_as_they_are_planned():
  # Of twenty names the last is a chunk of its own, for the shorter prompt.
  world = {'source': 'shapes', 'split': 'train', 'image_size': 32}
  data = settings.read_data(
      config_of(world | {'prompts': {'all': 1.0}}, num_tokens=64)
      | {'buckets': ((32, 32, 12), (32, 32, 64)), 'num_phrases': 20}
      | {'draw_names': {'on': True, 'chunks': True, 'most': 19}}
  )
  reader, read = Reader(open_training(data), data, seed=0), set()
  for position in range(12):
    bucket = reader.choose(position)
    prompt = reader.read(position, bucket).prompt
    read.add((bucket, int(prompt.spans.any(axis=-1).sum())))
  assert read == {(0, 1), (1, 19)}
