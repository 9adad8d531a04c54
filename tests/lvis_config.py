"""LVIS's sample of 100 images on the tiny model: 1230 names, drawn images.

  --config=tests/lvis_config.py:SHARED,IMAGES

SHARED is the folder of the shared data, IMAGES that of the drawn images.
"""

import ml_collections

from glip_jax import run
from tests import tiny_config


def get_config(folders: str) -> ml_collections.ConfigDict:
  """Two steps of eight images, and an evaluation in prompts of 40 names."""
  shared, images = folders.split(',')
  source = dict(
      source='lvis',
      annotations=f'{shared}/data/annotation_samples/lvis_val_100.json',
      images=images,
  )
  config = tiny_config.get_config('none')
  config.model.language.vocab_size = 30522
  config.data.update(
      tokenizer=f'{shared}/data/vocab/bert-base-uncased-vocab.txt',
      num_tokens=256,
      num_phrases=40,
      num_boxes=100,
      curriculum={},
      image_size=(96, 96),
      buckets=((64, 96, 128), (96, 64, 256)),
      draw_names=dict(on=True, most=40),
      chunk_names=40,
      train=run.source(**source),
  )
  config.evals = dict(val=run.evaluation(batch_size=10, data=source))
  config.steps = 2
  return config
