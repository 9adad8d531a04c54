"""The files of a packed source: shards of images, and what says what they are.

A folder holds `records-00000-of-00012.array_record` and so on, whose records
are image files as they were, `records.npz` (see `record_tables`), and
`records.json`, which is written last: without it a folder is no packed source.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import threading
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from glip_jax.data.images import BadImage
from glip_jax.data.sources import annotation_file
from glip_jax.data.sources.annotation_file import Id
from glip_jax.errors import UserError

VERSION = 1
HEADER, TABLE = 'records.json', 'records.npz'
# One image each time, and no compression of what is compressed.
WRITING = 'group_size:1,uncompressed'
_OWN = re.compile(r'records\.json|records-\d{5,}-of-\d{5,}\.array_record')
_READING = 'readahead_buffer_size:0'


@dataclasses.dataclass(frozen=True)
class Header:
  """What `records.json` says.

  Attributes:
    kind: 'detection' or 'grounding'.
    shard_records: records of each shard.
    shard_bytes: its size.
    table_crc: CRC-32 of `records.npz`.
    names: of classes, in label order; none of a grounding source.
    category_ids: that the data set gives them.
    frequency: of each class, where images are labelled for some classes only;
      otherwise empty.
    synonyms: of each class, likewise.
    decimals: digits of the ground truth; None: as it is.
    left_out: records that were broken when the source was packed.
    version: of the layout.
  """

  kind: str
  shard_records: tuple[int, ...]
  shard_bytes: tuple[int, ...]
  table_crc: int
  names: tuple[str, ...] = ()
  category_ids: tuple[Id, ...] = ()
  frequency: tuple[str, ...] = ()
  synonyms: tuple[tuple[str, ...], ...] = ()
  decimals: int | None = None
  left_out: int = 0
  version: int = VERSION

  def write(self, path: str | os.PathLike[str]) -> None:
    """Writes the file.

    Raises:
      OSError: if that fails.
    """
    text = json.dumps(dataclasses.asdict(self), indent=1)
    pathlib.Path(path).write_text(text + '\n', encoding='utf-8')


def shard_name(number: int, count: int) -> str:
  """Name of a shard."""
  return f'records-{number:05d}-of-{count:05d}.array_record'


def is_packed(directory: str | os.PathLike[str]) -> bool:
  """Whether a folder is a packed source, or one that is begun."""
  if not os.path.isdir(directory):
    return False
  return any(map(_OWN.fullmatch, os.listdir(directory)))


def read_header(directory: str | os.PathLike[str]) -> Header:
  """Reads what a folder says that it holds; looks at the size of each shard.

  Raises:
    UserError: it holds no packed source, one of another version, or a shard is
      missing or not as long as it was.
  """
  path = os.path.join(directory, HEADER)
  if not os.path.exists(path):
    raise UserError(
        f'directory={os.fspath(directory)!r} holds no {HEADER}: give a folder'
        ' that tools.to_records has packed, or run that again to its end'
    )
  content = annotation_file.read_json(path, name='directory')
  version = content.get('version')
  if version != VERSION:
    raise UserError(
        f'{path} is of version {version!r}, {VERSION} is read: pack the source'
        ' again by tools.to_records'
    )
  header = _header(content, path)
  count = len(header.shard_records)
  for number, size in enumerate(header.shard_bytes):
    _check_size(os.path.join(directory, shard_name(number, count)), size)
  return header


class Shards:
  """Reads images from the shards, each opened when it is first needed.

  Open files stay in their process: a copy that is sent opens its own.
  """

  def __init__(
      self, directory: str | os.PathLike[str], shard_records: Sequence[int]
  ):
    """Opens nothing.

    Args:
      directory: where the shards are.
      shard_records: records of each.
    """
    self._directory = os.fspath(directory)
    self._ends = np.cumsum(shard_records, dtype=np.int64)
    self._open()

  def __getstate__(self) -> dict[str, Any]:
    return {'_directory': self._directory, '_ends': self._ends}

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__dict__ |= state
    self._open()

  def path(self, place: int) -> str:
    """The shard of a record."""
    return self._shard(self._find(place)[0])

  def read(self, place: int, crc: int) -> bytes:
    """The image file of a record.

    Args:
      place: number of the record in all shards.
      crc: CRC-32 that it must have.

    Raises:
      BadImage: it cannot be read, or is not what was written.
    """
    number, row = self._find(place)
    try:
      (data,) = self._reader(number).read([row])
      reason = '' if zlib.crc32(data) == crc else 'its CRC is another'
    except Exception as error:  # The library has no type of its own.
      data, reason = b'', ' '.join(str(error).split())[:160] or repr(error)
    if reason:
      raise BadImage(
          f'{self._shard(number)}: image {row} is not what was written'
          f' ({reason}); copy the shard again from where it was packed'
      )
    return data

  def _open(self) -> None:
    self._readers: dict[int, Any] = {}
    self._lock = threading.Lock()

  def _find(self, place: int) -> tuple[int, int]:
    """Shard of a record and its place there."""
    number = int(np.searchsorted(self._ends, place, side='right'))
    start = int(self._ends[number - 1]) if number else 0
    return number, place - start

  def _shard(self, number: int) -> str:
    return os.path.join(self._directory, shard_name(number, len(self._ends)))

  def _reader(self, number: int) -> Any:
    with self._lock:
      if number not in self._readers:
        # Of use here alone.
        from array_record.python import array_record_module

        path = self._shard(number)
        os.stat(path)  # The library is silent of a file that is gone.
        self._readers[number] = array_record_module.ArrayRecordReader(
            path, _READING
        )
      return self._readers[number]


def _check_size(path: str, size: int) -> None:
  try:
    found = os.path.getsize(path)
  except OSError as error:
    raise UserError(
        f'{path} is missing ({error.strerror}): copy it from where it was'
        ' packed'
    ) from error
  if found != size:
    raise UserError(
        f'{path} has {found} bytes of {size}: copy it again from where it was'
        ' packed'
    )


def _header(content: dict[str, Any], path: str) -> Header:
  """The header of a JSON file, whose values are of the right types."""
  try:
    values = {
        field.name: _tuples(content[field.name])
        for field in dataclasses.fields(Header)
    }
    header = Header(**values)
    numbers = (*header.shard_records, *header.shard_bytes, header.table_crc)
    if header.kind not in ('detection', 'grounding'):
      raise ValueError(f'kind {header.kind!r}')
    if len(header.names) != len(header.category_ids):
      raise ValueError('names and category_ids differ in number')
    if len(header.shard_bytes) != len(header.shard_records) or not all(
        type(number) is int and number >= 0 for number in numbers
    ):
      raise ValueError('shards')
  except (KeyError, TypeError, ValueError) as error:
    raise UserError(
        f'{path} is damaged ({error}); copy it again from where it was packed'
    ) from error
  return header


def _tuples(value: Any) -> Any:
  """A value of JSON, its lists as tuples."""
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
