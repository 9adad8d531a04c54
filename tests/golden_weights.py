"""Weights that a rule makes from parameter names, for the reference models.

The reference arrays in tests/golden were computed with weights that depend on
nothing but the official name and shape of each array: a normal draw seeded by
the name's checksum, scaled by the first line of a table that matches. This is
that table in this project's words (tests/golden/README.md describes it).
"""

import json
import math
import pathlib
import re
import zlib
from collections.abc import Sequence

import numpy as np

from glip_jax.weights import buffers

# pattern -> (kind, center, spread). 'fan': spread / sqrt(inputs), 'fan_out':
# spread / sqrt(outputs), 'plain': center + spread * draw.
_TABLE = (
    (r'relative_position_index$|position_ids$|anchor_generator\.', None),
    (r'head\.log_scale$', ('plain', 0.0, 0.0)),
    (r'head\.bias0$', ('plain', -3.8, 0.0)),
    (r'head\.cls_logits\.bias$', ('plain', -float(np.log(99.0)), 0.0)),
    (r'head\.bias_lang$', ('plain', 0.0, 0.5)),
    (r'head\.scales\.\d+\.scale$', ('plain', 1.0, 0.1)),
    (r'dot_product_projection_text\.weight$', ('fan_out', 0.0, 9.0)),
    (r'dot_product_projection_text\.bias$', ('plain', 0.0, 0.05)),
    (r'head\.(bbox_pred|centerness)\.weight$', ('fan', 0.0, 2.0)),
    (r'head\.cls_logits\.weight$', ('fan', 0.0, 0.1)),
    (r'\.gamma_[vl]$', ('plain', 0.5, 0.1)),
    (r'b_attn\.attn\.[vl]_proj\.weight$', ('fan', 0.0, 1.6)),
    (r'b_attn\.attn\.(values_l|out_v)_proj\.weight$', ('fan', 0.0, 1.0)),
    (r'b_attn\.attn\.(values_v|out_l)_proj\.weight$', ('fan', 0.0, 0.9)),
    (r'\.offset\.weight$', ('fan', 0.0, 1.5)),
    (r'\.offset\.bias$', ('plain', 0.0, 0.3)),
    (r'\.AttnConv\.1\.weight$', ('fan', 0.0, 4.0)),
    (r'\.AttnConv\.1\.bias$', ('plain', 0.5, 0.5)),
    (r'\.relu\.fc\.0\.weight$', ('fan', 0.0, 3.0)),
    (r'\.relu\.fc\.2\.weight$', ('fan', 0.0, 2.0)),
    (r'\.relu\.fc\.2\.bias$', ('plain', 0.0, 0.5)),
    (r'relative_position_bias_table$', ('plain', 0.0, 0.5)),
    (r'word_embeddings\.weight$', ('plain', 0.0, 1.0)),
    (r'(position|token_type)_embeddings\.weight$', ('plain', 0.0, 0.3)),
    (r'attention\.self\.(query|key)\.weight$', ('fan', 0.0, 1.6)),
    (r'attention\.self\.value\.weight$', ('fan', 0.0, 1.0)),
    (r'attention\.output\.dense\.weight$', ('fan', 0.0, 0.3)),
    (r'intermediate\.dense\.weight$', ('fan', 0.0, 1.2)),
    (r'output\.dense\.weight$', ('fan', 0.0, 0.4)),
    (r'\.weight$', ('fan_or_norm', 1.0, 0.1)),
    (r'bias$', ('plain', 0.0, 0.1)),
)


def make_weight(
    key: str, shape: tuple[int, ...], seed_offset: int
) -> np.ndarray | None:
  """float32 array of an official name, None where the model computes it."""
  rule = next(rule for pattern, rule in _TABLE if re.search(pattern, key))
  if rule is None:
    return None
  kind, center, spread = rule
  if kind == 'fan_or_norm':
    kind = 'fan' if len(shape) > 1 else 'plain'
    center, spread = (0.0, 1.0) if kind == 'fan' else (center, spread)
  if kind == 'fan':
    spread = spread / np.sqrt(max(int(np.prod(shape[1:])), 1))
  if kind == 'fan_out':
    spread = spread / np.sqrt(shape[0])
  seed = zlib.crc32(key.encode('ascii')) + seed_offset
  draw = np.random.Generator(np.random.PCG64(seed)).standard_normal(
      size=shape, dtype=np.float32
  )
  if kind == 'plain':
    return np.float32(center) + np.float32(spread) * draw
  return np.float32(spread) * draw


def official_state(folder: pathlib.Path, name: str) -> dict[str, np.ndarray]:
  """Every array of a reference model, by official name."""
  manifest = json.loads((folder / f'{name}.manifest.json').read_text())
  offset = 7 if name.endswith('C') else 0
  state = {}
  for key, shape in manifest.items():
    weight = make_weight(key, tuple(shape), offset)
    state[key] = computed(key, shape) if weight is None else weight
  return state


def computed(key: str, shape: Sequence[int]) -> np.ndarray:
  """What the official model computes itself and keeps in its state."""
  if 'cell_anchors' in key:
    return buffers.cell_anchors(int(key[-1]))
  return buffers.relative_position_index(math.isqrt(shape[0]))
