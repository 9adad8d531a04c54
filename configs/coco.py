"""Evaluates released weights on a COCO folder: --config=configs/coco.py:T.

The official test settings: shorter side 800, longer at most 1333, class names
joined by '. ', a prompt of 256 tokens. Published zero-shot COCO AP of
val2017: A 42.9, B 44.9, C 46.7, T 46.6, L 51.4 (official README). Not measured
here, as no released file was at hand; the model's numbers agree with the
official code's on weights made by a rule (docs/parity.md).

  python eval.py --config=configs/coco.py:T --out=runs/glip_t \
      --weights=glip_tiny_model_o365_goldg_cc_sbu.pth \
      --config.evals.val.data.annotations=instances_val2017.json \
      --config.evals.val.data.images=val2017

Lower config.evals.val.batch_size where memory does not do. Hardware and time:
not measured.
"""

import ml_collections

from configs import glip


def get_config(variant: str = 'T') -> ml_collections.ConfigDict:
  """The config of one variant: A, B, C, T or L."""
  config = glip.get_config(variant)
  config.evals.val.batch_size = 8
  return config
