"""configs/shapes.py shrunk until it compiles in seconds: for the tests.

Reproduces nothing, expect no AP. One block wherever there may be one, pictures
of 64 px, eight steps. Dropout is on and the rate does not depend on `steps`,
so that resumed and prolonged runs can be compared with uninterrupted ones.

  python train.py --config=tests/tiny_config.py --workdir=runs/tiny
"""

import ml_collections

from configs import shapes

_SIZE = 64  # Pixels; the coarsest map has one cell.


def get_config(evals: str = 'all') -> ml_collections.ConfigDict:
  """Eight steps of eight pictures, a checkpoint at every second one.

  Args:
    evals: 'none' evaluates nothing.
  """
  config = shapes.get_config()
  _shrink(config.model)
  config.data.image_size = (_SIZE, _SIZE)
  config.data.train.image_size = _SIZE
  config.batch_size = 8
  config.steps = 8
  config.average.decay = 0.5
  config.optimizer.schedule.update(name='constant', warmup_steps=2)
  config.log_every = 1
  config.eval_every = 0
  config.checkpoint_every = 2
  del config.evals.heldout
  for spec in config.evals.values():
    spec.batch_size = 8
    spec.data.update(image_size=_SIZE, num_images=6)
  if evals == 'none':
    config.evals = {}
  return config


def _shrink(model: ml_collections.ConfigDict):
  """The same structure at the least of its sizes."""
  model.backbone.update(
      embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)
  )
  model.neck.width = 32
  model.language.update(width=32, depth=1, num_heads=2, mlp_width=32)
  model.head.update(depth=1, num_groups=4, unroll=1)
  model.head.fusion.update(width=32, num_heads=2, dropout_rate=0.1)
  # Untrained scores are low: let some detections through.
  model.decode.update(score_threshold=0.0, pre_nms_top_k=100)
