"""Evaluates weights on the sets of ODinW: configs/odinw.py:T,13,/data/odinw.

ODinW-13 and -35 (microsoft/GLIP) by the published splits: `val`, or `minival`
where a set has one. 13 are prompted by lists of names; of 35 those four by
their published sentences that have one, as GLIP's configs are. Mean AP that
mmdetection measured with the official code and released weights, ODinW-13 /
-35: GLIP A 32.4 / 13.4, B 31.8 / 13.8, C 39.2 / 17.8. Not measured here: no
released file was at hand.

  python eval.py --config=configs/odinw.py:T,13,/data/odinw \
      --weights=glip_t --out=runs/glip_t/odinw13

The options are a variant, as of configs/coco.py, 13 or 35, the folder of all
sets and, for the challenge, another split: `T,35,/data/odinw,test`. Hardware
and time: not measured.
"""

import ml_collections

from glip_jax import errors, run


def get_config(options: str = 'T,35') -> ml_collections.ConfigDict:
  """The config of one variant on one of the two lists of sets."""
  variant, sets, directory, split, *more = options.split(',') + ['', '', '']
  if any(more) or sets not in ('13', '35'):
    raise errors.UserError(
        f'configs/odinw.py:{options} must be VARIANT,13 or VARIANT,35, then'
        ' the folder of all sets and perhaps a split: T,35,/data/odinw,test'
    )
  config = run.tested(variant, num_workers=8)
  config.evals = run.odinw_evaluations(
      directory or 'odinw',
      sets=int(sets),
      split=split,
      published_prompts=sets == '35',
  )
  return config
