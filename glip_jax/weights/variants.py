"""Which known model a table of weights looks like, by a few telling arrays.

Nothing is built for it: the names say the family, and width, depth and parts
the variant, whoever named the arrays.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# Beginnings of names: official, mmdetection's, Hugging Face's, ours.
_FAMILIES = {
    'glip': ('rpn.head.', 'bbox_head.head.', 'tower/'),
    'grounding_dino': (
        'model.encoder.layers.',
        'bbox_head.reg_branches.',
        'level_embedding',
    ),
    'query': ('query_of_token/',),
}
# What some variants of a family have: fusion, and a bias of classes.
_PARTS = {
    'glip': r'\.b_attn\.|/fusion/',
    'grounding_dino': (
        r'class_embed\.\d+\.bias|cls_branches\.\d+\.bias|class_bias'
    ),
    'query': '$^',
}
_WIDTH = re.compile(r'patch_embed.*[./]proj\w*[./]bias$')
_BLOCK = re.compile(r'(?:layers|stages)\.2\.blocks\.(\d+)\.|stage2_block(\d+)/')
# Family, whether it has the part, width and depth of the Swin's third stage.
_VARIANTS = {
    ('glip', False, 96, 6): 'A',
    ('glip', True, 96, 6): 'T',  # And B and C, which are alike.
    ('glip', True, 192, 18): 'L',
    ('grounding_dino', False, 96, 6): 'grounding_dino_T',
    ('grounding_dino', False, 128, 18): 'grounding_dino_B',
    ('grounding_dino', True, 96, 6): 'mm_grounding_dino_T',
    ('grounding_dino', True, 128, 18): 'mm_grounding_dino_B',
    ('grounding_dino', True, 192, 18): 'mm_grounding_dino_L',
}


class Look(NamedTuple):
  """What weights look like.

  Attributes:
    family: name of it.
    variant: name of it; '' where it is none of the known ones.
  """

  family: str
  variant: str


def look(state: Mapping[str, Any]) -> Look | None:
  """What arrays by name look like; None where nothing tells."""
  family = _family(state)
  if family is None:
    return None
  part = any(re.search(_PARTS[family], name) for name in state)
  widths = [
      x.shape[-1] for n, x in state.items() if _WIDTH.search(n) and x.shape
  ]
  places = [int(m[1] or m[2]) for m in map(_BLOCK.search, state) if m]
  facts = family, part, max(widths, default=0), max(places, default=-1) + 1
  return Look(family, _VARIANTS.get(facts, ''))


def hint(state: Mapping[str, Any], own: Mapping[str, Any], remedy: str) -> str:
  """What to do where weights are of another known model; '' for nothing.

  Args:
    state: arrays of a file, by any names.
    own: parameters of the model that they do not fit.
    remedy: what is to be given, {} standing for the name of the variant.
  """
  there, here = look(state), look(own)
  if there is None or there == here:
    return ''
  if there.variant:
    return (
        f'the file looks like variant {there.variant!r} of {there.family}:'
        f' give {remedy.format(there.variant)}'
    )
  if here is not None and there.family == here.family:
    return ''
  return (
      f'the file looks like a model of family {there.family}: give the --config'
      ' that it was trained with'
  )


def _family(names: Iterable[str]) -> str | None:
  """The family that names are of."""
  for family, starts in _FAMILIES.items():
    if any(name.startswith(starts) for name in names):
      return family
  return None
