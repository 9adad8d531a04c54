"""Moving weights between naming schemes: one rule per key, both ways.

A table is a list of `Rule`s. Every source key must match exactly one rule and
every target array must be filled exactly once, or, the other way, be written
to exactly one key; whatever is amiss is listed in one error.
"""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from glip_jax import errors

_FIELD = re.compile(r'\{(\w+)\}')
_PLACE = re.compile(r'(.*)\[(\d+)\]')
# More faults than this look like the weights of another model.
_MANY = 20
_FIRST = 3  # Of each kind, where there are so many.


@dataclasses.dataclass(frozen=True)
class Rule:
  """Where a source array goes, and comes back from.

  Source and target are templates: `{name}` stands for a whole number, and both
  hold the same names, so that each of them gives the other.

  Attributes:
    source: template of the source key.
    target: template of the '/'-joined path of the target; a trailing `[n]` puts
      the array at place n of a stacked target; None for arrays that the target
      computes itself or does not use.
    transform: from the source's layout to the target's.
    inverse: back again.
    check: of an array without a target: says what is wrong with it, if
      anything is.
  """

  source: str
  target: str | None
  transform: Callable[[np.ndarray], np.ndarray] = lambda x: x
  inverse: Callable[[np.ndarray], np.ndarray] = lambda x: x
  check: Callable[[np.ndarray], str | None] = lambda x: None


class WeightsError(errors.UserError):
  """A checkpoint that does not fit: lists what is amiss, of much the first few.

  Attributes:
    faults: one text for each.
  """

  def __init__(self, faults: Sequence[str], what: str = 'the weights'):
    self.faults = tuple(faults)
    listed = sorted(faults)
    if len(faults) > _MANY:
      shown = _first_of_each_kind(listed)
      listed = [*shown, f'and {len(faults) - len(shown)} more']
    count = '1 fault' if len(faults) == 1 else f'{len(faults)} faults'
    hint = (
        ' (if they are of another variant, say of which)'
        if len(faults) > _MANY
        else ''
    )
    super().__init__(f'{count} in {what}{hint}: {"; ".join(listed)}')


def _first_of_each_kind(faults: Sequence[str]) -> list[str]:
  """The first few of the faults that differ in more than names and numbers."""
  kinds = collections.defaultdict(list)
  for fault in faults:
    kinds[re.sub(r'\d+', '0', fault.partition(': ')[2])].append(fault)
  most = sorted(kinds.values(), key=len, reverse=True)[:_FIRST]
  return [fault for kind in most for fault in kind[:_FIRST]]


def matches(
    rules: Sequence[Rule], keys: Sequence[str]
) -> Iterator[tuple[str, list[tuple[Rule, str | None]]]]:
  """For each source key, all rules that match, with the target that each says.

  Args:
    rules: of a table.
    keys: source keys.

  Yields:
    (key, [(rule, target or None), ...]) in the order of the keys.
  """
  lookup = _Lookup((rule.source, rule) for rule in rules)
  for key in keys:
    yield (
        key,
        [
            (rule, rule.target and rule.target.format(**fields))
            for rule, fields in lookup(key)
        ],
    )


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
      or would be filled twice, shapes that differ, types that are no floats,
      values that are not finite, arrays without a target that are not what
      they must be.
  """
  placed: dict[str, dict[int | None, np.ndarray]] = {}
  faults, wanted = [], flatten(target)
  for key, found in matches(rules, list(source)):
    if len(found) != 1:
      faults.append(f'{key}: {len(found)} rules match')
      continue
    ((rule, name),) = found
    if name is None:
      fault = rule.check(np.asarray(source[key]))
      faults += [f'{key}: {fault}'] if fault else []
      continue
    path, place = _place(name)
    slots = placed.setdefault(path, {})
    if place in slots:
      faults.append(f'{key}: {path} is already filled')
    if path not in wanted:
      continue  # Its copies would be for nothing.
    try:
      slots[place] = rule.transform(np.asarray(source[key]))
    except (ValueError, IndexError):
      faults.append(f'{key}: shape {np.shape(source[key])} is of another kind')
      slots[place] = None
  filled = {}
  for path, spec in wanted.items():
    filled[path], fault = _assemble(path, placed.pop(path, {}), spec)
    faults += [fault] if fault else []
  faults += [f'{path}: not a parameter of the model' for path in placed]
  if faults:
    raise WeightsError(faults)
  paths, treedef = jax.tree_util.tree_flatten_with_path(target)
  return treedef.unflatten([filled[_join(path)] for path, _ in paths])


def invert(tree: Any, rules: Sequence[Rule]) -> dict[str, np.ndarray]:
  """Flat arrays by source key from a tree of parameters: `convert` undone.

  Args:
    tree: arrays by path of the target.
    rules: exactly one must match each array, or each place of a stacked one.

  Returns:
    Arrays by source key, in the types that the tree holds.

  Raises:
    WeightsError: parameters without a rule or with several, rules that no
      parameter fills (those with a `{field}` may stay idle), two parameters
      for one key.
  """
  rules = [rule for rule in rules if rule.target is not None]
  lookup = _Lookup((_place(rule.target)[0], rule) for rule in rules)
  written, faults, used = {}, [], set()
  for path, value in flatten(tree).items():
    found = list(lookup(path))
    fault = _misplaced(path, np.shape(value), [rule for rule, _ in found])
    if fault:
      faults.append(fault)
      continue
    for rule, fields in found:
      used.add(rule.source)
      key = rule.source.format(**fields)
      place = _place(rule.target)[1]
      piece = np.asarray(value) if place is None else np.asarray(value[place])
      if key in written:
        faults.append(f'{path}: {key} is already written')
      try:
        written[key] = rule.inverse(piece)
      except (ValueError, IndexError):
        faults.append(f'{path}: shape {np.shape(value)} is of another kind')
  idle = {r.source for r in rules if not _FIELD.search(r.source)} - used
  faults += [f'{source}: no parameter fills it' for source in idle]
  if faults:
    raise WeightsError(faults)
  return written


def flatten(tree: Any) -> dict[str, Any]:
  """A tree of parameters as a flat mapping from '/'-joined paths."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {_join(path): leaf for path, leaf in leaves}


class _Lookup:
  """Rules by template: those without fields in a dict, as a table has many."""

  def __init__(self, entries: Iterator[tuple[str, Rule]]):
    self._literal = collections.defaultdict(list)
    self._patterns = []
    for template, rule in entries:
      if _FIELD.search(template):
        self._patterns.append((_pattern(template), rule))
      else:
        self._literal[template].append((rule, {}))

  def __call__(self, name: str) -> Iterator[tuple[Rule, dict[str, str]]]:
    yield from self._literal.get(name, ())
    for pattern, rule in self._patterns:
      if match := pattern.fullmatch(name):
        yield rule, match.groupdict()


def _pattern(template: str) -> re.Pattern[str]:
  """'a.{i}' as a regular expression with a group named i."""
  parts = _FIELD.split(template)
  # Texts and names of fields take turns. 01 would not come back as it was.
  return re.compile(
      ''.join(
          rf'(?P<{part}>0|[1-9]\d*)' if i % 2 else re.escape(part)
          for i, part in enumerate(parts)
      ),
      re.ASCII,
  )


def _join(path: Sequence[Any]) -> str:
  return '/'.join(str(getattr(k, 'key', k)) for k in path)


def _place(target: str) -> tuple[str, int | None]:
  match = _PLACE.fullmatch(target)
  return (match[1], int(match[2])) if match else (target, None)


def _misplaced(
    path: str, shape: tuple[int, ...], rules: Sequence[Rule]
) -> str | None:
  """What is wrong with the rules that a parameter has, if anything is."""
  places = [_place(rule.target)[1] for rule in rules]
  if not rules:
    return f'{path}: no rule gives it a name'
  if places == [None]:
    return None
  if None in places or len(set(places)) < len(places):
    return f'{path}: {len(rules)} rules match'
  if set(places) != set(range(shape[0] if shape else 0)):
    return f'{path}: shape {shape}, wanted ({len(places)}, ...)'
  return None


def _assemble(
    path: str, slots: dict[int | None, np.ndarray | None], spec: Any
) -> tuple[np.ndarray | None, str | None]:
  """One target array from its pieces, or what is wrong with them."""
  if not slots:
    return None, f'{path}: nothing fills it'
  if any(value is None for value in slots.values()):
    return None, None  # Its source is already listed.
  fits = tuple(spec.shape)
  if None in slots:
    value = slots[None]
  elif set(slots) != set(range(len(slots))):
    return None, f'{path}: only places {sorted(slots)} are filled'
  elif len({value.shape for value in slots.values()}) > 1:
    return None, f'{path}: its places have different shapes'
  elif (shape := (len(slots), *slots[0].shape)) != fits:
    return None, f'{path}: shape {shape}, wanted {fits}'
  else:
    value = np.stack([slots[i] for i in range(len(slots))])
  if value.shape != fits:
    return None, f'{path}: shape {value.shape}, wanted {fits}'
  is_float = lambda x: jax.dtypes.issubdtype(x.dtype, np.floating)
  if is_float(spec) and not is_float(value):
    return None, f'{path}: {value.dtype}, wanted {spec.dtype}'
  with np.errstate(over='ignore'):
    value = value.astype(spec.dtype)
  if not np.all(np.isfinite(value)):
    return None, f'{path}: holds values that are not finite in {spec.dtype}'
  return value, None
