"""One encoder's weights from a file of its own: where pre-training starts.

Swin from its authors, timm and Hugging Face, ResNet from torchvision and timm,
BERT from Hugging Face. Names were learnt from the public sources of timm and
transformers; files that transformers 5 writes of new models are read, and no
published file was at hand. All of them merge patches in the order of Swin's
authors. timm puts a merging before the stage it leads to, the others after the
stage it leaves.

Arrays are taken as they are: the first convolution sees blue first here,
whatever order of colours it was trained with.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from glip_jax import errors
from glip_jax.weights import encoder_names, rules

# Heads and masks that a detector has no use for.
_UNUSED_SWIN = (
    r'(head|norm|classifier|layernorm)\..*|.*attn_mask|embeddings\.mask_token'
)
_UNUSED_RESNET = r'fc\..*'
_UNUSED_BERT = r'(cls|classifier|qa_outputs)\..*'
_POOLER = r'|pooler\..*'
# Hugging Face's Swin -> its authors'; all that are found are put in place.
_HUGGING_FACE = {
    r'^embeddings\.patch_embeddings\.projection\.': 'patch_embed.proj.',
    r'^embeddings\.norm\.': 'patch_embed.norm.',
    r'^encoder\.layers\.': 'layers.',
    r'\.attention\.output\.dense\.': '.attn.proj.',
    r'\.attention\.self\.': '.attn.',
    r'\.layernorm_before\.': '.norm1.',
    r'\.layernorm_after\.': '.norm2.',
    r'\.intermediate\.dense\.': '.mlp.fc1.',
    r'\.output\.dense\.': '.mlp.fc2.',
}
_WORDS = 'embeddings.word_embeddings.weight'
_BIAS = 'relative_position_bias_table'
_BOTTLENECK = 'layer1.0.conv1.weight'


@dataclasses.dataclass(frozen=True)
class Encoder:
  """What a file says of an encoder.

  Attributes:
    params: arrays by path of the parameter.
    unused: names of the file that a detector has no use for.
  """

  params: dict[str, np.ndarray]
  unused: tuple[str, ...]


def is_encoder(state: Mapping[str, np.ndarray]) -> bool:
  """Whether arrays are of one encoder alone, by their names."""
  whole = any(key.startswith(('rpn.', 'bbox_head.')) for key in state)
  ends = any(key.endswith((_WORDS, _BIAS)) for key in state)
  return not whole and (ends or _BOTTLENECK in state)


def read_encoder(state: Mapping[str, np.ndarray], params: Any) -> Encoder:
  """The parameters of a model that the arrays of one encoder are.

  Norms of Swin's outputs are not among them: classifiers have none.

  Args:
    state: arrays by name, for which `is_encoder`.
    params: parameters of the model, or their shapes.

  Raises:
    UserError: the model has a backbone of another architecture, or Swin's
      windows are of another size.
    WeightsError: lists all other arrays that do not fit.
  """
  if any(key.endswith(_WORDS) for key in state):
    return _read_bert(_bert_names(state), params['language'])
  if _BOTTLENECK in state:
    return _read_resnet(state, params['backbone'])
  return _read_swin(_swin_names(state), params['backbone'])


def _read_bert(named: Mapping[str, np.ndarray], params: Any) -> Encoder:
  depth = params['layers']['layer']['query']['bias'].shape[0]
  pooler = 'pooler' in params
  table = encoder_names.bert('', depth, pooler=pooler)
  unused = _UNUSED_BERT if pooler else _UNUSED_BERT + _POOLER
  return _fill(named, table, {'language': params}, unused)


def _read_resnet(named: Mapping[str, np.ndarray], params: Any) -> Encoder:
  _check_architecture('ResNet', 'conv1', params)
  table = encoder_names.resnet('')
  return _fill(named, table, {'backbone': params}, _UNUSED_RESNET)


def _read_swin(named: Mapping[str, np.ndarray], params: Any) -> Encoder:
  _check_architecture('Swin', 'patch_embed', params)
  inner = {k: x for k, x in params.items() if not re.match(r'norm\d', k)}
  target = {'backbone': inner}
  _check_windows(named, target)
  return _fill(named, encoder_names.swin(''), target, _UNUSED_SWIN)


def _fill(
    named: Mapping[str, np.ndarray],
    table: list[rules.Rule],
    target: Any,
    unused: str,
) -> Encoder:
  """Fills a target from all arrays but those whose names match `unused`."""
  left = tuple(key for key in named if re.fullmatch(unused, key))
  used = {key: x for key, x in named.items() if key not in set(left)}
  return Encoder(rules.flatten(rules.convert(used, table, target)), left)


def _check_architecture(name: str, first: str, params: Any):
  """Refuses a backbone that does not begin as the file's does."""
  if first not in params:
    raise errors.UserError(
        f'the file holds a {name}, but the backbone of the model is none (it'
        f' has {", ".join(list(params)[:3])}): take a file of the same'
        ' architecture, or set config.model.backbone'
    )


def _bert_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Names without `bert.`, norms by torch's names rather than TensorFlow's."""
  named = {}
  for key, value in state.items():
    key = re.sub(r'LayerNorm\.gamma$', 'LayerNorm.weight', key)
    key = re.sub(r'LayerNorm\.beta$', 'LayerNorm.bias', key)
    named[key.removeprefix('bert.')] = value
  return named


def _swin_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The names of Swin's authors, from theirs, timm's or Hugging Face's."""
  named = {key.removeprefix('swin.'): value for key, value in state.items()}
  if any(key.startswith('encoder.layers.') for key in named):
    for pattern, name in _HUGGING_FACE.items():
      named = {re.sub(pattern, name, key): x for key, x in named.items()}
    named = _join_queries(named)
  if any(key.startswith('layers.3.downsample.') for key in named):
    named = {_earlier(key): value for key, value in named.items()}
  return named


def _earlier(key: str) -> str:
  """timm's name of a merging as the one at the end of the stage before."""
  return re.sub(
      r'^layers\.([123])\.downsample\.',
      lambda match: f'layers.{int(match[1]) - 1}.downsample.',
      key,
  )


def _join_queries(named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Queries, keys and values as one layer, as Swin's authors have them."""
  joined, parts = {}, {}
  for key, value in named.items():
    match = re.fullmatch(r'(.*\.attn)\.(query|key|value)\.(weight|bias)', key)
    if match:
      name = f'{match[1]}.qkv.{match[3]}'
      parts.setdefault(name, {})[match[2]] = np.asarray(value)
    else:
      joined[key] = value
  for name, three in parts.items():
    missing = [part for part in ('query', 'key', 'value') if part not in three]
    if missing:
      raise rules.WeightsError([f'{name}: its {x} is missing' for x in missing])
    joined[name] = np.concatenate([three[x] for x in ('query', 'key', 'value')])
  return joined


def _check_windows(named: Mapping[str, np.ndarray], target: Any):
  """Refuses tables of biases for windows of another size."""
  window = lambda table: (math.isqrt(table.shape[0]) + 1) // 2
  own = target['backbone']['stage0_block0']['attention']
  want = window(own['relative_position_bias'])
  found = {window(x) for key, x in named.items() if key.endswith(_BIAS)}
  if found != {want}:
    raise errors.UserError(
        f'this Swin has windows of {sorted(found)}, the model has {want}: take'
        ' one of the same window, or set config.model.backbone.window'
    )
