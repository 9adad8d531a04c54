"""Fine-tunes a shapes model, or trains from scratch, on any COCO folder.

  python train.py --config=configs/finetune.py --workdir=runs/mine \
      --config.init=runs/shapes \
      --config.data.train.annotations=data/train.json \
      --config.data.train.images=data/images \
      --config.evals.val.data.annotations=data/val.json \
      --config.evals.val.data.images=data/images

Without `--config.init` it starts from scratch. Class names come from the
file. `--config=configs/finetune.py:query` and `:grounding_dino` take the models
of the other two families, and `--config.init` a run of their `shapes`. Measured
results of GLIP's stand in docs/results.md; theirs are not measured.
"""

import ml_collections

from configs import grounding_dino, query, shapes
from glip_jax import errors, run

_FAMILIES = ('glip', 'grounding_dino', 'query')


def get_config(family: str = 'glip') -> ml_collections.ConfigDict:
  """The config for a folder of photographs."""
  if family not in _FAMILIES:
    raise errors.UserError(
        f'configs/finetune.py has no option {family!r}: choose one of'
        f' {_FAMILIES}'
    )
  side, lr = 320, 1e-3
  if family == 'query':
    config, lr = query.get_config('shapes'), 4e-4
    config.model.num_queries = 50  # Photographs hold more than 25 objects.
    config.model.decode.unknown = False
  elif family == 'grounding_dino':
    config = grounding_dino.get_config('shapes')
  else:
    config = shapes.get_config()
    config.model.head.anchor_scale = 2.5
  config.data.image_size = (side, side)
  config.data.num_tokens = 96
  config.data.num_phrases = 32
  config.data.num_boxes = 64
  config.data.shuffle_names = True
  config.data.augment.update(
      flip=0.5, scale=(0.7, 1.4), brightness=0.3, contrast=0.3, saturation=0.3
  )
  coco = run.source(source='coco')
  config.data.train = ml_collections.ConfigDict(coco)
  config.batch_size = 4
  config.steps = 2000
  config.eval_every = 500
  config.checkpoint_every = 500
  config.optimizer.lr = lr
  config.evals = dict(val=run.evaluation(batch_size=4, data=coco))
  return config
