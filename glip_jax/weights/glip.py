"""Names of the official GLIP checkpoints, and where their arrays go.

The official tower is one sequence: with fusion its entries 3i, 3i + 1, 3i + 2
are the fusion, text layer and DyConv of block i; without fusion entry i is the
DyConv of block i. Here the blocks are stacked, so entry i goes to place i.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from glip_jax.weights import rules as rules_lib

Rule = rules_lib.Rule


def _layer(pattern: str, target: str, transform, inverse) -> list[Rule]:
  """A weight that changes its layout, and its bias."""
  return [
      Rule(pattern + r'\.weight', _leaf(target, 'kernel'), transform, inverse),
      Rule(pattern + r'\.bias', _leaf(target, 'bias')),
  ]


def _linear(pattern: str, target: str) -> list[Rule]:
  return _layer(pattern, target, np.transpose, np.transpose)


def _conv(pattern: str, target: str) -> list[Rule]:
  return _layer(
      pattern,
      target,
      lambda x: x.transpose(2, 3, 1, 0),
      lambda x: x.transpose(3, 2, 0, 1),
  )


def _pointwise(pattern: str, target: str) -> list[Rule]:
  """A 1x1 convolution that is a Dense here."""
  return _layer(
      pattern,
      target,
      lambda x: x[:, :, 0, 0].T,
      lambda x: x.T[:, :, None, None],
  )


def _norm(pattern: str, target: str) -> list[Rule]:
  return [
      Rule(pattern + r'\.weight', _leaf(target, 'scale')),
      Rule(pattern + r'\.bias', _leaf(target, 'bias')),
  ]


def _leaf(target: str, name: str) -> str:
  """'a/b[3]' + 'kernel' -> 'a/b/kernel[3]'."""
  path, bracket, place = target.partition('[')
  return f'{path}/{name}{bracket}{place}'


def _bert_layer(pattern: str, target: str) -> list[Rule]:
  path, bracket, place = target.partition('[')
  to = lambda name: f'{path}/{name}{bracket}{place}'
  dense = {
      r'\.attention\.self\.query': 'query',
      r'\.attention\.self\.key': 'key',
      r'\.attention\.self\.value': 'value',
      r'\.attention\.output\.dense': 'attention_out',
      r'\.intermediate\.dense': 'mlp_in',
      r'\.output\.dense': 'mlp_out',
  }
  table = []
  for key, name in dense.items():
    table += _linear(pattern + key, to(name))
  table += _norm(
      pattern + r'\.attention\.output\.LayerNorm', to('attention_norm')
  )
  return table + _norm(pattern + r'\.output\.LayerNorm', to('mlp_norm'))


def _swin() -> list[Rule]:
  body = r'backbone\.body\.'
  block = body + r'layers\.(\d+)\.blocks\.(\d+)\.'
  to = r'backbone/stage\1_block\2'
  table = [
      *_conv(body + r'patch_embed\.proj', 'backbone/patch_embed/proj'),
      *_norm(body + r'patch_embed\.norm', 'backbone/patch_embed/norm'),
      *_norm(block + r'norm([12])', to + r'/norm\3'),
      *_linear(block + r'attn\.qkv', to + '/attention/qkv'),
      *_linear(block + r'attn\.proj', to + '/attention/proj'),
      Rule(
          block + r'attn\.relative_position_bias_table',
          to + '/attention/relative_position_bias',
      ),
      Rule(block + r'attn\.relative_position_index', None),
      *_linear(block + r'mlp\.fc1', to + '/mlp_in'),
      *_linear(block + r'mlp\.fc2', to + '/mlp_out'),
      *_norm(body + r'norm(\d)', r'backbone/norm\1'),
  ]
  # Merging into stage i + 1 stands at the end of the official stage i.
  for i in range(3):
    merge = body + rf'layers\.{i}\.downsample\.'
    table += [
        *_norm(merge + 'norm', f'backbone/merge{i + 1}/norm'),
        _linear(merge + 'reduction', f'backbone/merge{i + 1}/reduction')[0],
    ]
  return table


def _fpn() -> list[Rule]:
  fpn = r'backbone\.fpn\.'
  table = _conv(fpn + r'top_blocks\.(p[67])', r'neck/\1')
  for official, level in ((2, 3), (3, 4), (4, 5)):
    table += _conv(fpn + f'fpn_inner{official}', f'neck/inner{level}')
    table += _conv(fpn + f'fpn_layer{official}', f'neck/layer{level}')
  return table


def _language(depth: int) -> list[Rule]:
  model = r'language_backbone\.body\.model\.'
  embeddings = model + r'embeddings\.'
  table = [
      Rule(embeddings + r'word_embeddings\.weight', 'language/words/embedding'),
      Rule(embeddings + r'position_embeddings\.weight', 'language/positions'),
      Rule(
          embeddings + r'token_type_embeddings\.weight', 'language/token_types'
      ),
      Rule(embeddings + 'position_ids', None),
      *_norm(embeddings + 'LayerNorm', 'language/norm'),
  ]
  for i in range(depth):
    table += _bert_layer(
        model + rf'encoder\.layer\.{i}', f'language/layers/layer[{i}]'
    )
  return table


def _dyconv(pattern: str, place: int) -> list[Rule]:
  to = lambda name: f'tower/blocks/dyconv/{name}[{place}]'
  table = [
      *_conv(pattern + r'\.offset', to('offset')),
      *_pointwise(pattern + r'\.AttnConv\.1', to('scale_attention/score')),
      *_linear(pattern + r'\.relu\.fc\.0', to('dyrelu/squeeze')),
      *_linear(pattern + r'\.relu\.fc\.2', to('dyrelu/expand')),
  ]
  for branch, name in enumerate(('coarser', 'same', 'finer')):
    key = pattern + rf'\.DyConv\.{branch}\.'
    table += [
        Rule(
            key + r'conv\.weight',
            to(f'convs/{name}_kernel'),
            lambda x: x.transpose(2, 3, 1, 0).reshape(9, x.shape[1], -1),
            lambda x: x.reshape(3, 3, *x.shape[1:]).transpose(3, 2, 0, 1),
        ),
        Rule(key + r'conv\.bias', to(f'convs/{name}_bias')),
        *_norm(key + 'bn', to(f'convs/{name}_norm')),
    ]
  return table


def _fusion(pattern: str, place: int) -> list[Rule]:
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
      Rule(pattern + r'\.b_attn\.gamma_v', to('image_scale')),
      Rule(pattern + r'\.b_attn\.gamma_l', to('text_scale')),
      *_norm(pattern + r'\.b_attn\.layer_norm_v', to('image_norm')),
      *_norm(pattern + r'\.b_attn\.layer_norm_l', to('text_norm')),
  ]
  for key, name in attention.items():
    table += _linear(pattern + rf'\.b_attn\.attn\.{key}', to(name))
  return table


def _head() -> list[Rule]:
  head = r'rpn\.head\.'
  table = [
      Rule(head + r'(log_scale|bias_lang|bias0)', r'head/\1'),
      *_pointwise(head + 'bbox_pred', 'head/boxes'),
      *_pointwise(head + 'centerness', 'head/centerness'),
      *_linear(head + 'dot_product_projection_text', 'head/text_projection'),
      # The reference keeps this branch only for its channel count.
      Rule(head + r'cls_logits\.(weight|bias)', None),
      Rule(r'rpn\.anchor_generator\.cell_anchors\.\d', None),
  ]
  for level in range(5):
    table.append(
        Rule(
            head + rf'scales\.{level}\.scale',
            f'head/scales[{level}]',
            lambda x: x.reshape(()),
            lambda x: x.reshape(1),
        )
    )
  return table


def glip_rules(
    *, blocks: int, text_layers: int, fused: bool
) -> list[rules_lib.Rule]:
  """The table for an official checkpoint.

  Args:
    blocks: of the tower (6 in A, B, C, T; 8 in L).
    text_layers: of BERT (12).
    fused: False for variant A.

  Returns:
    Rules from official names to parameter paths of `GroundedDetector`.
  """
  tower = r'rpn\.head\.dyhead_tower\.'
  table = _swin() + _fpn() + _language(text_layers) + _head()
  for i in range(blocks):
    if fused:
      table += _fusion(tower + str(3 * i), i)
      table += _bert_layer(tower + str(3 * i + 1), f'tower/blocks/text[{i}]')
      table += _dyconv(tower + str(3 * i + 2), i)
    else:
      table += _dyconv(tower + str(i), i)
  return table


def from_official(state: Mapping[str, np.ndarray], params: Any) -> Any:
  """Official arrays as parameters of a model.

  Args:
    state: arrays by official name, without a `module.` prefix.
    params: parameters of the model (or their shapes).

  Returns:
    A tree like `params`.

  Raises:
    WeightsError: lists everything that does not fit.
  """
  tower = params['tower']['blocks']
  return rules_lib.convert(
      state,
      glip_rules(
          blocks=tower['dyconv']['offset']['bias'].shape[0],
          text_layers=params['language']['layers']['layer']['query'][
              'bias'
          ].shape[0],
          fused='fusion' in tower,
      ),
      params,
  )
