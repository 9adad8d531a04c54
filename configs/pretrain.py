"""Pre-trains GLIP on detection, grounding and captions: configs/pretrain.py:L.

The mixture is that of GLIP-L with its published number of passes over each set
(official configs/pretrain/glip_Swin_L.yaml): Objects365 2, OpenImages 1, Visual
Genome 3 and ImageNet 2 as detection, Flickr30k Entities 8 and MDETR's mixed set
4 as grounding. Prompts of detection list 85 names, drawn for each image; short
sides are 480 to 800 pixels, mirrored half of the time. Beside 60 % of captions
stand up to 20 of other images. The solver is that of configs/glip.py.

All sources are off until you switch on those that you have:

  python train.py --config=configs/pretrain.py:T --workdir=runs/pretrain \
      --config.data.train.objects365.weight=1 \
      --config.data.train.objects365.annotations=zhiyuan_objv2_train.json \
      --config.data.train.objects365.images=objects365/train \
      --config.data.train.flickr30k.weight=1 \
      --config.data.train.flickr30k.annotations=separateGT_train.json \
      --config.data.train.flickr30k.images=flickr30k/train \
      --config.evals.val.data.annotations=instances_val2017.json \
      --config.evals.val.data.images=val2017

Published zero-shot COCO AP: T 46.6, L 51.4 (official README). Not measured
here, hardware and time neither: the pre-training data is not public as a whole.
"""

import ml_collections

from configs import glip
from glip_jax import run

# Kind of each source, and passes over it for each pass over one with 1.
_SETS = dict(
    objects365=('coco', 2),
    openimages=('coco', 1),
    visual_genome=('coco', 3),
    imagenet=('coco', 2),
    flickr30k=('mdetr', 8),
    mixed=('mdetr', 4),
)
# (h, w): 18 % of padding on the sizes of 100 images of LVIS, where a square of
# 1344 has 67 %.
_CANVASES = (
    (576, 768),
    (640, 992),
    (992, 640),
    (800, 1088),
    (800, 1344),
    (1344, 800),
)


def get_config(variant: str = 'T') -> ml_collections.ConfigDict:
  """The config of one variant."""
  config = glip.get_config(variant)
  config.data.update(
      draw_names=dict(on=True, most=85, full=0.5),
      pack_captions=dict(on=True, most=20, none=0.4, full=0.3),
      augment=dict(flip=0.5, short_sides=(480, 560, 640, 720, 800)),
      buckets=tuple((*canvas, 256) for canvas in _CANVASES),
  )
  config.data.train = {
      name: run.source(source=kind, copies=float(copies), weight=0.0)
      for name, (kind, copies) in _SETS.items()
  }
  return config
