"""Configs made of the dataclasses that check them.

One definition of each field: its default, its type (the annotation), its range
and what it means.

  @dataclasses.dataclass(frozen=True)
  class Neck:
    \"\"\"The feature pyramid.\"\"\"

    width: int = field(256, 'channels of every level', least=1)
    levels: tuple[int, ...] = field((3, 4, 5), 'levels to keep', least=0)

  @dataclasses.dataclass(frozen=True)
  class Model:
    neck: Neck = part(Neck)

  model = from_dict(Model, {'neck': {'width': 64}}, 'config.model')

A field may be a bool, int, float or str, a tuple of them (or of tuples), a
dataclass (or one of several, told apart by their field `name`), or a mapping
from names to one. None is no value: ml_collections
could not override it. An optional part is a dataclass with a field `on`.
"""

import collections.abc
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from glip_jax import errors

T = TypeVar('T')

_SHOWN = 200  # Characters of a value in a message.
_KINDS = {bool: 'True or False', int: 'a whole number', str: 'text'}


class Range(NamedTuple):
  """What values of a field are allowed; None where nothing limits them.

  Attributes:
    least: smallest allowed number.
    above: all allowed numbers are larger.
    most: largest allowed number.
    below: all allowed numbers are smaller.
    choices: all allowed values.
  """

  least: float | None = None
  above: float | None = None
  most: float | None = None
  below: float | None = None
  choices: tuple[Any, ...] | None = None

  def __str__(self) -> str:
    """The range in words, '' if there is none."""
    if self.choices is not None:
      return 'one of ' + ', '.join(map(repr, self.choices))
    low = '' if self.least is None else f'{self.least} or more'
    low = low if self.above is None else f'more than {self.above}'
    high = '' if self.most is None else f'{self.most} at most'
    high = high if self.below is None else f'less than {self.below}'
    return ', '.join(filter(None, (low, high)))

  def allows(self, value: Any) -> bool:
    """Whether a value is in the range; NaN and infinities never are."""
    if self.choices is not None:
      return value in self.choices
    if isinstance(value, float) and not math.isfinite(value):
      return False
    return (
        (self.least is None or value >= self.least)
        and (self.above is None or value > self.above)
        and (self.most is None or value <= self.most)
        and (self.below is None or value < self.below)
    )


class Row(NamedTuple):
  """One field as docs and messages show it.

  Attributes:
    name: dotted path.
    default: as Python writes it.
    range: in words, '' if there is none.
    doc: what it means.
  """

  name: str
  default: str
  range: str
  doc: str


def field(
    default: Any,
    doc: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    choices: Sequence[Any] | None = None,
) -> Any:
  """A field of a config dataclass.

  Args:
    default: a value that the range allows.
    doc: what it means, with its unit.
    least: smallest allowed number; of a tuple, of each of its numbers.
    above: all allowed numbers are larger.
    most: largest allowed number.
    below: all allowed numbers are smaller.
    choices: all allowed values.
  """
  choices = None if choices is None else tuple(choices)
  metadata = {'doc': doc, 'range': Range(least, above, most, below, choices)}
  if isinstance(default, Mapping):
    return dataclasses.field(
        default_factory=lambda: dict(default), metadata=metadata
    )
  return dataclasses.field(default=default, metadata=metadata)


def part(cls: type[T], doc: str = '', **changes: Any) -> T:
  """A field that is another config dataclass.

  Args:
    cls: the dataclass.
    doc: what it is; by default the first line of its docstring.
    **changes: values that differ from the defaults of `cls` here.
  """
  return dataclasses.field(
      default_factory=lambda: cls(**changes), metadata={'doc': doc}
  )


def from_dict(
    cls: type[T], values: Mapping[str, Any] | T, what: str = 'config'
) -> T:
  """Fills a config dataclass and checks every value of it.

  Args:
    cls: the dataclass; if it has a method `check(what)`, that looks at fields
      together and raises a UserError.
    values: fields by name, dataclasses as mappings (a ConfigDict will do) or
      as what they are; fields that are left out have their defaults.
    what: name of the config, for messages.

  Returns:
    An instance of `cls`, all lists made tuples, all floats made floats.

  Raises:
    UserError: naming an unknown field and the closest known ones, or a value
      of another type or out of its range.
  """
  if isinstance(values, cls):
    values = {name: getattr(values, name) for name in names(cls)}
  elif hasattr(values, 'to_dict'):
    values = values.to_dict()  # A ConfigDict, which is no Mapping.
  if not isinstance(values, Mapping):
    raise errors.UserError(
        f'{what}={_show(values)} must hold fields: {", ".join(names(cls))}'
    )
  for key in values:
    if key not in names(cls):
      raise errors.UserError(unknown_field(what, key, names(cls)))
  hints = typing.get_type_hints(cls)
  read = {}
  for each in dataclasses.fields(cls):
    value = values[each.name] if each.name in values else _default(each)
    limits = each.metadata.get('range', Range())
    read[each.name] = _read(
        hints[each.name], value, f'{what}.{each.name}', limits
    )
  made = cls(**read)
  if hasattr(made, 'check'):
    made.check(what)
  return made


def to_dict(config: Any) -> dict[str, Any]:
  """The fields of a config dataclass as nested dicts, tuples as they are."""
  return {
      each.name: _plain(getattr(config, each.name))
      for each in dataclasses.fields(config)
  }


def filled(cls: type, what: str = 'config', **values: Any) -> dict[str, Any]:
  """All fields of a dataclass as nested dicts, some given, others default."""
  return to_dict(from_dict(cls, values, what))


def names(cls: type) -> tuple[str, ...]:
  """The names of all fields of a dataclass."""
  return tuple(each.name for each in dataclasses.fields(cls))


def rows(config: Any, prefix: str = '') -> Iterator[Row]:
  """Every field of a config dataclass, and of the dataclasses in it.

  Args:
    config: an instance, whose values are shown as the defaults.
    prefix: stands before each name.

  Yields:
    Rows in the order of definition.
  """
  for each in dataclasses.fields(config):
    value = getattr(config, each.name)
    if dataclasses.is_dataclass(value):
      yield from rows(value, f'{prefix}{each.name}.')
    else:
      limits = each.metadata.get('range', Range())
      doc = each.metadata.get('doc', '')
      yield Row(prefix + each.name, repr(_plain(value)), str(limits), doc)


def unknown_field(what: str, key: str, known: Sequence[str]) -> str:
  """The message for a field that a config does not have."""
  near = difflib.get_close_matches(str(key), known, n=3, cutoff=0.5)
  remedy = f'did you mean {" or ".join(map(repr, near))}?' if near else ''
  listing = f'it has {", ".join(map(repr, known))}'
  return f'{what} has no field {_show(key)}; {remedy or listing}'


def _show(value: Any) -> str:
  """A value as Python writes it, cut where it is long."""
  said = repr(value)
  return said if len(said) <= _SHOWN else f'{said[:_SHOWN]}...'


def _default(each: dataclasses.Field) -> Any:
  if each.default is not dataclasses.MISSING:
    return each.default
  return each.default_factory()


def _plain(value: Any) -> Any:
  if dataclasses.is_dataclass(value):
    return to_dict(value)
  if isinstance(value, Mapping):
    return {key: _plain(item) for key, item in value.items()}
  return value


def _read(hint: Any, value: Any, what: str, limits: Range) -> Any:
  """A value as its annotation wants it; a UserError where it is none."""
  origin = typing.get_origin(hint)
  if hint is Any:
    return value
  if origin in (types.UnionType, typing.Union):
    return _read(_choose(hint, value, what), value, what, limits)
  if dataclasses.is_dataclass(hint):
    return from_dict(hint, value, what)
  if origin is tuple:
    return _read_tuple(hint, value, what, limits)
  if origin is collections.abc.Mapping:
    return _read_mapping(hint, value, what, limits)
  return _read_plain(hint, value, what, limits)


def _choose(hint: Any, value: Any, what: str) -> Any:
  """Of several dataclasses, or one and a mapping of it, what a value is."""
  kinds = typing.get_args(hint)
  if all(map(dataclasses.is_dataclass, kinds)):
    return _choose_by_name(kinds, value, what)
  one, many = kinds
  if typing.get_origin(many) is not collections.abc.Mapping:
    raise TypeError(
        f'{hint}: only `X | Mapping[str, X]`, and dataclasses with a field'
        ' `name`, can be told apart'
    )
  if isinstance(value, one) or not isinstance(value, Mapping):
    return one
  # A name may be that of a field, unless the field holds fields itself.
  hints = typing.get_type_hints(one).items()
  parts = {name for name, kind in hints if dataclasses.is_dataclass(kind)}
  nested = all(isinstance(item, (Mapping, one)) for item in value.values())
  return many if nested and set(value) - parts else one


def _choose_by_name(kinds: tuple[type, ...], value: Any, what: str) -> type:
  """The dataclass whose `name` is the value's; the first where it has none."""
  if isinstance(value, kinds):
    return type(value)
  known = {kind.name: kind for kind in kinds}
  name = kinds[0].name
  if isinstance(value, Mapping):
    name = value.get('name', name)
  if not isinstance(name, str) or name not in known:
    raise errors.UserError(
        f'{what}.name={_show(name)} must be one of'
        f' {", ".join(map(repr, known))}'
    )
  return known[name]


def _read_tuple(hint: Any, value: Any, what: str, limits: Range) -> Any:
  kinds = typing.get_args(hint)
  if not isinstance(value, (tuple, list)):
    raise errors.UserError(f'{what}={_show(value)} must be {_say(hint)}')
  if kinds[-1] is Ellipsis:
    kinds = kinds[:1] * len(value)
  if len(value) != len(kinds):
    raise errors.UserError(
        f'{what}={_show(tuple(value))} must be {_say(hint)}, not of'
        f' {len(value)}'
    )
  try:
    return tuple(
        _read(kind, item, what, limits)
        for kind, item in zip(kinds, value, strict=True)
    )
  except errors.UserError as error:
    raise errors.UserError(
        f'{what}={_show(tuple(value))}: {str(error).removeprefix(what + "=")}'
    ) from None


def _read_mapping(hint: Any, value: Any, what: str, limits: Range) -> Any:
  if not isinstance(value, Mapping):
    raise errors.UserError(f'{what}={_show(value)} must be {_say(hint)}')
  kind = typing.get_args(hint)[1]
  return {
      key: _read(kind, value[key], f'{what}.{key}', limits) for key in value
  }


def _read_plain(hint: type, value: Any, what: str, limits: Range) -> Any:
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  if hint is float and number:
    value = _to_float(value, what)
  if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
    words = ', '.join(filter(None, (_say(hint), str(limits))))
    raise errors.UserError(f'{what}={_show(value)} must be {words}')
  if not limits.allows(value):
    finite = '' if hint is not float or math.isfinite(value) else 'finite'
    words = ', '.join(filter(None, (str(limits), finite)))
    raise errors.UserError(f'{what}={_show(value)} must be {words}')
  return value


def _to_float(value: float, what: str) -> float:
  try:
    return float(value)
  except OverflowError:
    raise errors.UserError(f'{what}={value!r:.40} is too large') from None


def _say(hint: Any) -> str:
  """A type in words."""
  kinds = typing.get_args(hint)
  if typing.get_origin(hint) is tuple:
    if kinds[-1] is Ellipsis:
      return f'a tuple, each item {_say(kinds[0])}'
    return f'a tuple of {len(kinds)}, ({", ".join(map(_say, kinds))})'
  if typing.get_origin(hint) is collections.abc.Mapping:
    return f'fields by name, each {_say(kinds[1])}'
  return _KINDS.get(hint, 'a number' if hint is float else 'a value')
