"""Names of the official GLIP checkpoints, and where their arrays go.

The official tower is one sequence: with fusion its entries 3i, 3i + 1, 3i + 2
are the fusion, text layer and DyConv of block i; without fusion entry i is the
DyConv of block i. Here the blocks are stacked, so entry i goes to place i.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from glip_jax.weights import buffers, encoder_names, layouts
from glip_jax.weights import rules as rules_lib

Rule = rules_lib.Rule
_SWIN = 'backbone.body.'
_ANCHORS = 'rpn.anchor_generator.cell_anchors'
_BIAS_TABLE = 'relative_position_bias_table'


def _fpn() -> list[Rule]:
  fpn = 'backbone.fpn.'
  table = []
  for name in ('p6', 'p7'):
    table += layouts.conv(fpn + f'top_blocks.{name}', f'neck/{name}')
  for official, level in ((2, 3), (3, 4), (4, 5)):
    table += layouts.conv(fpn + f'fpn_inner{official}', f'neck/inner{level}')
    table += layouts.conv(fpn + f'fpn_layer{official}', f'neck/layer{level}')
  return table


def _dyconv(key: str, place: int) -> list[Rule]:
  to = lambda name: f'tower/blocks/dyconv/{name}[{place}]'
  table = [
      *layouts.conv(key + '.offset', to('offset')),
      *layouts.pointwise(key + '.AttnConv.1', to('scale_attention/score')),
      *layouts.linear(key + '.relu.fc.0', to('dyrelu/squeeze')),
      *layouts.linear(key + '.relu.fc.2', to('dyrelu/expand')),
  ]
  for branch, name in enumerate(('coarser', 'same', 'finer')):
    conv = f'{key}.DyConv.{branch}.'
    table += [
        Rule(
            conv + 'conv.weight',
            to(f'convs/{name}_kernel'),
            lambda x: x.transpose(2, 3, 1, 0).reshape(9, x.shape[1], -1),
            lambda x: x.reshape(3, 3, *x.shape[1:]).transpose(3, 2, 0, 1),
        ),
        Rule(conv + 'conv.bias', to(f'convs/{name}_bias')),
        *layouts.norm(conv + 'bn', to(f'convs/{name}_norm')),
    ]
  return table


def _fusion(key: str, place: int) -> list[Rule]:
  to = lambda name: f'tower/blocks/fusion/{name}[{place}]'
  attention = {
      'v_proj': 'image_query',
      'l_proj': 'text_key',
      'values_v_proj': 'image_value',
      'values_l_proj': 'text_value',
      'out_v_proj': 'image_out',
      'out_l_proj': 'text_out',
  }
  table = [
      Rule(key + '.b_attn.gamma_v', to('image_scale')),
      Rule(key + '.b_attn.gamma_l', to('text_scale')),
      *layouts.norm(key + '.b_attn.layer_norm_v', to('image_norm')),
      *layouts.norm(key + '.b_attn.layer_norm_l', to('text_norm')),
  ]
  for projection, name in attention.items():
    table += layouts.linear(f'{key}.b_attn.attn.{projection}', to(name))
  return table


def _head(anchor_scale: float) -> list[Rule]:
  head = 'rpn.head.'
  table = [
      *(
          Rule(head + name, f'head/{name}')
          for name in ('log_scale', 'bias_lang', 'bias0')
      ),
      *layouts.pointwise(head + 'bbox_pred', 'head/boxes'),
      *layouts.pointwise(head + 'centerness', 'head/centerness'),
      *layouts.linear(
          head + 'dot_product_projection_text', 'head/text_projection'
      ),
      # The reference keeps this branch only for its channel count.
      Rule(head + 'cls_logits.weight', None),
      Rule(head + 'cls_logits.bias', None),
  ]
  for level in range(5):
    table += [
        Rule(
            head + f'scales.{level}.scale',
            f'head/scales[{level}]',
            lambda x: x.reshape(()),
            lambda x: x.reshape(1),
        ),
        Rule(
            f'{_ANCHORS}.{level}',
            None,
            check=functools.partial(
                buffers.wrong_cell_anchors,
                level=level,
                anchor_scale=anchor_scale,
            ),
        ),
    ]
  return table


def glip_rules(
    *, blocks: int, text_layers: int, fused: bool, anchor_scale: float = 8.0
) -> list[rules_lib.Rule]:
  """The table for an official checkpoint.

  Args:
    blocks: of the tower (6 in A, B, C, T; 8 in L).
    text_layers: of BERT (12).
    fused: False for variant A.
    anchor_scale: side of the anchors in strides.

  Returns:
    Rules from official names to parameter paths of `GroundedDetector`.
  """
  tower = 'rpn.head.dyhead_tower.'
  table = encoder_names.swin(_SWIN) + _fpn() + _head(anchor_scale)
  table += encoder_names.bert('language_backbone.body.model.', text_layers)
  for i in range(blocks):
    if fused:
      text = f'tower/blocks/text[{i}]'
      table += _fusion(f'{tower}{3 * i}', i)
      table += layouts.bert_layer(f'{tower}{3 * i + 1}', text)
      table += _dyconv(f'{tower}{3 * i + 2}', i)
    else:
      table += _dyconv(f'{tower}{i}', i)
  return table


def from_official(
    state: Mapping[str, np.ndarray], params: Any, *, anchor_scale: float = 8.0
) -> Any:
  """Official arrays as parameters of a model.

  Args:
    state: arrays by official name, without a `module.` prefix.
    params: parameters of the model (or their shapes).
    anchor_scale: of the model's head: anchors that the state brings must be
      these.

  Returns:
    A tree like `params`.

  Raises:
    WeightsError: lists everything that does not fit.
  """
  return rules_lib.convert(state, rules_of(params, anchor_scale), params)


def to_official(
    params: Any,
    *,
    anchor_scale: float = 8.0,
    num_classes: int = buffers.NUM_CLASSES,
) -> dict[str, np.ndarray]:
  """Parameters of a model as arrays by official name: `from_official` undone.

  What the official state holds beside parameters is made: indices of windows,
  anchors, and the classification branch, of zeros because the official code
  multiplies its output by zero. `embeddings.position_ids`, which only files of
  older transformers hold, is not written; the official loader needs no key.

  Args:
    params: arrays of a `GroundedDetector`.
    anchor_scale: of the model's head.
    num_classes: channels of the classification branch: NUM_CLASSES - 1 of the
      official config that the file is to be loaded with.

  Returns:
    Arrays by official name, without a `module.` prefix.

  Raises:
    WeightsError: lists every parameter without an official name and every
      official name without a parameter.
  """
  state = rules_lib.invert(params, rules_of(params, anchor_scale))
  for key, table in list(state.items()):
    if key.endswith(_BIAS_TABLE):
      window = (math.isqrt(table.shape[0]) + 1) // 2
      index = buffers.relative_position_index(window)
      state[key.removesuffix(_BIAS_TABLE) + 'relative_position_index'] = index
  for level in range(len(params['head']['scales'])):
    state[f'{_ANCHORS}.{level}'] = buffers.cell_anchors(level, anchor_scale)
  width = params['head']['boxes']['kernel'].shape[0]
  for name, array in buffers.cls_logits(num_classes, width).items():
    state[f'rpn.head.cls_logits.{name}'] = array
  return state


def rules_of(params: Any, anchor_scale: float) -> list[rules_lib.Rule]:
  """The table for a model with these parameters.

  Args:
    params: of a `GroundedDetector`, or their shapes.
    anchor_scale: of its head.

  Raises:
    WeightsError: they are of another model.
  """
  flat = rules_lib.flatten(params)
  stacked = (
      'tower/blocks/dyconv/offset/bias',
      'language/layers/layer/query/bias',
  )
  missing = [f'{path}: missing' for path in stacked if path not in flat]
  if missing:
    raise rules_lib.WeightsError(missing, 'the parameters of a GLIP model')
  blocks, text_layers = (flat[path].shape[0] for path in stacked)
  return glip_rules(
      blocks=blocks,
      text_layers=text_layers,
      fused='tower/blocks/fusion/image_scale' in flat,
      anchor_scale=anchor_scale,
  )
