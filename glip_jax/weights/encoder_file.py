"""One encoder's weights from a file of its own: where pre-training starts.

Swin from its authors, timm and Hugging Face, BERT from Hugging Face. Names were
learnt from the public sources of timm and transformers; files that transformers
5 writes of new models are read, and no published file was at hand. All of them
merge patches in the order of Swin's authors. timm puts a merging before the
stage it leads to, the others after the stage it leaves.

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
from glip_jax.weights import encoder_names, rules, swin_names

# Heads and masks that a detector has no use for.
_UNUSED = {
    'backbone': (
        r'(head|norm|classifier|layernorm)\..*|.*attn_mask'
        r'|embeddings\.mask_token'
    ),
    'language': r'(cls|pooler|classifier|qa_outputs)\..*',
}
_WORDS = 'embeddings.word_embeddings.weight'
_BIAS = 'relative_position_bias_table'


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
  return not whole and any(key.endswith((_WORDS, _BIAS)) for key in state)


def read_encoder(state: Mapping[str, np.ndarray], params: Any) -> Encoder:
  """The parameters of a model that the arrays of one encoder are.

  Norms of Swin's outputs are not among them: classifiers have none.

  Args:
    state: arrays by name, for which `is_encoder`.
    params: parameters of the model, or their shapes.

  Raises:
    UserError: Swin's windows are of another size.
    WeightsError: lists all other arrays that do not fit.
  """
  if any(key.endswith(_WORDS) for key in state):
    part, named = 'language', _bert_names(state)
    depth = params['language']['layers']['layer']['query']['bias'].shape[0]
    table = encoder_names.bert('', depth)
    target = {part: params[part]}
  else:
    part, named = 'backbone', _swin_names(state)
    table = encoder_names.swin('')
    inner = params[part].items()
    target = {part: {k: x for k, x in inner if not re.match(r'norm\d', k)}}
    _check_windows(named, target)
  unused = [key for key in named if re.fullmatch(_UNUSED[part], key)]
  used = {key: x for key, x in named.items() if key not in set(unused)}
  tree = rules.convert(used, table, target)
  return Encoder(rules.flatten(tree), tuple(unused))


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
    named = swin_names.from_hugging_face(named)
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
