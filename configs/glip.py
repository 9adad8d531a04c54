"""GLIP's released models: --config=configs/glip.py:T (or A, B, C, L, nano...).

Reproduces the sizes and the solver of GLIP (arXiv 2112.03857, official yaml
files): AdamW, lr 1e-4, language 1e-5, biases twice the rate and no decay,
clipping at 1, steps at 67 % and 89 %. Published zero-shot COCO AP: A 42.9,
B 44.9, C 46.7, T 46.6, L 51.4 (official README). Not measured here: the
pre-training data is not public. The data of this config is a COCO folder:

  python train.py --config=configs/glip.py:T --workdir=runs/glip_t \
      --config.data.train.annotations=train.json \
      --config.data.train.images=train \
      --config.evals.val.data.annotations=val.json \
      --config.evals.val.data.images=val

Hardware and time: not measured.
"""

import ml_collections

from glip_jax import run
from glip_jax.detectors.glip import config as glip

# Language and bias rules of the official solver: any key with 'bias' in it has
# twice the rate and no decay.
_LR_SCALES = (
    ('^language/.*bias', 0.2),
    ('^language/', 0.1),
    ('bias', 2.0),
)
_DECAY_SCALES = (('bias', 0.0),)


def get_config(variant: str = 'T') -> ml_collections.ConfigDict:
  """The config of one variant."""
  large = variant.endswith('L')
  glip.variant(variant)  # Refuses models of other families.
  config = run.tested(
      variant,
      augment=dict(flip=0.5),
      num_workers=8,
      train=run.source(source='coco'),
  )
  config.batch_size = 64
  config.steps = 1_000_000 if large else 300_000
  config.optimizer.update(_optimizer(large=large))
  config.average.on = not large
  config.eval_every = 10_000
  config.checkpoint_every = 2_000
  config.evals.val = run.evaluation(
      data=run.source(source='coco'), batch_size=8
  )
  return config


def _optimizer(*, large: bool) -> dict[str, object]:
  return dict(
      lr=1e-4,
      weight_decay=0.01 if large else 1e-4,
      clip_norm=1.0,
      schedule=dict(
          name='steps',
          warmup_steps=2000,
          warmup_factor=0.001,
          boundaries=(0.67, 0.89),
          decay=0.1,
      ),
      lr_scales=_LR_SCALES,
      decay_scales=_DECAY_SCALES,
      # The official L keeps its default: the first stage, with the merging
      # of patches that follows it, is frozen.
      frozen=('^backbone/(patch_embed|stage0|merge1)',) if large else (),
      # The official L has its weight decay fall too, before the rate does.
      decay_boundaries=(0.67 * 0.667, 0.89 * 0.667) if large else (),
  )
