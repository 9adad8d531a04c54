"""Reads the pickle of a torch file without running anything that it names.

Python's unpickler calls whatever a file tells it to. This one is an interpreter
of the few instructions that torch writes, over the few names in
`torch_values.NAMES`; anything else ends with an error that says what the file
tried. No name is ever imported: each stands for a function of `torch_values`.

The standard library's `pickle.Unpickler`, with `find_class` and
`persistent_load` of our own, would be shorter, but cannot refuse all of this
(tests/weights/hostile_pickles.py; tried with Python 3.11): a dict's key of
nested tuples ends the process (hashing it overflows the C stack); six bytes
with a large place in the memo take gigabytes; and an extension code that
`copyreg` has in its cache is handed out, and called, without `find_class`
being asked.
"""

import io
import pickletools
from collections.abc import Callable
from typing import Any

from glip_jax import errors
from glip_jax.weights import torch_values

# Of names, shapes and places, as arrays lie elsewhere: about 20000 tensors. An
# instruction of one byte may make an object of a hundred. A tensor, which has a
# record, takes about 60, and what an optimizer says of it 100.
_MAX_BYTES = 1 << 22
_MAX_INSTRUCTIONS = 1 << 20
_INSTRUCTIONS_OF_A_RECORD = 500
_OTHER_INSTRUCTIONS = 1 << 16
_MAX_STACK = 1000
_REMEDY = (
    'where you trust it, load it with torch and save the tensors alone'
    ' (docs/weights.md)'
)


class RefusedError(errors.UserError):
  """The pickle tries something that no table of tensors needs."""

  def __init__(self, name: str, what: str):
    super().__init__(f'{name} tries {what}, which is refused: {_REMEDY}')


def read(data: bytes, name: str, *, num_records: int = 0) -> Any:
  """The value of a pickle: plain containers, numbers, texts and `View`s.

  Args:
    data: the whole pickle.
    name: of the file, for messages.
    num_records: that the file has beside it: few need few instructions.

  Raises:
    RefusedError: it tries anything else; nothing of it has run.
    UserError: it is damaged or too large.
  """
  if len(data) > _MAX_BYTES:
    raise _too_large(name, f'{_MAX_BYTES} bytes')
  most = min(
      _OTHER_INSTRUCTIONS + _INSTRUCTIONS_OF_A_RECORD * num_records,
      _MAX_INSTRUCTIONS,
  )
  machine = _Machine(name)
  stream = io.BytesIO(data)
  try:
    for i, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
      if i >= most:
        raise _too_large(name, f'{most} instructions')
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


def _too_large(name: str, what: str) -> errors.UserError:
  return errors.UserError(f'{name} has a pickle of more than {what}: {_REMEDY}')


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
  if full not in torch_values.NAMES or '.' in name:
    raise RefusedError(machine.file, f'{full!r:.200}')
  machine.stack.append(torch_values.NAMES[full])


def _reduce(machine: _Machine, _: Any):
  arguments, function = machine.pop(), machine.pop()
  if type(function) is not torch_values.Name or function.call is None:
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
  storage = torch_values.storage_of(machine.pop())
  if storage is None:
    raise RefusedError(machine.file, 'a persistent id that is no storage')
  machine.stack.append(storage)


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
