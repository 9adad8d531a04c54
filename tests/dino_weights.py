"""Weights of Grounding DINO that a rule makes from parameter names.

Hugging Face's implementation ran on weights that depend on the name and shape
of each array alone: a normal draw seeded by the name's checksum, scaled by the
first line of a table that matches. This is that table in this project's words.
"""

import re
import zlib

import numpy as np

_SWIN = 'model.backbone.conv_encoder.model.'
# pattern, family or '', kind, its numbers. plain: center, spread. fan: gain
# over the root of the inputs. level, shift: of a vector of width d, gain over
# root d or d. half: gain / 2. twice: 2 gain over the root of inputs and d.
_TABLE = (
    (r'class_embed\.(\d+\.)?bias$', 'mm', 'plain', -4.0, 0.3),
    (r'enhancer_layer\.layer_norm_after\.weight$', 'gd', 'level', 2.0, 0.1),
    (r'enhancer_layer\.layer_norm_after\.bias$', 'gd', 'shift', -16.0, 0.1),
    (r'enhancer_layer\.layer_norm_after\.weight$', 'mm', 'plain', 2.0, 0.2),
    (r'encoder_attn_text\.key\.weight$', 'gd', 'half', 2.4),
    (r'encoder_attn_text\.value\.weight$', 'gd', 'half', 1.0),
    (r'encoder_attn_text\.key\.weight$', 'mm', 'fan', 1.2),
    (r'encoder_attn_text\.value\.weight$', 'mm', 'fan', 0.5),
    (r'model\.text_projection\.weight$', 'gd', 'twice', 1.0),
    (r'model\.text_projection\.bias$', 'gd', 'shift', 0.0, 0.2),
    (r'(decoder\.layer_norm|enc_output_norm)\.bias$', '', 'plain', 0.25, 0.1),
    (r'fusion_layer\.vision_param$', '', 'plain', 0.35, 0.1),
    (r'fusion_layer\.text_param$', '', 'plain', 0.2, 0.05),
    (r'fusion_layer\.attn\.(vision|text)_proj\.weight$', '', 'fan', 2.0),
    (r'fusion_layer\.attn\.\w+\.weight$', '', 'fan', 1.2),
    (r'sampling_offsets\.weight$', '', 'fan', 1.0),
    (r'sampling_offsets\.bias$', '', 'plain', 0.0, 2.0),
    (r'attention_weights\.weight$', '', 'fan', 3.0),
    (r'attention_weights\.bias$', '', 'plain', 0.0, 0.5),
    (r'bbox_embed\.(\d+\.)?layers\.[01]\.weight$', '', 'fan', 1.4),
    (r'output_bbox_embed\.layers\.2\.weight$', '', 'fan', 1.0),
    (r'bbox_embed\.(\d+\.)?layers\.2\.weight$', '', 'fan', 0.8),
    (r'bbox_embed\.(\d+\.)?layers\.2\.bias$', '', 'plain', 0.0, 0.2),
    (r'reference_points_head\.layers\.\d\.weight$', '', 'fan', 1.4),
    (r'query_position_embeddings\.weight$', '', 'plain', 0.0, 1.5),
    (r'model\.level_embed$', '', 'plain', 0.0, 0.5),
    (r'decoder\..*self_attn\.(query|key)\.weight$', '', 'fan', 2.0),
    (r'decoder\..*attn_text\.query\.weight$', '', 'fan', 2.4),
    (r'decoder\..*(self_attn|attn_text)\.out_proj\.weight$', '', 'fan', 0.7),
    (r'decoder\..*self_attn\.value\.weight$', '', 'fan', 1.0),
    (r'decoder\.layers\.\d+\.fc2\.weight$', '', 'fan', 0.9),
    (r'decoder\.layers\.\d+\.fc2\.bias$', '', 'plain', 0.0, 0.02),
    (r'decoder\..*attn\.(value|output)_proj\.weight$', '', 'fan', 1.3),
    (r'enhancer_layer\.self_attn\.(query|key)\.weight$', '', 'fan', 1.6),
    (r'enhancer_layer\.self_attn\.(value|out_proj)\.weight$', '', 'fan', 0.6),
    (r'model\.encoder\.layers\.\d+\.\w+\.fc2\.weight$', '', 'fan', 0.8),
    (r'model\.(en|de)coder\.layers\..*fc1\.bias$', '', 'plain', -1.0, 0.3),
    (r'\.fc1\.weight$', '', 'fan', 1.4),
    (r'\.fc2\.weight$', '', 'fan', 1.0),
    (r'(value_proj|output_proj)\.weight$', '', 'fan', 1.0),
    (r'relative_position_bias_table$', '', 'plain', 0.0, 0.7),
    (r'attention\.[qk]_proj\.weight$', '', 'fan', 1.5),
    (r'attention\.o_proj\.weight$', '', 'fan', 0.7),
    (r'word_embeddings\.weight$', '', 'plain', 0.0, 1.0),
    (r'(position|token_type)_embeddings\.weight$', '', 'plain', 0.0, 0.4),
    (r'attention\.self\.(query|key)\.weight$', '', 'fan', 1.5),
    (r'attention\.output\.dense\.weight$', '', 'fan', 0.35),
    (r'intermediate\.dense\.weight$', '', 'fan', 1.2),
    (r'output\.dense\.weight$', '', 'fan', 0.35),
    (r'\.weight$', '', 'weight', 1.0, 0.1),
    (r'bias$', '', 'plain', 0.0, 0.1),
)


def weight(key: str, shape, family: str, offset: int, *, shared: bool):
  """The array of a name in memory."""
  key = re.sub(r'^model\.decoder\.(?=bbox_embed|class_embed)', '', key)
  if shared:
    key = re.sub(r'^(bbox|class)_embed\.\d+\.', r'\1_embed.0.', key)
  kind, *numbers = next(
      row[2:]
      for row in _TABLE
      if row[1] in ('', family) and re.search(row[0], key)
  )
  seed = zlib.crc32(key.encode('ascii')) + offset
  draw = np.random.Generator(np.random.PCG64(seed)).standard_normal(
      size=tuple(shape), dtype=np.float32
  )
  if kind == 'weight':
    kind = 'fan' if len(shape) > 1 else 'plain'
  inputs = np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 1.0
  d = shape[0] if shape else 1
  center, spread = {
      'plain': lambda a, b=0.0: (a, b),
      'fan': lambda a, b=0.0: (0.0, a / inputs),
      'level': lambda a, b: (a / np.sqrt(d), a / np.sqrt(d) * b),
      'shift': lambda a, b: (a / d, b / np.sqrt(d)),
      'half': lambda a: (0.0, a / 2),
      'twice': lambda a: (0.0, 2 / np.sqrt(d) * a / inputs),
  }[kind](*numbers)
  return np.asarray(np.float32(center) + np.float32(spread) * draw)


def file_name(key: str) -> str:
  """The name in a file of an array's name in memory."""
  if not key.startswith(_SWIN):
    return key
  if not key.startswith(_SWIN + 'swin.layernorm'):
    key = key.replace(_SWIN + 'swin.', _SWIN)
  letters = dict(q='query', k='key', v='value')
  key = re.sub(
      r'attention\.([qkv])_proj',
      lambda match: f'attention.self.{letters[match[1]]}',
      key,
  )
  for theirs, ours in (
      ('relative_position_bias.relative', 'self.relative'),
      ('attention.o_proj', 'attention.output.dense'),
      ('mlp.fc1', 'intermediate.dense'),
      ('mlp.fc2', 'output.dense'),
  ):
    key = key.replace(theirs, ours)
  return key
