"""The file of a run's metrics: a JSON object a line and step, oldest first.

A local file is appended to: a record can be read as soon as it is written, and
survives a kill. An object in a bucket can only be written as a whole: there the
records are kept, and written when they are flushed or some time has passed.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Any, Protocol

from etils import epath

Record = dict[str, Any]

_SECONDS = 60.0  # Between two writings of an object.


class MetricsFile(Protocol):
  """An open file of records, one a step.

  Attributes:
    last: the last record, empty if there is none.
  """

  last: Record

  def put(self, record: Record) -> None:
    """Adds a record; one of the step of the last takes its place."""

  def flush(self) -> None:
    """Returns when all records are where others read them."""

  def close(self) -> None:
    """Flushes and closes."""


def is_address(path: str | os.PathLike[str]) -> bool:
  """Whether a path is an address, such as `gs://bucket/run`, not a file."""
  return '://' in os.fspath(path)


def open_file(path: str | os.PathLike[str], *, step: int) -> MetricsFile:
  """Opens a file of metrics, or makes it.

  Args:
    path: file or address; a file's folder is there.
    step: records of later steps are dropped, as is a last line cut short.
  """
  if is_address(path):
    return _Rewritten(epath.Path(path), step)
  return _Appended(epath.Path(path), step)


def parse(text: bytes) -> Iterator[tuple[int, Record]]:
  """(offset, record) of each whole line, up to the first that is broken."""
  offset = 0
  for line in text.splitlines(keepends=True):
    try:
      record = json.loads(line)
    except ValueError:
      return
    whole = line.endswith(b'\n') and isinstance(record, dict)
    if not whole or not isinstance(record.get('step'), int):
      return
    yield offset, record
    offset += len(line)


class _Appended:
  """A local file."""

  def __init__(self, path: epath.Path, step: int):
    path.touch()
    text = path.read_bytes()
    self._start, self.last, end = 0, {}, 0
    for offset, record in parse(text):
      if record['step'] > step:
        break
      self._start, self.last = offset, record
      end = text.index(b'\n', offset) + 1
    if end < len(text):
      os.truncate(path, end)
    self._file = open(path, 'r+b')
    self._file.seek(0, os.SEEK_END)

  def put(self, record: Record) -> None:
    if record['step'] != self.last.get('step'):
      self._start = self._file.seek(0, os.SEEK_END)
    self.last = record
    self._file.seek(self._start)
    self._file.write(_line(record))
    self._file.truncate()
    self._file.flush()

  def flush(self) -> None:
    self._file.flush()

  def close(self) -> None:
    self._file.close()


class _Rewritten:
  """An object in a bucket."""

  def __init__(self, path: epath.Path, step: int):
    text = path.read_bytes() if path.exists() else b''
    records = [r for _, r in parse(text) if r['step'] <= step]
    self._lines = [_line(record) for record in records]
    self.last = records[-1] if records else {}
    self._path = path
    self.flush()

  def put(self, record: Record) -> None:
    if record['step'] == self.last.get('step'):
      self._lines.pop()
    self._lines.append(_line(record))
    self.last = record
    if time.monotonic() - self._written >= _SECONDS:
      self.flush()

  def flush(self) -> None:
    self._path.write_bytes(b''.join(self._lines))
    self._written = time.monotonic()

  def close(self) -> None:
    self.flush()


def _line(record: Record) -> bytes:
  return json.dumps(record).encode() + b'\n'
