"""Writes a table of arrays as a `.pth` file that torch loads, without torch."""

import math
import os
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from glip_jax.weights import torch_values

# Instructions of pickle's protocol 2.
_PROTOCOL, _STOP = b'\x80\x02', b'.'
_DICT, _MARK, _TUPLE, _SET_ITEMS = b'}', b'(', b't', b'u'
_CALL, _PERSISTENT, _FALSE = b'R', b'Q', b'\x89'
_CHUNK = 1 << 24


def write(path: str | os.PathLike, state: Mapping[str, np.ndarray]):
  """Writes {'model': state}, as the official code saves its checkpoints.

  `torch.load(path, weights_only=True)` reads it.

  Args:
    path: where to.
    state: arrays by name.

  Raises:
    TypeError: torch has no tensor of an array's type.
  """
  arrays = {key: np.asarray(value) for key, value in state.items()}
  entries = [
      _text(key) + _tensor(i, x) for i, (key, x) in enumerate(arrays.items())
  ]
  model = _DICT + _MARK + b''.join(entries) + _SET_ITEMS
  whole = _DICT + _MARK + _text('model') + model + _SET_ITEMS
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
    archive.writestr(_entry('data.pkl'), _PROTOCOL + whole + _STOP)
    archive.writestr(_entry('byteorder'), b'little')
    for i, array in enumerate(arrays.values()):
      _write_record(archive, f'data/{i}', array)
    archive.writestr(_entry('version'), b'3\n')


def _entry(name: str) -> zipfile.ZipInfo:
  """A record without a date, so that equal weights give equal files."""
  return zipfile.ZipInfo(f'archive/{name}')


def _write_record(archive: zipfile.ZipFile, name: str, array: np.ndarray):
  """One array, rows first and little end first, in pieces."""
  flat = np.ascontiguousarray(array).reshape(-1)
  numbers = flat.view(f'u{flat.itemsize}')
  data = numbers.astype(numbers.dtype.newbyteorder('<'), copy=False).view('u1')
  large = len(data) >= zipfile.ZIP64_LIMIT
  with archive.open(_entry(name), 'w', force_zip64=large) as file:
    for start in range(0, len(data), _CHUNK):
      file.write(data[start : start + _CHUNK])


def _tensor(key: int, array: np.ndarray) -> bytes:
  """Of a tensor that is the whole of the storage `key`."""
  kind = next(
      (k for k, dtype in torch_values.KINDS.items() if dtype == array.dtype),
      None,
  )
  if kind is None:
    raise TypeError(f'torch has no tensor of {array.dtype}')
  # Those of an array that lies whole, rows first, as it will be written.
  strides = [math.prod(array.shape[i + 1 :]) for i in range(array.ndim)]
  storage = _tuple(
      _text('storage'),
      _name('torch', kind),
      _text(str(key)),
      _text('cpu'),
      _integer(array.size),
  )
  arguments = _tuple(
      storage + _PERSISTENT,
      _integer(0),
      _tuple(*map(_integer, array.shape)),
      _tuple(*map(_integer, strides)),
      _FALSE,
      _name('collections', 'OrderedDict') + _tuple() + _CALL,
  )
  return _name('torch._utils', '_rebuild_tensor_v2') + arguments + _CALL


def _text(value: str) -> bytes:
  data = value.encode()
  return b'X' + struct.pack('<I', len(data)) + data


def _integer(value: int) -> bytes:
  data = int(value).to_bytes(9, 'little', signed=True)
  return b'\x8a' + bytes([len(data)]) + data


def _tuple(*parts: bytes) -> bytes:
  return _MARK + b''.join(parts) + _TUPLE


def _name(module: str, name: str) -> bytes:
  return f'c{module}\n{name}\n'.encode()
