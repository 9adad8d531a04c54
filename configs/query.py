"""Object queries made of the text: --config=configs/query.py:OPTION.

`textbook` has the sizes and the solver of DETR (arXiv 2005.12872, section A.4):
AdamW, lr 1e-4, backbone 1e-5, weight decay 1e-4, clipping at 0.1, 300 epochs of
COCO at 64 images a step with one drop after 200; batch norms are frozen. BERT
learns at the backbone's rate. There is no published number for the model; DETR,
which knows its classes, has COCO AP 42.0. The data is a COCO folder:

  python train.py --config=configs/query.py:textbook --workdir=runs/query \
      --config.data.train.annotations=train.json \
      --config.data.train.images=train \
      --config.evals.val.data.annotations=val.json \
      --config.evals.val.data.images=val

Hardware and time: not measured. `shapes` trains a small one on the embedded
world, for two CPU cores; what it reaches is in docs/results_families.md:

  python train.py --config=configs/query.py:shapes --workdir=runs/query_shapes
"""

import ml_collections

from configs import glip as glip_config
from configs import shapes as shapes_config
from glip_jax import errors, run
from glip_jax.detectors.query import config as query

_FROZEN = ('frozen_norm',)


def get_config(option: str = 'textbook') -> ml_collections.ConfigDict:
  """The config of one option."""
  if option not in _OPTIONS:
    raise errors.UserError(
        f'configs/query.py has no option {option!r}: choose one of'
        f' {sorted(_OPTIONS)}'
    )
  return _OPTIONS[option]()


def _textbook() -> ml_collections.ConfigDict:
  config = glip_config.get_config('T')
  config.model = run.config(model=query.variant('textbook')).model
  config.data.extent_multiple = 1
  config.batch_size = 64
  config.steps = 554_400  # 300 epochs of the 118,287 images of train2017.
  config.optimizer.update(
      lr=1e-4,
      weight_decay=1e-4,
      clip_norm=0.1,
      schedule=dict(
          name='steps', warmup_steps=0, boundaries=(2 / 3,), decay=0.1
      ),
      lr_scales=(('^(backbone|language)/', 0.1),),
      decay_scales=(),
      frozen=_FROZEN,
  )
  config.average.on = False
  return config


def _shapes() -> ml_collections.ConfigDict:
  config = shapes_config.get_config()
  config.model = run.config(model=query.variant('query_shapes')).model
  config.data.extent_multiple = 1
  shapes_config.find_unknown(config)
  config.data.train.unnamed = True
  config.batch_size = 16
  config.steps = 6000
  config.optimizer.update(
      lr=4e-4,
      clip_norm=1.0,
      weight_decay=1e-4,
      schedule=dict(name='cosine', warmup_steps=500),
      frozen=_FROZEN,
  )
  config.average.decay = 0.999
  config.eval_every = 3000
  config.checkpoint_every = 1000
  return config


_OPTIONS = dict(textbook=_textbook, shapes=_shapes)
