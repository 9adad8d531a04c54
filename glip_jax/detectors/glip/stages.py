"""What a model computes on the way, by name: for whoever debugs a port.

Modules sow their results into the collection 'intermediates'; blocks that are
stacked under one scan sow theirs stacked. Here both come out flat, one array
for each stage and block, in the order in which the model computes them:

  backbone/stage2 ... stage5        maps at strides 4, 8, 16, 32
  neck/p3 ... p7                    pyramid
  language/embeddings, language/0 ... , language/hidden
  tower/0/fusion/p3 ... p7          image after the fusion of block 0
  tower/0/fusion/text               words after it
  tower/0/text                      words after the block's text layer
  tower/0/dyconv/p3 ... p7          image after the block
  head/deltas, head/projected_text
  head/region_embeddings, head/word_embeddings
  outputs/logits, boxes, quality, anchors, valid

    outputs, stages = stages.run(recipe.model, params, *inputs)
    for name, value in stages.items():
      print(name, value.shape, abs(value).max())

What a module sows without a row in the table below keeps its own path.
"""

import collections
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util

from glip_jax import types

# Modules whose children are stacked, with the block first.
_STACKED = re.compile(r'^(tower)/blocks/|^(language)/layers/')
# Sown path, blocks unstacked -> name of the stage; the first match decides.
_NAMES = (
    (r'^neck/level(\d)$', r'neck/p\1'),
    (r'^(tower/\d+)/fuse_(\w+)$', r'\1/fusion/\2'),
    (r'^(tower/\d+)/lang_text$', r'\1/text'),
    (r'^(tower/\d+)/dyconv_(p\d)$', r'\1/dyconv/\2'),
    (r'^(language/\d+)/output$', r'\1'),
)
_OUTPUTS = ('logits', 'boxes', 'quality', 'anchors', 'valid')
_PARTS = ('backbone', 'neck', 'language', 'tower', 'head', 'outputs')
# What stands before what within a part or a block.
_WITHIN = ('embeddings', 'fusion', 'text', 'dyconv', 'hidden')


def run(
    model: nn.Module, params: Any, *inputs: Any
) -> tuple[types.Outputs, collections.OrderedDict[str, jax.Array]]:
  """Applies a model and keeps every stage; may be jitted.

  Args:
    model: a `GroundedDetector`, such as `Recipe.model`.
    params: its parameters.
    *inputs: those of the model: image, extent, ids, mask.

  Returns:
    The outputs, and stage -> array in order of computation. Randomness is
    off, as in evaluation.
  """
  outputs, state = model.apply(
      {'params': params}, *inputs, mutable='intermediates'
  )
  return outputs, name_stages(state['intermediates'], outputs)


def name_stages(
    intermediates: Mapping[str, Any], outputs: types.Outputs
) -> collections.OrderedDict[str, jax.Array]:
  """Flat, unstacked and ordered stages of what a model has sown.

  Args:
    intermediates: the collection 'intermediates' of a `GroundedDetector`.
    outputs: its outputs, which become the last stages.

  Returns:
    Stage -> array.
  """
  stages = {}
  for path, sown in traverse_util.flatten_dict(intermediates, sep='/').items():
    for call, value in enumerate(sown):
      # A module that is applied several times sows as often.
      suffix = f'/{call}' if len(sown) > 1 else ''
      for name, part in _unstack(path, value):
        stages[_rename(name) + suffix] = part
  for name in _OUTPUTS:
    if (value := getattr(outputs, name)) is not None:
      stages[f'outputs/{name}'] = value
  # Not a dict, whose keys jit would sort.
  names = sorted(stages, key=_order)
  return collections.OrderedDict((name, stages[name]) for name in names)


def _unstack(path: str, value: jax.Array) -> list[tuple[str, jax.Array]]:
  """(path with the block's number, its array) of every stacked block."""
  match = _STACKED.match(path)
  if not match:
    return [(path, value)]
  rest = path[match.end() :]
  part = match[1] or match[2]
  return [(f'{part}/{i}/{rest}', block) for i, block in enumerate(value)]


def _rename(path: str) -> str:
  for pattern, name in _NAMES:
    if re.match(pattern, path):
      return re.sub(pattern, name, path)
  return path


def _order(name: str) -> tuple[Any, ...]:
  """Sorts by part, then block, then place within it."""
  part, *rest = name.split('/')
  place = _PARTS.index(part) if part in _PARTS else len(_PARTS)
  block = next((int(word) for word in rest if word.isdigit()), -1)
  within = next((_WITHIN.index(w) for w in rest if w in _WITHIN), -1)
  # What follows all layers comes last.
  block = block if rest[-1] != 'hidden' else 1 << 30
  return place, block, within, rest
