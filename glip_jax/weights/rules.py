"""Moving weights between naming schemes: one rule per key, strict both ways.

A table is a list of `Rule`s. Every source key must match exactly one rule,
every target array must be filled exactly once; whatever is amiss is listed in
one error.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from glip_jax import errors


@dataclasses.dataclass(frozen=True)
class Rule:
  """Where a source array goes.

  Attributes:
    pattern: regular expression that the whole source key must match.
    target: '/'-joined path of the target, with `\\1`-style groups; a trailing
      `[n]` puts the array at place n of a stacked target; None for arrays that
      the target computes itself or does not use.
    transform: from the source's layout to the target's.
    inverse: back again.
  """

  pattern: str
  target: str | None
  transform: Callable[[np.ndarray], np.ndarray] = lambda x: x
  inverse: Callable[[np.ndarray], np.ndarray] = lambda x: x


class WeightsError(errors.UserError):
  """A checkpoint that does not fit: lists every key that is amiss."""


def convert(
    source: Mapping[str, np.ndarray], rules: Sequence[Rule], target: Any
) -> Any:
  """Fills a tree of parameters from a flat mapping of arrays.

  Args:
    source: arrays by key.
    rules: exactly one must match each key.
    target: tree of arrays or ShapeDtypeStructs that says what is wanted.

  Returns:
    A tree like `target`, of numpy arrays in the target's dtypes.

  Raises:
    WeightsError: keys without a rule or with several, targets that stay empty
      or would be filled twice, shapes that differ.
  """
  wanted = flatten(target)
  # A table outgrows the cache of the re module.
  table = [(re.compile(rule.pattern), rule) for rule in rules]
  placed: dict[str, dict[int | None, np.ndarray]] = {}
  faults = []
  for key, value in source.items():
    matches = [
        (rule, match)
        for pattern, rule in table
        if (match := pattern.fullmatch(key))
    ]
    if len(matches) != 1:
      faults.append(f'{key}: {len(matches)} rules match')
      continue
    rule, match = matches[0]
    if rule.target is None:
      continue
    path, place = _place(match.expand(rule.target))
    slots = placed.setdefault(path, {})
    if place in slots:
      faults.append(f'{key}: {path} is already filled')
    slots[place] = rule.transform(np.asarray(value))
  filled = {}
  for path, spec in wanted.items():
    value, fault = _assemble(path, placed.pop(path, {}), spec)
    filled[path] = value
    faults += [fault] if fault else []
  faults += [f'{path}: not a parameter of the model' for path in placed]
  if faults:
    raise WeightsError(
        f'{len(faults)} faults in the weights: ' + '; '.join(sorted(faults))
    )
  paths, treedef = jax.tree_util.tree_flatten_with_path(target)
  return treedef.unflatten([filled[_join(path)] for path, _ in paths])


def flatten(tree: Any) -> dict[str, Any]:
  """A tree of parameters as a flat mapping from '/'-joined paths."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {_join(path): leaf for path, leaf in leaves}


def _join(path: Sequence[Any]) -> str:
  return '/'.join(str(getattr(k, 'key', k)) for k in path)


def _place(target: str) -> tuple[str, int | None]:
  match = re.fullmatch(r'(.*)\[(\d+)\]', target)
  return (match[1], int(match[2])) if match else (target, None)


def _assemble(
    path: str, slots: dict[int | None, np.ndarray], spec: Any
) -> tuple[np.ndarray | None, str | None]:
  """One target array from its pieces, or what is wrong with them."""
  if not slots:
    return None, f'{path}: nothing fills it'
  if None in slots:
    value = slots[None]
  elif set(slots) != set(range(len(slots))):
    return None, f'{path}: only places {sorted(slots)} are filled'
  else:
    value = np.stack([slots[i] for i in range(len(slots))])
  if value.shape != tuple(spec.shape):
    return None, f'{path}: shape {value.shape}, wanted {tuple(spec.shape)}'
  return value.astype(spec.dtype), None
