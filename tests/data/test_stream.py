"""The training stream: deterministic, resumable, mixed and guarded."""

import itertools
import json

import ml_collections
import numpy as np
import pytest
from small_world import NUM_IMAGES, check_equal, config_of, spec_of

from glip_jax.data import pipeline, stream
from glip_jax.data.sources import annotation_file, table
from glip_jax.data.training_sources import open_training
from glip_jax.errors import UserError


def _take(iterator, count):
  return list(itertools.islice(iterator, count))


def _train(config, **arguments):
  arguments = {'batch_size': 2, 'seed': 0} | arguments
  sources = open_training(config)
  return stream.train_stream(sources, config, **arguments)


def test_batches_have_the_shapes_of_theconfig_of(world):
  config = ml_collections.ConfigDict(config_of(spec_of(world)))
  (batch,) = _take(_train(config), 1)
  assert batch.image.shape == (2, 32, 32, 3) and batch.image.dtype == np.uint8
  assert batch.prompt.spans.shape == (2, 4, 24)
  assert batch.targets.tokens.shape == (2, 3, 24)
  assert batch.targets.boxes.dtype == np.float32
  assert batch.id.dtype == batch.size.dtype == batch.extent.dtype == np.int32


def test_the_stream_follows_from_the_seed(world):
  config = config_of(spec_of(world))
  batches = _take(_train(config), 5)
  check_equal(batches, _take(_train(config), 5))
  others = _take(_train(config, seed=1), 5)
  assert any(
      (a.image != b.image).any() for a, b in zip(batches, others, strict=True)
  )


def test_every_pass_has_every_record_in_a_new_order_and_look(world):
  config = config_of(spec_of(world))
  first, second = _take(_train(config, batch_size=NUM_IMAGES), 2)
  assert sorted(first.id) == sorted(second.id) == list(range(NUM_IMAGES))
  assert first.id.tolist() != second.id.tolist()
  images = first.image[first.id.argsort()], second.image[second.id.argsort()]
  assert (images[0] != images[1]).any(axis=(1, 2, 3)).sum() >= NUM_IMAGES - 1


@pytest.mark.parametrize('source', ['coco', 'mdetr'])
def test_a_restored_iterator_goes_on_bit_for_bit(world, source):
  # Broken records are in the way, before and after the state is taken.
  config = config_of(spec_of(world, 'bad', source))
  iterator = _train(config)
  _take(iterator, 3)
  state = json.loads(json.dumps(iterator.get_state()))
  expected = _take(iterator, 6)
  restored = _train(config)
  restored.set_state(state)
  check_equal(_take(restored, 6), expected)


@pytest.mark.slow
def test_workers_give_the_same_records_and_resume_bit_for_bit(world):
  config = config_of(spec_of(world, 'bad', 'mdetr'), num_workers=2)
  iterator = _train(config)
  try:
    started = _take(iterator, 3)
    state = iterator.get_state()
    expected = _take(iterator, 4)
    iterator.set_state(state)
    check_equal(_take(iterator, 4), expected)
  finally:
    iterator.close()
  alone = _take(_train(config_of(spec_of(world, 'bad', 'mdetr'))), 7)
  check_equal(started + expected, alone)


def test_processes_share_one_stream(world):
  config = config_of(spec_of(world))
  whole = _take(_train(config, batch_size=4), 3)
  parts = [
      _take(_train(config, process_index=n, process_count=2), 3)
      for n in range(2)
  ]
  for batch, first, second in zip(whole, *parts, strict=True):
    check_equal([batch.image[:2]], [first.image])
    check_equal([batch.image[2:]], [second.image])


def test_mixtures_keep_their_weights(world):
  train = {
      'lists': spec_of(world, weight=3.0),
      'captions': spec_of(world, source='mdetr', weight=1.0),
      'off': spec_of(world, 'gone', weight=0.0),
  }
  batches = _take(_train(config_of(train), batch_size=8), 4)
  tokens = np.concatenate([batch.prompt.mask.sum(axis=1) for batch in batches])
  # The caption has nine tokens with [CLS] and [SEP], the list of names seven.
  assert sorted(set(tokens.tolist())) == [7, 9]
  assert (tokens == 9).mean() == 0.25


def test_a_curriculum_comes_first_and_is_resumed_like_the_rest():
  def spec(**prompts):
    return dict(source='shapes', split='train', image_size=32, prompts=prompts)

  config = config_of(spec(list=1.0)) | {
      'num_tokens': 64,
      'num_phrases': 20,
      'num_boxes': 8,
      'curriculum': {
          'a': spec(caption=1.0) | {'until': 8},
          'b': spec(relation=1.0) | {'until': 5},
      },
  }
  iterator = _train(config, batch_size=1)
  phrases = [_num_phrases(batch) for batch in _take(iterator, 3)]
  state = iterator.get_state()
  rest = _take(iterator, 20)
  phrases += [_num_phrases(batch) for batch in rest]
  assert phrases[:5] == [2] * 5
  assert 2 < max(phrases[5:8]) <= 8
  assert max(phrases[8:]) == 20
  again = _train(config, batch_size=1)
  again.set_state(state)
  check_equal(_take(again, 20), rest)


def _num_phrases(batch):
  return int(batch.prompt.spans.any(axis=-1).sum())


def test_a_stage_of_nothing_is_refused(world):
  config = config_of(spec_of(world)) | {'curriculum': {'a': spec_of(world)}}
  with pytest.raises(UserError, match='curriculum.a.until=0 must be over 0'):
    _train(config)


def test_negative_weights_are_refused(world):
  train = {'a': spec_of(world, weight=-1.0), 'b': spec_of(world)}
  with pytest.raises(UserError, match='train.a.weight=-1.0 must be 0 or more'):
    _train(config_of(train))
  with pytest.raises(UserError, match='train has no weight above 0'):
    _train(config_of({'a': spec_of(world, weight=0.0)}))


def test_each_file_is_parsed_once_for_all_streams_and_stages(
    world, monkeypatch
):
  parsed = []

  def counted(path, **arguments):
    parsed.append(path)
    return read_json(path, **arguments)

  read_json = annotation_file.read_json
  monkeypatch.setattr(annotation_file, 'read_json', counted)
  config = config_of(
      {'a': spec_of(world), 'b': spec_of(world, shuffle_names='no')},
      curriculum={'c': spec_of(world, until=4)},
  )
  sources = open_training(config)
  for _ in range(2):
    _take(stream.train_stream(sources, config, batch_size=2, seed=0), 3)
  assert len(parsed) == 1
  assert len({id(each.source) for each in sources.train}) == 1


def test_transforms_may_differ_by_source(world):
  plain = {'on': False}
  train = {
      'own': spec_of(world, augment={'brightness': 1.0}, shuffle_names='no'),
      'common': spec_of(world, 'good', 'mdetr'),
  }
  config = config_of(train, augment=plain)
  (batch,) = _take(_train(config, batch_size=2 * NUM_IMAGES), 1)
  unchanged = config_of(spec_of(world), augment=plain)
  (whole,) = _take(_train(unchanged, batch_size=NUM_IMAGES), 1)
  alone = dict(zip(whole.id.tolist(), whole.image, strict=True))
  changed = {7: [], 9: []}
  for row, number in enumerate(batch.id.tolist()):
    same = np.array_equal(batch.image[row], alone[number])
    changed[int(batch.prompt.mask[row].sum())].append(not same)
  # The list of names has seven tokens and is brightened, the caption nine.
  assert sum(changed[7]) >= NUM_IMAGES - 1
  assert len(changed[9]) == NUM_IMAGES and not any(changed[9])


def test_names_are_shuffled_for_the_sources_that_say_so(world):
  def orders(shuffled, own):
    config = config_of(
        spec_of(world, shuffle_names=own), shuffle_names=shuffled
    )
    batches = _take(_train(config, batch_size=NUM_IMAGES), 2)
    return {tuple(ids.tolist()) for b in batches for ids in b.prompt.ids}

  assert len(orders(False, '')) == len(orders(True, 'no')) == 1
  assert len(orders(True, '')) == len(orders(False, 'yes')) == 2


def test_broken_records_are_skipped_named_and_counted(world, caplog):
  config = config_of(spec_of(world, 'bad', 'mdetr'))
  batches = _take(_train(config), 10)
  ids = {int(number) for batch in batches for number in batch.id}
  assert ids == {0, 1, 3, 5, 6}
  lines = [r.getMessage() for r in caplog.records if 'left out' in r.message]
  assert len(lines) == 2
  assert any('record 102' in line and 'cut.png' in line for line in lines)
  assert any('record 104' in line and 'tokens' in line for line in lines)
  assert {line.split(' left out')[0] for line in lines} == {
      'bad record 1',
      'bad record 2',
  }


@pytest.mark.parametrize(
    'source, message', [('coco', 'cut.png'), ('mdetr', 'cut.png|num_tokens')]
)
def test_broken_records_are_refused_by_name(world, source, message):
  config = config_of(spec_of(world, 'bad', source), bad_records='raise')
  with pytest.raises(UserError, match=f'record 10[24].*({message})'):
    _take(_train(config), 10)


def test_workers_refuse_by_name_too(world):
  config = config_of(spec_of(world, 'bad'), bad_records='raise', num_workers=1)
  iterator = _train(config)
  try:
    with pytest.raises(UserError, match='record 102.*cut.png'):
      _take(iterator, 10)
  finally:
    iterator.close()


def test_a_set_without_a_usable_record_is_refused_instead_of_searched(world):
  config = config_of(spec_of(world, source='mdetr'), num_tokens=6)
  with pytest.raises(UserError, match='none of the 7 records is usable'):
    _take(_train(config), 1)


def test_a_vocabulary_that_does_not_fit_is_refused_at_once(world):
  config = config_of(spec_of(world), num_tokens=6)
  with pytest.raises(UserError, match='all 2 classes.*names= or exclude='):
    _train(config)


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'bad_records': 'ignore'}, "bad_records='ignore' must be one of"),
        ({'tokenizer': 'gone.txt'}, "tokenizer='gone.txt' does not exist"),
        ({'image_size': (128,)}, r'image_size=\(128,\) must be a tuple of 2'),
        ({'resize': (800,)}, r'resize=\(800,\) must be empty or \(short, lo'),
        ({'image_size': (48, 64)}, r'image_size=\(48, 64\) must be'),
    ],
)  # pyformat: disable
def test_a_wrong_setting_is_refused_at_once(world, fields, message):
  with pytest.raises(UserError, match=message):
    _train(config_of(spec_of(world), **fields))


def test_the_embedded_world_is_a_source_like_any_other():
  spec = {'split': 'train', 'num_images': 3, 'image_size': 64}
  config = config_of(spec, num_tokens=128, num_phrases=64, num_boxes=10)
  (batch,) = _take(_train(config), 1)
  assert batch.targets.valid.any(axis=1).all()


def test_a_real_set_trains_and_evaluates(shared):
  folder = shared / 'data' / 'raccoon'
  spec = {
      'annotations': str(folder / 'val.json'),
      'images': str(folder / 'images'),
  }
  config = config_of(spec, bad_records='raise', resize=(48, 64))
  config['image_size'] = (64, 64)
  source = table.open_source(spec)
  batches = list(pipeline.eval_batches(source, config, batch_size=16))
  boxes = sum(int(batch.targets.valid.sum()) for batch in batches)
  assert boxes == 44
  assert all((batch.size <= 64).all() for batch in batches)


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'shufle_names': True}, "config.data has no field 'shufle_names'"),
        ({'augment': {'flips': 0.5}}, "data.augment has no field 'flips'"),
        (
            {'augment': {'flip': 5}},
            'data.augment.flip=5.0 must be 0 or more, 1',
        ),
        (
            {'augment': {'scale': (0, 1.4)}},
            r'scale=\(0, 1.4\): 0.0 must be more',
        ),
        ({'augment': {'scale': (2, 1)}}, r'scale=\(2.0, 1.0\) must be \(low'),
        ({'train': {'split': 'train', 'augment': {'flip': 2}}}, 'train.augmen'),
    ],
)
def test_fields_that_cannot_be_meant_are_refused(world, fields, message):
  with pytest.raises(UserError, match=message):
    _train(config_of(spec_of(world)) | fields)
