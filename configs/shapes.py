"""The embedded world: trains a small real GLIP on two CPU cores.

Reproduces nothing published; what it reaches stands in docs/results.md.

  python train.py --config=configs/shapes.py --workdir=runs/shapes

`--config=configs/shapes.py:long` trains for up to an hour on the same cores;
`--config=configs/shapes.py:late` and `:long,late` have no fusion of image and
text (variant A's structure), to compare with.
"""

import ml_collections

from glip_jax import errors
from glip_jax.models import variants

STEPS = {'default': 900, 'long': 6500}


def get_config(options: str = '') -> ml_collections.ConfigDict:
  """The default run; `options` are 'long' and 'late', joined by a comma."""
  chosen = set(filter(None, options.split(',')))
  if unknown := chosen - {'long', 'late'}:
    raise errors.UserError(
        f'configs/shapes.py has no option {sorted(unknown)[0]!r}: use long,'
        ' late, or both joined by a comma'
    )
  size = 128
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.init = ''
  config.model = variants.to_config('shapes')
  if 'late' in chosen:
    config.model.head.fusion = None
  config.data = dict(
      tokenizer='shapes',
      num_tokens=64,
      num_phrases=20,
      num_boxes=8,
      image_size=(size, size),
      resize=(),
      shuffle_names=False,
      num_workers=1,
      bad_records='skip',
      train=dict(
          source='shapes',
          split='train',
          num_images=1_000_000,
          image_size=size,
          prompts=dict(list=5.0, attributes=1.0, caption=2.0, relation=2.0),
      ),
  )
  config.batch_size = 16
  config.steps = STEPS['long' if 'long' in chosen else 'default']
  config.optimizer = dict(
      lr=1.5e-3,
      betas=(0.9, 0.98),
      weight_decay=0.01,
      clip_norm=1.0,
      ema_decay=0.99,
      schedule=dict(name='cosine', warmup_steps=100),
      lr_scales=(),
      decay_scales=(('bias|scale', 0.0),),
      frozen=(),
  )
  config.mesh = dict(data=-1, fsdp=1)
  config.sharding = ()
  config.log_every = 20
  config.eval_every = config.steps // 3 if config.steps < 1000 else 1000
  config.checkpoint_every = 300
  config.keep_checkpoints = 2
  world = dict(source='shapes', image_size=size, num_images=400)
  relational = dict(world, split='val', num_images=1000)
  config.evals = dict(
      val=dict(type='detection', batch_size=16, data=dict(world, split='val')),
      heldout=dict(
          type='detection', batch_size=16, data=dict(world, split='heldout')
      ),
      relations=dict(
          type='grounding',
          target='first',
          batch_size=16,
          data=dict(relational, prompts=dict(relation=1.0)),
      ),
  )
  return config
