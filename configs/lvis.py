"""Evaluates weights on LVIS minival or val: --config=configs/lvis.py:T.

The published test settings: 40 names in a prompt, 300 detections of each
prompt, fixed AP. Zero-shot APr/APc/APf/AP of minival that mmdetection measured
with its port: GLIP A 12.1/15.5/25.8/20.2, B 8.6/13.9/26.0/19.3, C
14.4/19.8/31.9/25.2, T 18.1/21.2/33.1/26.7, L 27.9/33.7/39.7/36.1. Not measured
here: no released file was at hand.

  python eval.py --config=configs/lvis.py:T --weights=glip_t --out=runs/lvis \
      --config.evals.val.data.annotations=lvis_v1_minival.json \
      --config.evals.val.data.images=coco

Hardware and time: not measured.
"""

import ml_collections

from glip_jax import run


def get_config(variant: str = 'T') -> ml_collections.ConfigDict:
  """The config of one variant."""
  config = run.tested(variant, num_workers=8, chunk_names=40)
  config.model.decode.max_detections = 300
  config.evals.val = run.evaluation(
      type='lvis', data=run.source(source='lvis'), batch_size=8
  )
  return config
