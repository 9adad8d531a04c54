"""What a file of weights says of its model, so that it loads alone.

Files of safetensors hold texts beside their arrays. Ours have two: the config
as JSON, and the tokenizer as the tokenizers library writes it.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from glip_jax import errors

CONFIG = 'glip_jax'
TOKENIZER = 'tokenizer.json'
# Of `config.data`: what decides how images and prompts come to a model.
FIELDS = (
    'tokenizer',
    'num_tokens',
    'num_phrases',
    'image_size',
    'resize',
    'buckets',
    'extent_multiple',
    'prompt_end',
    'chunk_names',
    'class_captions',
)
_MOST = 1 << 26


def describe(
    model: Mapping[str, Any], data: Mapping[str, Any], tokenizer: str
) -> dict[str, str]:
  """The texts that a file has.

  Args:
    model: `config.model`.
    data: `config.data`, of which `FIELDS` are kept.
    tokenizer: a tokenizer.json; '' keeps only its name.
  """
  kept = {name: data[name] for name in FIELDS if name in data}
  texts = {CONFIG: json.dumps({'model': dict(model), 'data': kept})}
  return texts | ({TOKENIZER: tokenizer} if tokenizer else {})


def read(path: str | os.PathLike) -> dict[str, Any] | None:
  """`model` and `data` of a file; None if it says nothing of them.

  Its tokenizer is the file itself, where it holds one.

  Args:
    path: of a file of weights.

  Raises:
    UserError: what it says cannot be read.
  """
  texts = texts_of(path)
  if CONFIG not in texts:
    return None
  try:
    found = json.loads(texts[CONFIG])
    model, data = dict(found['model']), dict(found['data'])
  except (ValueError, TypeError, KeyError, RecursionError) as error:
    raise errors.UserError(
        f'{os.fspath(path)} says in its header what model it is of, which'
        f' cannot be read ({error!r:.100}): convert it again, or give its'
        ' variant'
    ) from None
  if TOKENIZER in texts:
    data['tokenizer'] = os.path.abspath(os.fspath(path))
  return {'model': model, 'data': data}


def texts_of(path: str | os.PathLike) -> dict[str, str]:
  """The texts beside the arrays of a file; none of files of other formats.

  Args:
    path: of a file, which need not be whole.
  """
  if not os.fspath(path).lower().endswith('.safetensors'):
    return {}
  try:
    with open(path, 'rb') as file:
      size = int.from_bytes(file.read(8), 'little')
      if size > _MOST:
        return {}
      header = json.loads(file.read(size))
    texts = header.get('__metadata__', {})
  except (OSError, ValueError, AttributeError, RecursionError):
    return {}  # Who reads the arrays says what is wrong.
  if not isinstance(texts, dict):
    return {}
  return {k: v for k, v in texts.items() if isinstance(v, str)}
