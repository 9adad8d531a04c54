"""Fine-tunes the shapes model, or trains from scratch, on any COCO folder.

  python train.py --config=configs/finetune.py --workdir=runs/mine \
      --config.init=runs/shapes \
      --config.data.train.annotations=data/train.json \
      --config.data.train.images=data/images \
      --config.evals.val.data.annotations=data/val.json \
      --config.evals.val.data.images=data/images

Without `--config.init` it starts from scratch. Class names come from the
file. Measured results stand in docs/results.md.
"""

import ml_collections

from configs import shapes
from glip_jax import run


def get_config() -> ml_collections.ConfigDict:
  """The config for a folder of photographs."""
  config = shapes.get_config()
  side = 320
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
  config.optimizer.lr = 1e-3
  config.evals = dict(val=run.evaluation(batch_size=4, data=coco))
  return config
