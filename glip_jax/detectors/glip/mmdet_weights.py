"""Names of mmdetection's GLIP checkpoints, and where their arrays go.

Learnt from mmdetection 3's public source (tools/model_converters/
glip_to_mmdet.py, which makes its released files of the official ones, and the
modules that load them); no such file was at hand. They hold neither anchors nor
the unused classification branch, and their patch merging reads its four
neighbours channel by channel, as torch's unfold lays them out.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from glip_jax.detectors.glip import official_weights as glip
from glip_jax.weights import rules

# Parts of official names -> theirs; all that are found are put in place.
_RENAMED = {
    r'^backbone\.body\.': 'backbone.',
    r'^backbone\.layers\.': 'backbone.stages.',
    r'patch_embed\.proj\.': 'patch_embed.projection.',
    r'(?<=\})\.mlp\.fc1\.': '.ffn.layers.0.0.',
    r'(?<=\})\.mlp\.fc2\.': '.ffn.layers.1.',
    r'(?<=\})\.attn\.': '.attn.w_msa.',
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
# Of the 2x2 neighbours, down then across there, across then down here.
_NEIGHBOURS = [0, 2, 1, 3]


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
      _renamed(rule)
      for rule in glip.rules_of(params, anchor_scale=8.0)
      if not re.match(_ABSENT, rule.source)
  ]


def _renamed(rule: rules.Rule) -> rules.Rule:
  """The same rule by mmdetection's name, from its layout."""
  source = rule.source
  for pattern, name in _RENAMED.items():
    source = re.sub(pattern, name, source)
  if '.downsample.' not in source:
    return dataclasses.replace(rule, source=source)
  return dataclasses.replace(
      rule,
      source=source,
      transform=lambda x: rule.transform(_by_neighbour(x)),
      inverse=lambda x: _by_channel(rule.inverse(x)),
  )


def _by_neighbour(x: np.ndarray) -> np.ndarray:
  """The last axis from channel by channel to neighbour by neighbour."""
  parts = x.reshape(*x.shape[:-1], -1, 4)[..., _NEIGHBOURS]
  return np.swapaxes(parts, -1, -2).reshape(x.shape)


def _by_channel(x: np.ndarray) -> np.ndarray:
  """`_by_neighbour` undone."""
  parts = np.swapaxes(x.reshape(*x.shape[:-1], 4, -1), -1, -2)
  return parts[..., _NEIGHBOURS].reshape(x.shape)
