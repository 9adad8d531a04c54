"""Grounding DINO and its relatives: --config=configs/grounding_dino.py:OPTION.

`T`, `B` are Grounding DINO's (arXiv 2303.05499), `mm_T`, `mm_B`, `mm_L` those
of MM-Grounding-DINO (arXiv 2401.02361), which are LLMDet's too. The
solver is the published one of MM-Grounding-DINO: AdamW, lr 4e-4 at 64 images a
step, both backbones at a tenth of it, weight decay 1e-4, clipping at 0.1, drops
after 19 and 26 of 30 epochs of Objects365, with denoising queries. Published
zero-shot LVIS minival AP: T 28.8, mm_T 41.4 (their papers). Not measured here.
The data of this config is a COCO folder:

  python train.py --config=configs/grounding_dino.py:mm_T --workdir=runs/mm_t \
      --config.data.train.annotations=train.json \
      --config.data.train.images=train \
      --config.evals.val.data.annotations=val.json \
      --config.evals.val.data.images=val

`finetune_T` (and `finetune_mm_B` and so on) is the published solver for COCO
from released weights, which `--config.init` names: 12 epochs, lr 2e-4, drops
after 8 and 11. Hardware and time: not measured.

`shapes` trains a small one on the embedded world, for two CPU cores; what it
reaches stands in docs/results_families.md:

  python train.py --config=configs/grounding_dino.py:shapes --workdir=runs/dino
"""

import ml_collections

from configs import glip as glip_config
from configs import shapes as shapes_config
from glip_jax import errors, run
from glip_jax.detectors.grounding_dino import config as grounding_dino

_IMAGES = {'objects365': 608_606, 'coco': 118_287}
_VARIANTS = ('T', 'B', 'mm_T', 'mm_B', 'mm_L')
_FINETUNE = 'finetune_'


def get_config(option: str = 'mm_T') -> ml_collections.ConfigDict:
  """The config of one option."""
  if option == 'shapes':
    return _shapes()
  variant = option.removeprefix(_FINETUNE)
  if variant not in _VARIANTS:
    raise errors.UserError(
        f'configs/grounding_dino.py has no option {option!r}: choose shapes, or'
        f' one of {_VARIANTS} with or without {_FINETUNE!r} before it'
    )
  return (_pretrain if option == variant else _finetune)(variant)


def _pretrain(variant: str) -> ml_collections.ConfigDict:
  config = glip_config.get_config('T')
  config.model = run.config(model=_model(variant)).model
  config.model.denoising.on = True
  config.data.update(extent_multiple=1, prompt_end='.', shuffle_names=True)
  config.batch_size = 64
  config.steps = 30 * _IMAGES['objects365'] // config.batch_size
  config.optimizer.update(
      lr=4e-4,
      weight_decay=1e-4,
      clip_norm=0.1,
      schedule=dict(
          name='steps',
          warmup_steps=1000,
          warmup_factor=0.1,
          boundaries=(19 / 30, 26 / 30),
          decay=0.1,
      ),
      lr_scales=(('^(backbone|language)/', 0.1),),
      decay_scales=(),
  )
  config.average.on = False
  return config


def _finetune(variant: str) -> ml_collections.ConfigDict:
  config = _pretrain(variant)
  config.steps = 12 * _IMAGES['coco'] // config.batch_size
  config.optimizer.update(
      lr=2e-4,
      schedule=dict(name='steps', warmup_steps=0, boundaries=(8 / 12, 11 / 12)),
  )
  return config


def _shapes() -> ml_collections.ConfigDict:
  config = shapes_config.get_config()
  model = grounding_dino.VARIANTS['grounding_dino_shapes']
  config.model = run.config(model=model).model
  # The end of a prompt is a token more.
  config.data.update(extent_multiple=1, prompt_end='.', num_tokens=72)
  config.batch_size = 16
  config.steps = 4000
  config.optimizer.update(
      lr=1e-3,
      clip_norm=1.0,
      weight_decay=1e-4,
      schedule=dict(name='cosine', warmup_steps=300),
  )
  config.average.decay = 0.998
  config.eval_every = 1000
  config.checkpoint_every = 1000
  return config


def _model(variant: str) -> grounding_dino.Config:
  prefix, _, size = variant.rpartition('_')
  name = f'{prefix}_grounding_dino_{size}'.lstrip('_')
  return grounding_dino.VARIANTS[name]
