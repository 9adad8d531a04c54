"""Reads the pickle of a torch file without running anything that it names.

Python's unpickler calls whatever a file tells it to. This one is an interpreter
of the few instructions that torch writes, over the few names in `_NAMES`;
anything else ends with an error that says what the file tried. No name is ever
imported: each stands for a function of this module.
"""

import dataclasses
import io
import pickletools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from glip_jax import errors

_MAX_BYTES = 1 << 24  # Of names, shapes and places; arrays lie elsewhere.
_MAX_STACK = 1000
_MAX_NUMBER = 1 << 63
_REMEDY = (
    'where you trust it, load it with torch and save the tensors alone'
    ' (docs/weights.md)'
)


@dataclasses.dataclass(frozen=True)
class Storage:
  """What a persistent id says: an array of one dimension in the archive.

  Attributes:
    kind: as torch names it, such as 'FloatStorage'.
    key: name of its record in the archive.
    size: number of elements.
  """

  kind: str
  key: str
  size: int


@dataclasses.dataclass(frozen=True)
class View:
  """A tensor as the pickle describes it: a strided view of a storage."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


# Storages of torch, and what their numbers are here.
KINDS: dict[str, np.dtype] = {
    'FloatStorage': np.dtype(np.float32),
    'HalfStorage': np.dtype(np.float16),
    'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
    'DoubleStorage': np.dtype(np.float64),
    'LongStorage': np.dtype(np.int64),
    'IntStorage': np.dtype(np.int32),
    'ShortStorage': np.dtype(np.int16),
    'CharStorage': np.dtype(np.int8),
    'ByteStorage': np.dtype(np.uint8),
    'BoolStorage': np.dtype(bool),
}


class RefusedError(errors.UserError):
  """The pickle tries something that no table of tensors needs."""

  def __init__(self, name: str, what: str):
    super().__init__(f'{name} tries {what}, which is refused: {_REMEDY}')


def read(data: bytes, name: str) -> Any:
  """The value of a pickle: plain containers, numbers, texts and `View`s.

  Args:
    data: the whole pickle.
    name: of the file, for messages.

  Raises:
    RefusedError: it tries anything else; nothing of it has run.
    UserError: it is damaged or too large.
  """
  if len(data) > _MAX_BYTES:
    raise errors.UserError(
        f'{name} has a pickle of {len(data)} bytes, more than {_MAX_BYTES}:'
        f' {_REMEDY}'
    )
  machine = _Machine(name)
  stream = io.BytesIO(data)
  try:
    for opcode, argument, _ in pickletools.genops(stream):
      machine.step(opcode.name, argument)
    if stream.read(1) or machine.marks:
      raise ValueError('there is more than its end')
    (value,) = machine.stack
  except (
      ArithmeticError,
      AttributeError,
      LookupError,
      TypeError,
      ValueError,
  ) as error:
    if isinstance(error, errors.UserError):
      raise
    raise errors.UserError(
        f'{name} has a damaged pickle ({error}): fetch or save it again'
    ) from None
  return value


class _Name:
  """A global of the pickle that is admitted; compared by identity."""

  def __init__(self, name: str, call: Callable[..., Any] | None = None):
    self.name = name
    self.call = call


def _rebuild_tensor(
    storage: Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    requires_grad: bool,
    hooks: Any,
    metadata: Any = None,
) -> View:
  """A view of a storage; gradients and hooks do not matter here."""
  del requires_grad, hooks, metadata
  if not isinstance(storage, Storage):
    raise ValueError('a tensor without a storage')
  for numbers in ((offset,), shape, strides):
    if not isinstance(numbers, tuple) or not all(
        type(x) is int and 0 <= x < _MAX_NUMBER for x in numbers
    ):
      raise ValueError('a tensor whose shape is not of whole numbers')
  if len(shape) != len(strides):
    raise ValueError(
        f'a tensor of {len(shape)} axes and {len(strides)} strides'
    )
  return View(storage, offset, shape, strides)


def _rebuild_parameter(data: View, requires_grad: bool, hooks: Any) -> View:
  """The tensor of a parameter."""
  del requires_grad, hooks
  if not isinstance(data, View):
    raise ValueError('a parameter without a tensor')
  return data


def _ordered_dict() -> dict[Any, Any]:
  """An ordered dict; pairs follow one by one."""
  return {}


def _counter(counts: dict[Any, Any]) -> dict[Any, Any]:
  """A counter as a dict: schedules of torch keep their steps in one."""
  if type(counts) is not dict:
    raise ValueError('a counter of something else than a dict')
  return counts


_NAMES = {
    name: _Name(name, call)
    for name, call in (
        ('torch._utils._rebuild_tensor_v2', _rebuild_tensor),
        ('torch._utils._rebuild_parameter', _rebuild_parameter),
        ('collections.OrderedDict', _ordered_dict),
        ('collections.Counter', _counter),
        *((f'torch.{kind}', None) for kind in KINDS),
    )
}


class _Machine:
  """Stack, marks and memo of a pickle that is being read."""

  def __init__(self, file: str):
    self.file = file
    self.stack: list[Any] = []
    self.marks: list[int] = []
    self.memo: dict[int, Any] = {}

  def step(self, opcode: str, argument: Any):
    """Follows one instruction."""
    act = _ACTIONS.get(opcode)
    if act is None:
      shown = '' if argument is None else f' {argument!r:.80}'
      raise RefusedError(self.file, f'the pickle instruction {opcode}{shown}')
    act(self, argument)
    if len(self.stack) > _MAX_STACK and not self.marks:
      raise ValueError('nested too deeply')

  def pop(self) -> Any:
    """The top of the stack, which does not reach below a mark."""
    if self.marks and len(self.stack) <= self.marks[-1]:
      raise ValueError('an instruction without its argument')
    return self.stack.pop()

  def pop_mark(self) -> list[Any]:
    """What lies above the last mark."""
    start = self.marks.pop()
    items = self.stack[start:]
    del self.stack[start:]
    return items

  def top(self, kind: type) -> Any:
    """The container on top of the stack."""
    value = self.stack[-1]
    if type(value) is not kind:
      raise ValueError(f'no {kind.__name__} where one is filled')
    return value


def _push(machine: _Machine, value: Any):
  machine.stack.append(value)


def _mark(machine: _Machine, _: Any):
  machine.marks.append(len(machine.stack))
  if len(machine.marks) > _MAX_STACK:
    raise ValueError('nested too deeply')


def _put(machine: _Machine, place: int):
  machine.memo[place] = machine.stack[-1]


def _get(machine: _Machine, place: int):
  machine.stack.append(machine.memo[place])


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
  def act(machine: _Machine, _: Any):
    items = [machine.pop() for _ in range(count)]
    machine.stack.append(tuple(reversed(items)))

  return act


def _append(machine: _Machine, _: Any):
  value = machine.pop()
  machine.top(list).append(value)


def _appends(machine: _Machine, _: Any):
  items = machine.pop_mark()
  machine.top(list).extend(items)


def _fill(target: dict[Any, Any], items: list[Any]):
  if len(items) % 2:
    raise ValueError('a key without a value')
  for key, value in zip(items[::2], items[1::2], strict=True):
    # Hashing a tuple goes as deep as it is nested, without a limit.
    if key is not None and type(key) not in (str, int, float, bool):
      raise ValueError(f'a key of type {type(key).__name__}')
    target[key] = value


def _set_item(machine: _Machine, _: Any):
  value, key = machine.pop(), machine.pop()
  _fill(machine.top(dict), [key, value])


def _set_items(machine: _Machine, _: Any):
  items = machine.pop_mark()
  _fill(machine.top(dict), items)


def _global(machine: _Machine, argument: str):
  module, _, name = argument.partition(' ')
  _find(machine, module, name)


def _stack_global(machine: _Machine, _: Any):
  name, module = machine.pop(), machine.pop()
  if type(name) is not str or type(module) is not str:
    raise ValueError('a name that is no text')
  _find(machine, module, name)


def _find(machine: _Machine, module: str, name: str):
  full = f'{module}.{name}'
  # A dot within the name would be an attribute of an attribute.
  if full not in _NAMES or '.' in name:
    raise RefusedError(machine.file, f'{full!r:.200}')
  machine.stack.append(_NAMES[full])


def _reduce(machine: _Machine, _: Any):
  arguments, function = machine.pop(), machine.pop()
  if type(function) is not _Name or function.call is None:
    what = getattr(function, 'name', type(function).__name__)
    raise RefusedError(machine.file, f'to call {what}')
  if type(arguments) is not tuple:
    raise ValueError('a call without a tuple')
  machine.stack.append(function.call(*arguments))


def _build(machine: _Machine, _: Any):
  """Drops the attributes of an ordered dict: torch puts versions there."""
  state = machine.pop()
  target = machine.stack[-1]
  if type(target) is not dict or type(state) is not dict:
    raise RefusedError(
        machine.file, f'to set the state of a {type(target).__name__}'
    )


def _persistent(machine: _Machine, _: Any):
  value = machine.pop()
  if not (
      type(value) is tuple
      and len(value) == 5
      and value[0] == 'storage'
      and type(value[1]) is _Name
      and value[1].call is None
      and type(value[2]) is str
      and type(value[4]) is int
      and 0 <= value[4] < _MAX_NUMBER
  ):
    raise RefusedError(machine.file, 'a persistent id that is no storage')
  kind = value[1].name.removeprefix('torch.')
  machine.stack.append(Storage(kind, value[2], value[4]))


def _nothing(machine: _Machine, argument: Any):
  del machine, argument


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    'PROTO': _nothing,
    'FRAME': _nothing,
    'STOP': _nothing,
    'NONE': lambda machine, _: _push(machine, None),
    'NEWTRUE': lambda machine, _: _push(machine, True),
    'NEWFALSE': lambda machine, _: _push(machine, False),
    'EMPTY_DICT': lambda machine, _: _push(machine, {}),
    'EMPTY_LIST': lambda machine, _: _push(machine, []),
    'EMPTY_TUPLE': lambda machine, _: _push(machine, ()),
    **dict.fromkeys(
        (
            'BININT',
            'BININT1',
            'BININT2',
            'LONG1',
            'BINFLOAT',
            'BINUNICODE',
            'SHORT_BINUNICODE',
            'BINBYTES',
            'SHORT_BINBYTES',
        ),
        _push,
    ),
    **dict.fromkeys(('BINPUT', 'LONG_BINPUT'), _put),
    **dict.fromkeys(('BINGET', 'LONG_BINGET'), _get),
    'MEMOIZE': lambda machine, _: _put(machine, len(machine.memo)),
    'MARK': _mark,
    'TUPLE': lambda machine, _: _push(machine, tuple(machine.pop_mark())),
    'TUPLE1': _tuple_of(1),
    'TUPLE2': _tuple_of(2),
    'TUPLE3': _tuple_of(3),
    'APPEND': _append,
    'APPENDS': _appends,
    'SETITEM': _set_item,
    'SETITEMS': _set_items,
    'GLOBAL': _global,
    'STACK_GLOBAL': _stack_global,
    'REDUCE': _reduce,
    'BUILD': _build,
    'BINPERSID': _persistent,
}
