"""Hugging Face's names of (MM-)Grounding-DINO, and where their arrays go.

Those of files that `save_pretrained` writes, which are not those in memory.
Heads that layers share stand in a file once; of copies that a file brings all
must be equal. The norm of Swin's own output is unused and comes along.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from glip_jax.weights import encoder_names, layouts, rules, swin_names

Rule = rules.Rule
_SWIN = 'model.backbone.conv_encoder.model.'
_AUTHORS = 'backbone.'
# Where the norm of a stage's output stands here among Swin's authors' names.
_STAGE_NORM = r'hidden_states_norms\.stage([1-4])\.'
_UNUSED = 'swin.layernorm'
_HEADS = re.compile(r'(bbox_embed|class_embed)\.(\d+)\.(.*)')


def from_hugging_face(state: Mapping[str, np.ndarray], params: Any) -> Any:
  """Hugging Face's arrays as parameters of a model.

  Args:
    state: arrays by the names of a file.
    params: parameters of the model, or their shapes.

  Returns:
    A tree like `params`.

  Raises:
    WeightsError: lists everything that does not fit.
  """
  heads = params['decoder']['boxes']['layer0_bias'].shape[0]
  state = without_copies(state, lambda key: _head_name(key, shared=heads == 1))
  swin = {k: x for k, x in state.items() if k.startswith(_SWIN)}
  state = {k: x for k, x in state.items() if k not in swin}
  state |= _from_swin(swin)
  return rules.convert(state, rules_of(params), params)


def to_hugging_face(params: Any) -> dict[str, np.ndarray]:
  """Parameters of a model as arrays by Hugging Face's names.

  Shared heads are written once, as in their files; the unused norm of Swin's
  output as one that changes nothing.

  Args:
    params: arrays of a model.

  Raises:
    WeightsError: lists what has no name.
  """
  state = rules.invert(params, rules_of(params))
  swin = {
      k.removeprefix(_AUTHORS): x
      for k, x in state.items()
      if k.startswith(_AUTHORS)
  }
  state = {k: x for k, x in state.items() if not k.startswith(_AUTHORS)}
  for key, value in swin_names.to_hugging_face(swin).items():
    key = re.sub(
        r'^norm(\d)\.',
        lambda m: f'hidden_states_norms.stage{int(m[1]) + 1}.',
        key,
    )
    state[_SWIN + key] = value
  width = swin['norm3.weight'].shape
  state[f'{_SWIN}{_UNUSED}.weight'] = np.ones(width, np.float32)
  state[f'{_SWIN}{_UNUSED}.bias'] = np.zeros(width, np.float32)
  return state


def without_copies(
    state: Mapping[str, np.ndarray], name_of: Callable[[str], str]
) -> dict[str, np.ndarray]:
  """The state with one array for each name; all copies of it must be equal.

  Args:
    state: arrays by key.
    name_of: key -> name, the same for all copies of an array.

  Raises:
    WeightsError: copies differ.
  """
  own, faults = {}, []
  for key, value in state.items():
    name = name_of(key)
    if name in own and not np.array_equal(own[name], value):
      faults.append(f'{key}: differs from its copy {name}')
    own.setdefault(name, value)
  if faults:
    raise rules.WeightsError(faults)
  return own


def rules_of(params: Any) -> list[Rule]:
  """The table for a model with these parameters.

  Args:
    params: of a model, or their shapes.
  """
  levels = params['level_embedding'].shape[0]
  encoder = params['encoder']['layers']['fusion']['image_scale'].shape[0]
  decoder = params['decoder']['layers']['mlp_norm']['scale'].shape[0]
  heads = params['decoder']['boxes']['layer0_bias'].shape[0]
  text = params['language']['layers']['layer']['query']['bias'].shape[0]
  table = encoder_names.swin(_AUTHORS)
  table += encoder_names.bert('model.text_backbone.', text)
  table += _whole(levels)
  for i in range(encoder):
    table += _encoder_layer(f'model.encoder.layers.{i}.', i)
  for i in range(decoder):
    table += _decoder_layer(f'model.decoder.layers.{i}.', i)
  for i in range(heads):
    table += _mlp(f'bbox_embed.{i}.', 'decoder/boxes', i, 3)
    if 'class_bias' in params:
      table.append(Rule(f'class_embed.{i}.bias', f'class_bias[{i}]'))
  if 'class_bias' in params:
    table.append(Rule('model.encoder_output_class_embed.bias', 'proposal_bias'))
  return table


def _whole(levels: int) -> list[Rule]:
  """All but encoders, layers and heads."""
  model = 'model.'
  table = [
      Rule(model + 'level_embed', 'level_embedding'),
      Rule(model + 'query_position_embeddings.weight', 'queries'),
      *layouts.linear(model + 'text_projection', 'text_projection'),
      *layouts.linear(model + 'enc_output', 'proposal'),
      *layouts.norm(model + 'enc_output_norm', 'proposal_norm'),
      *layouts.norm(model + 'decoder.layer_norm', 'decoder/norm'),
      *_mlp(model + 'encoder_output_bbox_embed.', 'proposal_boxes', 0, 3),
      *_mlp(model + 'decoder.reference_points_head.', 'decoder/place', 0, 2),
  ]
  for i in range(levels):
    key = f'{model}input_proj_vision.{i}.'
    table += layouts.conv(key + '0', f'pyramid/conv{i}')
    table += layouts.norm(key + '1', f'pyramid/norm{i}')
  return table


def _mlp(key: str, target: str, place: int, depth: int) -> list[Rule]:
  table = []
  for i in range(depth):
    table += [
        Rule(
            f'{key}layers.{i}.weight',
            f'{target}/layer{i}_kernel[{place}]',
            np.transpose,
            np.transpose,
        ),
        Rule(f'{key}layers.{i}.bias', f'{target}/layer{i}_bias[{place}]'),
    ]
  return table


def _named(
    key: str, names: Mapping[str, str], to: Any, layer: Any
) -> list[Rule]:
  """Rules of several layers of a kind."""
  table = []
  for theirs, ours in names.items():
    table += layer(key + theirs, to(ours))
  return table


_ATTENTION = {'query': 'query', 'key': 'key', 'value': 'value'}
_ATTENTION['out_proj'] = 'out'
_DEFORMABLE = {
    'sampling_offsets': 'offsets',
    'attention_weights': 'weights',
    'value_proj': 'value',
    'output_proj': 'out',
}
_MLP = {'fc1': 'mlp_in', 'fc2': 'mlp_out'}
_FUSION = {
    'vision_proj': 'image_query',
    'text_proj': 'text_key',
    'values_vision_proj': 'image_value',
    'values_text_proj': 'text_value',
    'out_vision_proj': 'image_out',
    'out_text_proj': 'text_out',
}


def _encoder_layer(key: str, place: int) -> list[Rule]:
  fusion = lambda name: f'encoder/layers/fusion/{name}[{place}]'
  text = lambda name: f'encoder/layers/text/{name}[{place}]'
  image = lambda name: f'encoder/layers/image/{name}[{place}]'
  within = lambda part, to: lambda name: to(f'{part}/{name}')
  linear, norm = layouts.linear, layouts.norm
  fused, enhanced = key + 'fusion_layer.', key + 'text_enhancer_layer.'
  deformed = key + 'deformable_layer.'
  return [
      Rule(fused + 'vision_param', fusion('image_scale')),
      Rule(fused + 'text_param', fusion('text_scale')),
      *norm(fused + 'layer_norm_vision', fusion('image_norm')),
      *norm(fused + 'layer_norm_text', fusion('text_norm')),
      *_named(fused + 'attn.', _FUSION, fusion, linear),
      *_named(
          enhanced + 'self_attn.', _ATTENTION, within('attention', text), linear
      ),
      *norm(enhanced + 'layer_norm_before', text('attention_norm')),
      *_named(enhanced, _MLP, within('mlp', text), linear),
      *norm(enhanced + 'layer_norm_after', text('mlp_norm')),
      *_named(
          deformed + 'self_attn.',
          _DEFORMABLE,
          within('attention', image),
          linear,
      ),
      *norm(deformed + 'self_attn_layer_norm', image('attention_norm')),
      *_named(deformed, _MLP, within('mlp', image), linear),
      *norm(deformed + 'final_layer_norm', image('mlp_norm')),
  ]


def _decoder_layer(key: str, place: int) -> list[Rule]:
  to = lambda name: f'decoder/layers/{name}[{place}]'
  within = lambda part: lambda name: to(f'{part}/{name}')
  linear, norm = layouts.linear, layouts.norm
  parts = {
      'self_attn': ('queries', _ATTENTION),
      'encoder_attn_text': ('text', _ATTENTION),
      'encoder_attn': ('image', _DEFORMABLE),
  }
  table = []
  for theirs, (ours, names) in parts.items():
    table += _named(f'{key}{theirs}.', names, within(ours), linear)
    table += norm(f'{key}{theirs}_layer_norm', to(f'{ours}_norm'))
  table += _named(key, _MLP, within('mlp'), linear)
  return table + norm(key + 'final_layer_norm', to('mlp_norm'))


def _head_name(key: str, *, shared: bool) -> str:
  """One name for all copies of a head, else the key."""
  match = _HEADS.fullmatch(key.removeprefix('model.decoder.'))
  if not match:
    return key
  layer = '0' if shared else match[2]
  return f'{match[1]}.{layer}.{match[3]}'


def _from_swin(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Swin's arrays by its authors' names, without the unused norm."""
  named = {k.removeprefix(_SWIN): x for k, x in state.items()}
  named = {
      re.sub(_STAGE_NORM, lambda m: f'norm{int(m[1]) - 1}.', k): x
      for k, x in named.items()
      if not k.startswith(_UNUSED + '.')
  }
  return {
      _AUTHORS + k: x for k, x in swin_names.from_hugging_face(named).items()
  }
