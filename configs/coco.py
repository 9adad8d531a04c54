"""Evaluates released weights on a COCO folder: --config=configs/coco.py:T.

The published test settings of any variant of any family: shorter side 800,
longer at most 1333, class names joined by '. ', a prompt of 256 tokens.
Published zero-shot COCO AP of val2017: GLIP A 42.9, B 44.9, C 46.7, T 46.6,
L 51.4 (official README); grounding_dino_T 48.4, mm_grounding_dino_T 50.4 (with
its four sets of pre-training, mmdetection's README). Not measured here, as no
released file was at hand; the models' numbers agree with the reference codes'
on weights made by a rule (docs/parity.md).

  python eval.py --config=configs/coco.py:T --out=runs/glip_t \
      --weights=glip_tiny_model_o365_goldg_cc_sbu.pth \
      --config.evals.val.data.annotations=instances_val2017.json \
      --config.evals.val.data.images=val2017

Lower config.evals.val.batch_size where memory does not do. `T,views` looks at
each image in the twelve sizes that were published for GLIP, and mirrored
(published with it: L 61.7 after fine-tuning). Hardware and time: not measured.
"""

import ml_collections

from glip_jax import errors, run


def get_config(option: str = 'T') -> ml_collections.ConfigDict:
  """The config of one variant: T, L, mm_grounding_dino_B, T,views and so on."""
  variant, _, views = option.partition(',')
  if views not in ('', 'views'):
    raise errors.UserError(
        f'configs/coco.py:{option} has the unknown option {views!r}: give'
        f' {variant} or {variant},views'
    )
  config = run.tested(variant, num_workers=8)
  config.evals.val = run.evaluation(
      data=run.source(source='coco'), batch_size=8
  )
  if views:
    config.evals.val.batch_size = 1
    config.evals.val.views.on = True
    if config.model.family == 'glip':
      # Of each view; nothing is suppressed before all are joined.
      config.model.decode.max_detections = 5000
  return config
