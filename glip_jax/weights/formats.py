"""Formats of files of weights: flat tables of arrays by name, in and out.

Read: `.safetensors`, and what `torch.save` wrote under any other ending.
Checkpoints wrap their table in different ways; `read` finds it.
"""

import json
import mmap
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors.numpy

from glip_jax import errors
from glip_jax.weights import torch_reader, torch_values, torch_writer

ENDINGS = ('.safetensors', '.pth', '.pt', '.bin')
# Where a checkpoint keeps its table: official, mmdetection, Swin's authors.
_TABLES = ('model', 'state_dict')
_EMA_TABLES = ('model_ema', 'ema_state_dict')
_PREFIX = 'module.'
# What reading raises, of types too that are not among these.
_UNREADABLE = (OSError, KeyError, safetensors.SafetensorError)
# By safetensors' names, little end first.
_KINDS = {
    'F64': np.dtype('<f8'),
    'F32': np.dtype('<f4'),
    'F16': np.dtype('<f2'),
    'BF16': np.dtype(ml_dtypes.bfloat16),
    'I64': np.dtype('<i8'),
    'I32': np.dtype('<i4'),
    'I16': np.dtype('<i2'),
    'I8': np.dtype('i1'),
    'U8': np.dtype('u1'),
    'BOOL': np.dtype(bool),
}


def is_file(path: str | os.PathLike) -> bool:
  """Whether a path is one of a file of weights, by its ending."""
  return os.fspath(path).lower().endswith(ENDINGS)


def check(path: str | os.PathLike) -> None:
  """Refuses a file of weights that cannot be opened.

  Raises:
    UserError: it is missing, no file, or an address.
  """
  errors.check_no_url('weights', path)
  path = os.path.expanduser(os.fspath(path))
  errors.check_file('weights', path)
  try:
    with open(path, 'rb'):
      pass
  except (OSError, ValueError) as error:
    raise errors.UserError(
        f'weights {path} cannot be read ({error}): give a whole file that'
        ' exists'
    ) from None


def read(
    path: str | os.PathLike, *, ema: bool = False
) -> dict[str, np.ndarray]:
  """Arrays by name, without the `module.` that torch's wrappers put before.

  Args:
    path: of a file.
    ema: read the average of the weights that the file holds beside them.

  Returns:
    Read-only arrays, where possible views of the file.

  Raises:
    UserError: the file cannot be read, is refused (see `torch_pickle`) or
      holds no table of weights.
  """
  check(path)
  path = os.path.expanduser(os.fspath(path))
  if path.lower().endswith('.safetensors'):
    if ema:
      raise errors.UserError(
          f'{path} has one table of weights and no average of them: read it'
          ' without asking for the average'
      )
    state = _read_safetensors(path)
  else:
    file = torch_reader.TorchFile(path)
    table = _table(file.value, path, ema=ema)
    state = {key: file.array(view) for key, view in table.items()}
  if all(key.startswith(_PREFIX) for key in state):
    state = {key.removeprefix(_PREFIX): x for key, x in state.items()}
  return state


def write(
    path: str | os.PathLike,
    state: Mapping[str, np.ndarray],
    texts: Mapping[str, str] | None = None,
):
  """Writes arrays by name, as `.safetensors` or, {'model': ...}, as `.pth`.

  The file appears when it is whole. Its folder is made.

  Args:
    path: ends in one of `ENDINGS`.
    state: arrays by name.
    texts: beside them, by name, as `description.describe` gives; `.pth` has no
      place for them.

  Raises:
    UserError: the ending is another one, or the file cannot be written.
  """
  path = pathlib.Path(path).expanduser()
  if not is_file(path):
    raise errors.UserError(
        f'{path} is no file of weights: let it end in one of'
        f' {", ".join(ENDINGS)}'
    )
  part = path.with_name(f'.{path.name[:100]}.{os.getpid()}.part')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      _write_part(part, path.suffix.lower(), state, texts)
      os.replace(part, path)
    finally:
      part.unlink(missing_ok=True)
  except (OSError, safetensors.SafetensorError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise errors.UserError(
        f'{path} cannot be written ({reason}): give another'
        ' file, in a folder that can be written to'
    ) from None


def _write_part(
    part: pathlib.Path,
    ending: str,
    state: Mapping[str, np.ndarray],
    texts: Mapping[str, str] | None,
):
  # Made first, for the rights that a new file has here: safetensors would
  # leave it to its owner alone.
  part.touch()
  rights = part.stat().st_mode
  if ending == '.safetensors':
    _write_safetensors(part, state, texts)
  else:
    torch_writer.write(part, state)
  part.chmod(rights)


def _table(value: Any, path: str, *, ema: bool) -> dict[str, torch_values.View]:
  """The table of weights among all that a checkpoint holds."""
  names = _EMA_TABLES if ema else _TABLES
  if not isinstance(value, dict):
    raise errors.UserError(
        f'{path} holds a {type(value).__name__}: give a file with a table of'
        ' weights'
    )
  found = next((value[name] for name in names if name in value), None)
  if found is None and ema:
    raise errors.UserError(
        f'{path} has no average of the weights ({" or ".join(names)}), only'
        f' {_some(value)}: read it without asking for the average'
    )
  table = value if found is None else found
  if not isinstance(table, dict) or not table:
    raise errors.UserError(f'{path} has no table of weights: give another file')
  others = [
      key
      for key, view in table.items()
      if not (isinstance(key, str) and isinstance(view, torch_values.View))
  ]
  if others:
    raise errors.UserError(
        f'{path} has no table of weights: {_some(others)} are no arrays; save'
        " the weights as {'model': model.state_dict()}"
    )
  return table


def _some(names: Any) -> str:
  """A few names of many, as they may be any objects."""
  names = [f'{name:.60}' if isinstance(name, str) else '?' for name in names]
  more = f' and {len(names) - 5} more' if len(names) > 5 else ''
  return ', '.join(names[:5]) + more


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
  """Views of the file, so that nothing is in memory twice."""
  try:
    # Its package checks that the arrays fill the file, and would copy them.
    with safetensors.safe_open(path, 'np'):
      pass
    with open(path, 'rb') as file:
      size = int.from_bytes(file.read(8), 'little')
      header = json.loads(file.read(size))
      data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header.pop('__metadata__', None)
    return {key: _view(data, 8 + size, x) for key, x in header.items()}
  except _UNREADABLE as error:
    raise errors.UserError(
        f'weights {path} cannot be read ({error}): give a whole safetensors'
        ' file, of float32, float16 or bfloat16'
    ) from None


def _view(data: mmap.mmap, start: int, entry: Mapping[str, Any]) -> np.ndarray:
  """One array of a safetensors file, whose arrays begin at `start`."""
  first, last = entry['data_offsets']
  kind, shape = _KINDS[entry['dtype']], entry['shape']
  if first == last:
    return np.zeros(shape, kind)
  part = np.frombuffer(data, 'u1', last - first, start + first)
  part = part != 0 if kind == np.bool_ else part.view(kind)
  return part.reshape(shape)


def _write_safetensors(
    path: pathlib.Path,
    state: Mapping[str, np.ndarray],
    texts: Mapping[str, str] | None,
):
  # It would write the memory of a transposed array as if it were not.
  whole = {key: np.ascontiguousarray(x) for key, x in state.items()}
  # An array of no axes comes back with one.
  for key, x in state.items():
    whole[key] = whole[key].reshape(np.shape(x))
  safetensors.numpy.save_file(whole, path, dict(texts) if texts else None)
