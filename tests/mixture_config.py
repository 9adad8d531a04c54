"""A mixture of three sources on the tiny model: photographs and the world.

  --config=tests/mixture_config.py:SHARED,WORLD

SHARED is the folder of the shared data, WORLD that of `world.jsonl` and its
images.
"""

import pathlib

import ml_collections
import tiny_config

from glip_jax import run

_SIZE = 96


def get_config(folders: str) -> ml_collections.ConfigDict:
  """16 steps of eight images in two buckets."""
  shared, world = map(pathlib.Path, folders.split(','))
  data = shared / 'data'
  vocab = data / 'vocab' / 'bert-base-uncased-vocab.txt'
  config = tiny_config.get_config('none')
  config.model.language.vocab_size = 30522
  config.data.update(
      tokenizer=str(vocab),
      num_tokens=96,
      num_phrases=40,
      num_boxes=40,
      curriculum={},
      image_size=(_SIZE, _SIZE),
      buckets=((64, _SIZE, 64), (_SIZE, 64, 96)),
      draw_names=dict(on=True, most=20),
      augment=dict(on=False),
  )
  config.data.train = dict(
      chess=run.source(
          annotations=str(data / 'chess416' / 'train.json'),
          images=str(data / 'chess416' / 'images'),
          exclude=('bishop',),
          copies=1.0,
      ),
      captions=run.source(
          source='mdetr',
          annotations=str(data / 'coco_captions100' / 'grounding_train.json'),
          images=str(data / 'coco_captions100' / 'images'),
          copies=0.5,
      ),
      world=run.source(
          annotations=str(world / 'world.jsonl'),
          images=str(world),
          copies=1.0,
      ),
  )
  config.steps = 16
  config.checkpoint_every = 4
  config.keep_checkpoints = 10
  return config
