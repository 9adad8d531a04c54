"""Names of mmdetection's GLIP checkpoints, and where their arrays go.

Learnt from mmdetection 3's public source (tools/model_converters/
glip_to_mmdet.py, which makes its released files of the official ones, and the
modules that load them); no such file was at hand. They hold neither anchors nor
the unused classification branch.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from glip_jax.detectors.glip import official_weights as glip
from glip_jax.weights import mmdet_names, rules

# Parts of official names -> theirs, beside those of Swin.
_RENAMED = {
    r'^backbone\.body\.': 'backbone.',
    r'^backbone\.fpn\.fpn_inner2\.': 'neck.lateral_convs.0.conv.',
    r'^backbone\.fpn\.fpn_inner3\.': 'neck.lateral_convs.1.conv.',
    r'^backbone\.fpn\.fpn_inner4\.': 'neck.lateral_convs.2.conv.',
    r'^backbone\.fpn\.fpn_layer2\.': 'neck.fpn_convs.0.conv.',
    r'^backbone\.fpn\.fpn_layer3\.': 'neck.fpn_convs.1.conv.',
    r'^backbone\.fpn\.fpn_layer4\.': 'neck.fpn_convs.2.conv.',
    r'^backbone\.fpn\.top_blocks\.p6\.': 'neck.fpn_convs.3.conv.',
    r'^backbone\.fpn\.top_blocks\.p7\.': 'neck.fpn_convs.4.conv.',
    r'^language_backbone\.': 'language_model.language_backbone.',
    r'^rpn\.head\.': 'bbox_head.head.',
    r'\.DyConv\.': '.dyconvs.',
    r'\.AttnConv\.': '.attnconv.',
}
_ABSENT = r'rpn\.(anchor_generator|head\.cls_logits)\.'


def from_mmdet(state: Mapping[str, np.ndarray], params: Any) -> Any:
  """mmdetection's arrays as parameters of a model.

  Args:
    state: arrays by mmdetection's name.
    params: parameters of the model (or their shapes).

  Returns:
    A tree like `params`.

  Raises:
    WeightsError: lists everything that does not fit.
  """
  return rules.convert(state, mmdet_rules(params), params)


def mmdet_rules(params: Any) -> list[rules.Rule]:
  """The table for a model with these parameters.

  Args:
    params: of a `GroundedDetector`, or their shapes.

  Raises:
    WeightsError: they are of another model.
  """
  return [
      mmdet_names.renamed(rule, _RENAMED)
      for rule in glip.rules_of(params, anchor_scale=8.0)
      if not re.match(_ABSENT, rule.source)
  ]
