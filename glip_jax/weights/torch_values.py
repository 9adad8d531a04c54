"""What the pickle of a torch file may name, and what stands for it here.

torch's own functions are never imported: each name stands for a function of
this module that checks what it is given and returns plain values.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

_MAX_NUMBER = 1 << 63


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


class Name:
  """A global of the pickle that is admitted; compared by identity."""

  def __init__(self, name: str, call: Callable[..., Any] | None = None):
    self.name = name
    self.call = call


def storage_of(identity: Any) -> Storage | None:
  """The storage that a persistent id of a pickle names, if it names one."""
  match identity:
    case ('storage', Name(call=None) as kind, str(key), _, int(size)) if (
        type(identity) is tuple and 0 <= size < _MAX_NUMBER
    ):
      return Storage(kind.name.removeprefix('torch.'), key, size)
  return None


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


NAMES = {
    name: Name(name, call)
    for name, call in (
        ('torch._utils._rebuild_tensor_v2', _rebuild_tensor),
        ('torch._utils._rebuild_parameter', _rebuild_parameter),
        ('collections.OrderedDict', _ordered_dict),
        ('collections.Counter', _counter),
        *((f'torch.{kind}', None) for kind in KINDS),
    )
}
