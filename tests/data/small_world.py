"""Configs of the data set of conftest.py, and how batches are compared."""

import jax
import numpy as np

NUM_IMAGES = 7


def spec_of(world, file='good', source='coco', **fields):
  return {
      'source': source,
      'annotations': str(world / f'{file}.json'),
      'images': str(world),
  } | fields


def config_of(train, **fields):
  return {
      'tokenizer': 'shapes',
      'num_tokens': 24,
      'num_phrases': 4,
      'num_boxes': 3,
      'image_size': (32, 32),
      'num_workers': 0,
      'train': train,
      'shuffle_names': True,
      'augment': {'flip': 0.5, 'scale': (0.8, 1.2), 'contrast': 0.2},
  } | fields


def check_equal(first, second):
  assert len(first) == len(second)
  jax.tree.map(np.testing.assert_array_equal, first, second)
