"""Hugging Face's names of a Swin, and those of its authors, both ways.

Hugging Face keeps queries, keys and values apart, which the authors' code, and
this one, have in one layer.
"""

import re
from collections.abc import Mapping

import numpy as np

from glip_jax.weights import rules

# Hugging Face's -> its authors'; all that are found are put in place.
_AUTHORS = {
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
_HUGGING_FACE = {
    r'^patch_embed\.proj\.': 'embeddings.patch_embeddings.projection.',
    r'^patch_embed\.norm\.': 'embeddings.norm.',
    r'^layers\.': 'encoder.layers.',
    r'\.attn\.proj\.': '.attention.output.dense.',
    r'\.attn\.': '.attention.self.',
    r'(?<=\d)\.norm1\.': '.layernorm_before.',
    r'(?<=\d)\.norm2\.': '.layernorm_after.',
    r'\.mlp\.fc1\.': '.intermediate.dense.',
    r'\.mlp\.fc2\.': '.output.dense.',
}
_PARTS = ('query', 'key', 'value')


def from_hugging_face(
    named: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Arrays by the authors' names.

  Args:
    named: arrays by Hugging Face's, without the prefix of the model.

  Raises:
    WeightsError: a query, key or value is missing.
  """
  return _join({_rename(key, _AUTHORS): x for key, x in named.items()})


def to_hugging_face(named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Arrays by Hugging Face's names: `from_hugging_face` undone."""
  split = {}
  for key, value in named.items():
    if match := re.fullmatch(r'(.*\.attn)\.qkv\.(weight|bias)', key):
      for part, x in zip(_PARTS, np.split(value, 3), strict=True):
        split[f'{match[1]}.{part}.{match[2]}'] = x
    else:
      split[key] = value
  return {_rename(key, _HUGGING_FACE): x for key, x in split.items()}


def _rename(key: str, names: Mapping[str, str]) -> str:
  for pattern, name in names.items():
    key = re.sub(pattern, name, key)
  return key


def _join(named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Queries, keys and values as one layer."""
  joined, parts = {}, {}
  for key, value in named.items():
    match = re.fullmatch(r'(.*\.attn)\.(query|key|value)\.(weight|bias)', key)
    if match:
      name = f'{match[1]}.qkv.{match[3]}'
      parts.setdefault(name, {})[match[2]] = np.asarray(value)
    else:
      joined[key] = value
  for name, three in parts.items():
    missing = [part for part in _PARTS if part not in three]
    if missing:
      raise rules.WeightsError([f'{name}: its {x} is missing' for x in missing])
    joined[name] = np.concatenate([three[part] for part in _PARTS])
  return joined
