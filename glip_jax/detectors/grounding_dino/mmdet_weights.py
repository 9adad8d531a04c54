"""Names of mmdetection's (MM-)Grounding-DINO, and where their arrays go.

Learnt from mmdetection 3's public source, and from Hugging Face's script that
makes its files of these; no such file was at hand. Here the heads stand in one
list, that of the queries' proposals last, and an attention keeps queries, keys
and values in one array. Files of Grounding DINO that mmdetection made of the
authors' have the same names, with a copy of the shared head for each layer.

LLMDet's files hold beside the detector the language model that it was trained
with, and the layers between the two, which a detector has no use for.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from glip_jax.detectors.grounding_dino import hugging_face_weights
from glip_jax.weights import mmdet_names, rules

Rule = rules.Rule
_BERT = 'language_model.language_backbone.body.model.'
_LABELS = 'dn_query_generator.label_embedding.weight'
# Of LLMDet's training alone: the language model, what leads to it, and a layer
# that nothing uses.
_TRAINING_ONLY = (
    'lmm.',
    'connector.',
    'region_connector.',
    'image_seperate.',
    'ref_point_head.',
)
_IN_PROJECTION = re.compile(r'.*\.attn\.in_proj_(weight|bias)')
_PARTS = ('query', 'key', 'value')
_HEAD = re.compile(r'(bbox_head\.(?:reg|cls)_branches)\.(\d+)\.(.*)')
_ENCODER = r'^model\.encoder\.layers\.(\d+)'
# Hugging Face's names -> theirs, beside those of Swin and of the heads.
_RENAMED = {
    r'^model\.text_backbone\.': _BERT,
    r'^model\.text_projection\.': 'text_feat_map.',
    r'^model\.level_embed$': 'level_embed',
    r'^model\.query_position_embeddings\.': 'query_embedding.',
    r'^model\.enc_output\.': 'memory_trans_fc.',
    r'^model\.enc_output_norm\.': 'memory_trans_norm.',
    rf'{_ENCODER}\.fusion_layer\.': r'encoder.fusion_layers.\1.',
    r'(?<=\d)\.vision_param$': '.gamma_v',
    r'(?<=\d)\.text_param$': '.gamma_l',
    r'\.layer_norm_vision\.': '.layer_norm_v.',
    r'\.layer_norm_text\.': '.layer_norm_l.',
    r'\.attn\.(values_|out_|)vision_proj\.': r'.attn.\1v_proj.',
    r'\.attn\.(values_|out_|)text_proj\.': r'.attn.\1l_proj.',
    rf'{_ENCODER}\.text_enhancer_layer\.': r'encoder.text_layers.\1.',
    r'\.layer_norm_before\.': '.norms.0.',
    r'\.layer_norm_after\.': '.norms.1.',
    rf'{_ENCODER}\.deformable_layer\.': r'encoder.layers.\1.',
    r'^(encoder\.layers\.\d+)\.self_attn_layer_norm\.': r'\1.norms.0.',
    r'^(encoder\.layers\.\d+)\.final_layer_norm\.': r'\1.norms.1.',
    r'^model\.decoder\.layer_norm\.': 'decoder.norm.',
    r'^model\.decoder\.reference_points_head\.': 'decoder.ref_point_head.',
    r'^model\.decoder\.layers\.': 'decoder.layers.',
    r'^(decoder\.layers\.\d+)\.self_attn_layer_norm\.': r'\1.norms.0.',
    r'^(decoder\.layers\.\d+)\.encoder_attn_text_layer_norm\.': r'\1.norms.1.',
    r'^(decoder\.layers\.\d+)\.encoder_attn_layer_norm\.': r'\1.norms.2.',
    r'^(decoder\.layers\.\d+)\.final_layer_norm\.': r'\1.norms.3.',
    r'\.encoder_attn_text\.': '.cross_attn_text.',
    r'\.encoder_attn\.': '.cross_attn.',
    r'\.(self_attn|cross_attn_text)\.(query|key|value)\.(weight|bias)$': (
        r'.\1.attn.in_proj_\3[\2]'
    ),
    r'\.(self_attn|cross_attn_text)\.out_proj\.': r'.\1.attn.out_proj.',
    r'^((?:en|de)coder\..*)\.fc1\.': r'\1.ffn.layers.0.0.',
    r'^((?:en|de)coder\..*)\.fc2\.': r'\1.ffn.layers.1.',
}


def is_mmdet(state: Mapping[str, np.ndarray]) -> bool:
  """Whether arrays have these names."""
  return any(_HEAD.fullmatch(key) for key in state)


def from_mmdet(state: Mapping[str, np.ndarray], params: Any) -> Any:
  """mmdetection's arrays as parameters of a model.

  Args:
    state: arrays by mmdetection's name.
    params: parameters of the model, or their shapes.

  Returns:
    A tree like `params`.

  Raises:
    WeightsError: lists everything that does not fit.
  """
  heads, depth = _sizes(params)
  shared = heads == 1
  state = {k: x for k, x in state.items() if not k.startswith(_TRAINING_ONLY)}
  state = hugging_face_weights.without_copies(
      _split(state), lambda key: _head_name(key, depth) if shared else key
  )
  return rules.convert(state, rules_of(params), params)


def rules_of(params: Any) -> list[Rule]:
  """The table for a model with these parameters.

  Queries, keys and values of an attention stand apart in it, as
  'in_proj_weight[query]' and so on.

  Args:
    params: of a model, or their shapes.
  """
  levels = params['level_embedding'].shape[0]
  _, depth = _sizes(params)
  names = _RENAMED | _neck(levels) | _heads(depth)
  table = [
      mmdet_names.renamed(rule, names)
      for rule in hugging_face_weights.rules_of(params)
  ]
  # A bias of the class is a number here, and an axis of one number there.
  table = [_number(r) if 'cls_branches' in r.source else r for r in table]
  return table + [
      # Of the classes of a fixed list: noised queries here start from the mean
      # of the tokens of their phrase.
      Rule(_LABELS, None),
      # Files that were made of the authors' may hold it; nothing reads it.
      Rule(_BERT + 'pooler.dense.weight', None),
      Rule(_BERT + 'pooler.dense.bias', None),
  ]


def _sizes(params: Any) -> tuple[int, int]:
  """How many heads of the decoder a model has, and how many layers."""
  decoder = params['decoder']
  heads = decoder['boxes']['layer0_bias'].shape[0]
  return heads, decoder['layers']['mlp_norm']['scale'].shape[0]


def _neck(levels: int) -> dict[str, str]:
  """Names of the projections; the last one strides and stands apart."""
  level = r'^model\.input_proj_vision\.'
  return {
      rf'{level}{levels - 1}\.0\.': 'neck.extra_convs.0.conv.',
      rf'{level}{levels - 1}\.1\.': 'neck.extra_convs.0.gn.',
      rf'{level}(\d+)\.0\.': r'neck.convs.\1.conv.',
      rf'{level}(\d+)\.1\.': r'neck.convs.\1.gn.',
  }


def _heads(depth: int) -> mmdet_names.Names:
  """Names of the heads; between the layers of one they count its ReLUs."""
  boxes, classes = 'bbox_head.reg_branches.', 'bbox_head.cls_branches.'
  last = r'^model\.encoder_output_bbox_embed\.layers\.(\d)\.'
  return {
      last: lambda match: f'{boxes}{depth}.{2 * int(match[1])}.',
      r'^bbox_embed\.(\d+)\.layers\.(\d)\.': lambda match: (
          f'{boxes}{match[1]}.{2 * int(match[2])}.'
      ),
      r'^model\.encoder_output_class_embed\.': f'{classes}{depth}.',
      r'^class_embed\.': classes,
  }


def _number(rule: Rule) -> Rule:
  return Rule(
      rule.source,
      rule.target,
      lambda x: x.reshape(()),
      lambda x: x.reshape(1),
  )


def _head_name(key: str, depth: int) -> str:
  """The first layer's name for the shared head of any, else the key."""
  match = _HEAD.fullmatch(key)
  if not match or int(match[2]) >= depth:
    return key
  return f'{match[1]}.0.{match[3]}'


def _split(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Queries, keys and values apart: 'in_proj_weight[query]' and so on."""
  split, faults = {}, []
  for key, value in state.items():
    if not _IN_PROJECTION.fullmatch(key):
      split[key] = value
    elif not np.ndim(value) or len(value) % 3:
      faults.append(
          f'{key}: shape {np.shape(value)} is not that of three parts'
      )
    else:
      for part, x in zip(_PARTS, np.split(value, 3), strict=True):
        split[f'{key}[{part}]'] = x
  if faults:
    raise rules.WeightsError(faults)
  return split
