"""The `shapes` config shrunk until it compiles in seconds: for tests.

Reproduces nothing: the model is the `shapes` variant with one block wherever
there may be one, on pictures of 64 px. Expect no AP. Dropout and the average
of the parameters are on, so that a resumed run must restore both. Two CPU
cores: about TIME seconds from start to end.

  python train.py --config=tests/tiny_config.py --workdir=runs/tiny
"""

import ml_collections

from glip_jax.models import variants

_SIZE = 64  # Pixels; the coarsest map has one cell.


def get_config() -> ml_collections.ConfigDict:
  """Eight steps of four pictures, a checkpoint at every second one."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.steps = 8
  config.batch_size = 4
  config.init = ''
  config.model = _model()
  config.data = dict(
      tokenizer='shapes',
      num_tokens=64,
      num_phrases=24,
      num_boxes=8,
      image_size=(_SIZE, _SIZE),
      num_workers=1,
      bad_records='raise',
      train=dict(source='shapes', split='train', image_size=_SIZE),
  )
  config.optimizer = dict(
      lr=1e-3,
      weight_decay=0.01,
      clip_norm=1.0,
      schedule=dict(name='cosine', warmup_steps=2),
      ema_decay=0.5,
  )
  config.mesh = dict(data=-1, fsdp=1)
  config.sharding = ()
  config.log_every = 1
  config.eval_every = 0
  config.checkpoint_every = 2
  config.keep_checkpoints = 2
  config.evals = dict(
      val=dict(type='detection', batch_size=4, data=_source('all')),
      relation=dict(
          type='grounding',
          target='first',
          batch_size=4,
          data=_source('relation'),
      ),
  )
  return config


def _model() -> ml_collections.ConfigDict:
  model = variants.to_config('shapes')
  model.backbone.update(
      embed_dim=16,
      depths=(1, 1, 1, 1),
      num_heads=(1, 1, 2, 2),
      drop_path_rate=0.1,
  )
  model.neck.width = 32
  model.language.update(
      width=32, depth=1, num_heads=2, mlp_width=32, dropout_rate=0.1
  )
  model.head.update(depth=1, num_groups=4, unroll=1)
  model.head.fusion.update(width=32, num_heads=2, dropout_rate=0.1)
  model.decode.pre_nms_top_k = 100
  return model


def _source(prompt: str) -> dict:
  return dict(
      source='shapes',
      split='val',
      image_size=_SIZE,
      num_images=6,
      prompts={prompt: 1},
  )
