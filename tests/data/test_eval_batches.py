"""Passes over a source: complete, in order, with any number of workers."""

import multiprocessing

import numpy as np
import pytest
from small_world import NUM_IMAGES, check_equal, config_of, spec_of

from glip_jax.data import guard, pipeline, settings
from glip_jax.data.sources import table
from glip_jax.errors import UserError


def test_evaluation_sees_every_record_once_and_fills_up_the_last_batch(world):
  config = config_of(spec_of(world))
  source = table.open_source(config['train'])
  batches = list(pipeline.eval_batches(source, config, batch_size=3))
  ids = np.concatenate([batch.id for batch in batches])
  assert ids.tolist() == [*range(NUM_IMAGES), -1, -1]
  padding = batches[-1]
  assert not padding.targets.valid[1:].any()
  assert padding.prompt.mask[1:].any(axis=1).all()
  assert source.image_id(batches[0].id[2]) == 102


def test_evaluation_is_not_augmented(world):
  config = config_of(spec_of(world))
  source = table.open_source(config['train'])
  batch = next(pipeline.eval_batches(source, config, batch_size=2))
  resized = settings.resizing(config).map(source[1])
  height, width = resized.image.shape[:2]
  np.testing.assert_array_equal(batch.image[1, :height, :width], resized.image)
  np.testing.assert_allclose(batch.scale[1], resized.scale, rtol=1e-6)


def test_evaluation_puts_padding_where_a_record_is_broken(world):
  config = config_of(spec_of(world, 'bad', 'mdetr'))
  source = table.open_source(config['train'])
  batches = list(pipeline.eval_batches(source, config, batch_size=4))
  ids = np.concatenate([batch.id for batch in batches])
  assert np.maximum(ids, -1).tolist() == [0, 1, -1, 3, -1, 5, 6, -1]
  # What was left is not what was broken, which is told.
  assert guard.broken_indices(ids) == [2, 4]
  assert [source.image_id(n) for n in (2, 4)] == [102, 104]


def test_evaluating_workers_change_nothing_and_end_with_the_pass(world):
  source = table.open_source(spec_of(world, 'bad', 'mdetr'))

  def batches(num_workers):
    config = config_of(spec_of(world), num_workers=num_workers)
    return pipeline.eval_batches(source, config, batch_size=2)

  check_equal(list(batches(2)), list(batches(0)))
  assert not multiprocessing.active_children()


def test_evaluating_workers_end_when_the_pass_is_left(world):
  config = config_of(spec_of(world), num_workers=1)
  source = table.open_source(config['train'])
  iterator = pipeline.eval_batches(source, config, batch_size=1)
  assert next(iterator).id.tolist() == [0]
  assert multiprocessing.active_children()
  iterator.close()
  assert not multiprocessing.active_children()


def test_evaluating_workers_refuse_by_name_too(world):
  spec = spec_of(world, 'bad')
  config = config_of(spec, bad_records='raise', num_workers=1)
  source = table.open_source(spec)
  with pytest.raises(UserError, match='record 102.*cut.png'):
    list(pipeline.eval_batches(source, config, batch_size=2))


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_pass_without_a_usable_record_is_refused(world, num_workers):
  spec = spec_of(world, source='mdetr')
  config = config_of(spec, num_tokens=6, num_workers=num_workers)
  source = table.open_source(spec)
  with pytest.raises(UserError, match='none of the 7 records is usable'):
    list(pipeline.eval_batches(source, config, batch_size=2))


def test_evaluating_processes_get_equally_many_batches(world):
  config = config_of(spec_of(world))
  source = table.open_source(config['train'])
  ids = [
      [
          batch.id.tolist()
          for batch in pipeline.eval_batches(
              source, config, batch_size=2, process_index=n, process_count=2
          )
      ]
      for n in range(2)
  ]
  assert ids == [[[0, 2], [4, 6]], [[1, 3], [5, -1]]]
