"""A table of what a model is made of."""

import math
from typing import Any

import jax
import numpy as np

from glip_jax.training import tables


def parameter_table(params: Any) -> str:
  """Every parameter with its shape, size, mean and deviation.

  Args:
    params: tree of arrays, or of `jax.ShapeDtypeStruct`; statistics of those,
      and of arrays that live partly on other hosts, are shown as `-`.

  Returns:
    An aligned table; then totals per top-level module, largest first.
  """
  rows = [('name', 'shape', 'count', 'mean', 'std')]
  totals: dict[str, int] = {}
  for name, leaf in tables.named_leaves(params).items():
    top = name.split('/')[0]
    count = math.prod(leaf.shape)
    totals[top] = totals.get(top, 0) + count
    shape = ' x '.join(map(str, leaf.shape)) or 'scalar'
    rows.append((name, shape, f'{count:,}', *_statistics(leaf)))
  lines = _align(rows)
  everything = sum(totals.values())
  ordered = sorted(totals.items(), key=lambda item: -item[1])
  summary = [
      (name, f'{count:,}', f'{100 * count / max(everything, 1):.1f} %')
      for name, count in [*ordered, ('total', everything)]
  ]
  return '\n'.join([*lines, '', *_align([('module', 'count', ''), *summary])])


def _statistics(leaf: Any) -> tuple[str, str]:
  if isinstance(leaf, jax.ShapeDtypeStruct) or not leaf.size:
    return '-', '-'
  if not getattr(leaf, 'is_fully_addressable', True):
    return '-', '-'
  values = np.asarray(leaf, np.float32)
  return f'{values.mean():.3g}', f'{values.std():.3g}'


def _align(rows: list[tuple[str, ...]]) -> list[str]:
  """Columns of equal width: the first one to the left, numbers right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = []
  for row in rows:
    cells = [row[0].ljust(widths[0])]
    cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
    lines.append('  '.join(cells).rstrip())
  return lines
