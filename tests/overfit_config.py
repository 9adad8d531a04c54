"""configs/shapes.py on eight pictures, evaluated on the same: for the tests.

Reproduces nothing; expect AP50 near 1, for the eight pictures can be learnt by
heart. Two CPU cores: about a minute.

  python train.py --config=tests/overfit_config.py --workdir=runs/overfit
"""

import ml_collections

from configs import shapes
from glip_jax import run


def get_config() -> ml_collections.ConfigDict:
  """A hundred and fifty steps of the same eight pictures."""
  config = shapes.get_config()
  size = config.data.image_size[0]
  pictures = dict(
      source='shapes',
      split='train',
      image_size=size,
      num_images=8,
      prompts={'all': 1},
  )
  config.data.train = ml_collections.ConfigDict(pictures)
  config.evals = dict(val=run.evaluation(batch_size=8, data=dict(pictures)))
  config.batch_size = 8
  config.steps = 150
  config.eval_every = 0
  config.average.decay = 0.9
  config.optimizer.schedule.warmup_steps = 50
  return config
