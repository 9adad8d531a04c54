"""An evaluation that was interrupted goes on where it stopped.

What an evaluator was given lies in its folder until all evaluations are done:
ids and detections, not what was made of them, so that every evaluator can be
given them again. The files are of numbers alone and hold the key of what they
were made with; those of another key are never used. Each process keeps its own.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import time
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from glip_jax import storage, types
from glip_jax.data.sources import protocol
from glip_jax.evaluators import protocols

FOLDER = 'unfinished'
_ARRAYS = 'boxes', 'scores', 'labels', 'valid'


@dataclasses.dataclass(frozen=True)
class Place:
  """Where evaluations keep what they were given.

  Attributes:
    folder: that results are written to.
    key: of the checkpoint, the config and the program.
    seconds: between two writes.
  """

  folder: epath.Path
  key: str
  seconds: float = 60.0


def digest(*parts: Any) -> str:
  """A key that differs where any part does; parts are what JSON knows."""
  text = json.dumps(parts, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()


def program() -> str:
  """A key of the source of this package: changed code begins anew."""
  found = hashlib.sha256()
  root = pathlib.Path(__file__).parents[1]
  for path in sorted(root.rglob('*.py')):
    found.update(str(path.relative_to(root)).encode())
    found.update(path.read_bytes())
  return found.hexdigest()


def data_key(source: protocol.Source, spec: Mapping[str, Any]) -> str:
  """A key of the records of a source and of the files that it was made of.

  Images count by their ids and names, not by their pixels.

  Args:
    source: what is evaluated on.
    spec: its fields; what is a path of a file or folder counts by its size and
      time too.
  """
  records = [
      [source.image_id(n), protocol.file_name(source, n)]
      for n in range(len(source))
  ]
  if protocol.is_detection(source):
    texts = list(source.names)
  else:
    texts = [source.text(n).caption for n in range(len(source))]
  paths = [x for x in spec.values() if isinstance(x, str | os.PathLike) and x]
  return digest(records, texts, dict(spec), [_stamp(path) for path in paths])


class Log:
  """What one evaluator was given in one process, batch by batch."""

  def __init__(self, place: Place, name: str, key: str, index: int, count: int):
    """Binds it to its folder, which need not be there.

    Args:
      place: of all evaluations.
      name: of the evaluation.
      key: of all that decides what is found.
      index: of this process.
      count: of the processes.
    """
    self._key = digest(place.key, key, count)
    self._every, self._name = place.seconds, name
    self._whole = epath.Path(place.folder) / FOLDER
    self._parent = self._whole / name
    self._folder = self._parent / f'{index}_of_{count}'
    self._is_first = index == 0
    self._waiting: dict[str, np.ndarray] = {}
    self._num_written = self._num_waiting = 0
    self._last = time.monotonic()

  def replay(self, evaluator: protocols.Evaluator) -> int:
    """Gives an evaluator what an earlier run was given.

    What cannot be used is removed, and told.

    Args:
      evaluator: that was given nothing yet.

    Returns:
      The number of batches that it was given.
    """
    self._drop_others()
    parts = sorted(self._folder.glob('*.npz')) if self._folder.exists() else []
    done, is_stale = 0, False
    for path in parts:
      part = _read(path)
      is_stale |= part is not None and part['key'].tobytes() != self._own()
      if part is None or is_stale or int(part['first']) != done:
        path.unlink()
        continue
      for n in range(int(part['count'])):
        evaluator.add(*_batch(part, n))
      done += int(part['count'])
    if is_stale:
      self._tell('was of another checkpoint, config, data or program')
    self._num_written = done
    return done

  def add(self, batch: types.Batch, detections: types.Detections) -> None:
    """Keeps a batch; writes what waits where it is time to.

    Args:
      batch: what the detections were made of; `id` and `scale` are kept.
      detections: on the host or a device.
    """
    for name, value in _columns(batch, detections).items():
      self._waiting[f'{self._num_waiting}/{name}'] = value
    self._num_waiting += 1
    if time.monotonic() - self._last >= self._every:
      self.write()

  def write(self) -> None:
    """Writes what waits, whole or not at all."""
    self._last = time.monotonic()
    if not self._num_waiting:
      return
    file = io.BytesIO()
    np.savez_compressed(
        file,
        key=np.frombuffer(self._own(), np.uint8),
        first=self._num_written,
        count=self._num_waiting,
        **self._waiting,
    )
    path = self._folder / f'{self._num_written:08d}.npz'
    storage.write_whole(path, file.getvalue())
    self._num_written += self._num_waiting
    self._waiting, self._num_waiting = {}, 0

  def remove(self) -> None:
    """Removes what was written, when it is not needed any more."""
    if self._folder.exists():
      self._folder.rmtree()
    # The last to come finds them empty (epath says ValueError where they are
    # not); two may come at once.
    with contextlib.suppress(OSError, ValueError):
      self._parent.rmdir()
      self._whole.rmdir()

  def _own(self) -> bytes:
    return self._key.encode()

  def _drop_others(self) -> None:
    """Removes what other numbers of processes left."""
    if not self._is_first or not self._parent.exists():
      return
    count = self._folder.name.rpartition('_')[2]
    for folder in sorted(self._parent.iterdir()):
      other = folder.name.rpartition('_')[2]
      if other != count:
        folder.rmtree()
        if folder.name.startswith('0_'):
          self._tell(f'was by {other} processes and not {count}')

  def _tell(self, why: str) -> None:
    logging.warning(
        'evaluation %s: what was begun here %s; it begins anew', self._name, why
    )


def _columns(
    batch: types.Batch, detections: types.Detections
) -> dict[str, np.ndarray]:
  """What evaluators read of a batch, without columns of padding alone."""
  used = np.asarray(detections.valid).any(axis=0)
  columns = {
      name: np.asarray(getattr(detections, name))[:, used] for name in _ARRAYS
  }
  if detections.tokens is not None:
    columns['tokens'] = np.asarray(detections.tokens)[:, used]
  return columns | {
      'id': np.asarray(batch.id),
      'scale': np.asarray(batch.scale),
  }


def _batch(
    part: Mapping[str, np.ndarray], n: int
) -> tuple[types.Batch, types.Detections]:
  """A batch of a file, of which no evaluator reads more."""
  own = {name: part.get(f'{n}/{name}') for name in (*_ARRAYS, 'tokens')}
  batch = types.Batch(
      image=None,
      size=None,
      extent=None,
      scale=part[f'{n}/scale'],
      id=part[f'{n}/id'],
      prompt=None,
  )
  return batch, types.Detections(**own)


def _read(path: epath.Path) -> dict[str, np.ndarray] | None:
  """The arrays of a file; None where it is damaged."""
  try:
    content = io.BytesIO(path.read_bytes())
    with np.load(content, allow_pickle=False) as file:
      part = dict(file)
    return part if {'key', 'first', 'count'} <= set(part) else None
  except (OSError, ValueError, zipfile.BadZipFile):
    return None


def _stamp(path: str | os.PathLike) -> list[int]:
  """Size and time of a file or folder; nothing where there is none."""
  try:
    found = os.stat(os.path.expanduser(path))
  except (OSError, ValueError):
    return []
  return [found.st_size, found.st_mtime_ns]
