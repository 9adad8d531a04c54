"""The zip archive that torch saves: checked whole before anything is read.

torch writes plain records, one after the other, never compressed. An archive
that is anything else is refused, so that names cannot lead elsewhere, records
cannot overlap, and nothing can grow beyond the file's own size.
"""

import mmap
import os
import re
import struct
import zipfile
import zlib

import numpy as np

from glip_jax import errors

_HEADER = b'PK\x03\x04'
_MAX_RECORDS = 40_000
_LEGACY = b'\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19'
_AGAIN = 'fetch or save it again'


class Archive:
  """A torch file as named records, mapped into memory.

  Args:
    path: of the file.

  Raises:
    UserError: it cannot be read, or is not as torch writes it.
  """

  def __init__(self, path: str | os.PathLike):
    self.name = os.fspath(path)
    self._map = _map_file(path)
    _check_format(self.name, self._map)
    self._records = self._list()
    self._checked: set[str] = set()

  def __contains__(self, record: str) -> bool:
    return record in self._records

  def __len__(self) -> int:
    return len(self._records)

  def size(self, record: str) -> int:
    """Bytes of a record."""
    return self._records[record][1]

  def read(self, record: str) -> np.ndarray:
    """A record as uint8, a read-only view of the file.

    Args:
      record: its name, without the folder that holds all of them.

    Raises:
      UserError: there is none, or its checksum is another.
    """
    if record not in self._records:
      raise errors.UserError(f'{self.name} has no {record}: {_AGAIN}')
    start, size, checksum = self._records[record]
    data = np.frombuffer(self._map, np.uint8, size, start)
    if record not in self._checked and zlib.crc32(data) != checksum:
      raise errors.UserError(
          f'{self.name} is damaged, the checksum of {record} is wrong: {_AGAIN}'
      )
    self._checked.add(record)
    return data

  def _list(self) -> dict[str, tuple[int, int, int]]:
    """(start, size, checksum) of each record."""
    try:
      with zipfile.ZipFile(self._map) as directory:
        entries, end = directory.infolist(), directory.start_dir
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OSError,
        struct.error,
    ) as error:
      raise errors.UserError(
          f'{self.name} is cut off or damaged ({error}): {_AGAIN}'
      ) from None
    if len(entries) > _MAX_RECORDS:
      raise self._odd(f'{len(entries)} records')
    records, position, folder = {}, 0, None
    for entry in entries:
      parent, name = self._split(entry.filename)
      if folder not in (None, parent) or name in records:
        raise self._odd(f'a record {entry.filename!r:.100} out of place')
      folder = parent
      start = self._start(entry, position)
      position = start + entry.file_size
      if position > end:
        raise self._odd(f'a record {name!r} beyond its end')
      records[name] = (start, entry.file_size, entry.CRC)
    return records

  def _split(self, name: str) -> tuple[str, str]:
    """Folder and the rest of the name of a record."""
    folder, _, rest = name.partition('/')
    parts = [folder, *rest.split('/')]
    odd = any(part in ('', '.', '..') for part in parts)
    if odd or re.search(r'[\\:\x00-\x1f]', name) or len(name) > 1000:
      raise self._odd(f'a record named {name!r:.100}')
    return folder, rest

  def _start(self, entry: zipfile.ZipInfo, position: int) -> int:
    """Where the bytes of a record begin.

    Args:
      entry: from the directory at the archive's end.
      position: where the record before it ended: this one must follow at once,
        as they neither overlap nor change places nor leave room between.
    """
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 0x41:
      raise self._odd(
          f'a compressed or encrypted record {entry.filename!r:.100}'
      )
    if entry.file_size != entry.compress_size:
      raise self._odd(f'two sizes of {entry.filename!r:.100}')
    gap = entry.header_offset - position
    # After a record its sizes may stand once more.
    if gap and not (position and gap in (12, 16, 20, 24)):
      raise self._odd(f'a record {entry.filename!r:.100} out of order')
    header = self._map[entry.header_offset : entry.header_offset + 30]
    if len(header) < 30 or not header.startswith(_HEADER):
      raise self._odd(f'no header of {entry.filename!r:.100}')
    length, extra = struct.unpack('<HH', header[26:])
    start = entry.header_offset + 30
    if self._map[start : start + length] != entry.orig_filename.encode():
      raise self._odd(f'two names of {entry.filename!r:.100}')
    return start + length + extra

  def _odd(self, what: str) -> errors.UserError:
    return errors.UserError(
        f'{self.name} is refused: an archive of torch does not have {what}:'
        f' {_AGAIN}'
    )


def _map_file(path: str | os.PathLike) -> mmap.mmap:
  try:
    with open(path, 'rb') as file:
      return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
  except (OSError, ValueError) as error:
    raise errors.UserError(
        f'weights {os.fspath(path)} cannot be read ({error}): give a whole'
        ' file that exists'
    ) from None


def _check_format(name: str, data: mmap.mmap):
  """Refuses what is no zip archive, and says what it is."""
  if data[:4] == _HEADER:
    return
  if data[: len(_LEGACY)] == _LEGACY or data[257:262] == b'ustar':
    raise errors.UserError(
        f'{name} is in the format before torch 1.6: save it again with'
        f' torch.save(torch.load({name!r}, map_location="cpu",'
        f' weights_only=True), {name!r})'
    )
  raise errors.UserError(
      f'{name} is not a file of torch.save, nor one of safetensors with that'
      f' ending (it begins with {data[:8]!r}): {_AGAIN}'
  )
