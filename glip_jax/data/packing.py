"""Packs a source into a few large files, which `data.sources.packed` reads.

Images keep the bytes of their files. A shard and its table are written beside
and renamed, and `records.json` comes last: what was killed goes on with the
shards that are missing.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from concurrent import futures

import numpy as np

from glip_jax import folder_lock
from glip_jax.data import packed_row
from glip_jax.data.guard import Guard
from glip_jax.data.images import BadImage
from glip_jax.data.sources import protocol, record_files, record_tables
from glip_jax.data.sources.protocol import Source
from glip_jax.data.sources.record_files import Header
from glip_jax.errors import UserError

# Read ahead of the writer; an image may have megabytes.
_AHEAD = 64
_PARTIAL = '.partial'
_OF_A_SHARD = ('place', 'bytes')  # What only its table has.

# Called with what is done, records done and records in all.
Progress = Callable[[str, int, int], None]


def pack(
    source: Source,
    folder: str | os.PathLike[str],
    *,
    shard_images: int = 2048,
    bad_records: str = 'skip',
    progress: Progress = lambda what, done, total: None,
) -> Header:
  """Packs a source, and reads every image that was written.

  A folder that an earlier call did not finish is gone on with; a shard that is
  there is made anew if the source now says otherwise of its records.

  Args:
    source: any.
    folder: where to; made if missing.
    shard_images: records of the source that make a shard.
    bad_records: 'skip' leaves out what cannot be read, and names it in the log;
      'raise' refuses it.
    progress: called as records are done.

  Returns:
    What was written.

  Raises:
    UserError: `packed_row.check` refuses the source, the folder holds something
      else or cannot be written to, a record is broken and to be refused, none
      is usable, or an image that was written reads as another.
  """
  if shard_images < 1:
    raise UserError(f'shard_images={shard_images} must be 1 or more')
  packed_row.check(source)
  folder = pathlib.Path(folder)
  starts = range(0, len(source), shard_images)
  shards = [
      _Shard(
          folder / record_files.shard_name(number, len(starts)),
          range(start, min(start + shard_images, len(source))),
      )
      for number, start in enumerate(starts)
  ]
  _check_folder(folder, shards)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    _write_missing(source, shards, bad_records, progress)
    tables = _verified(folder, shards, progress)
    return _finish(source, folder, shards, tables)
  except OSError as error:
    raise _unwritten(folder, error) from error


@dataclasses.dataclass(frozen=True)
class _Shard:
  """A shard to be written.

  Attributes:
    path: of it.
    records: of the source, those that turn out to be broken included.
  """

  path: pathlib.Path
  records: range

  @property
  def table(self) -> pathlib.Path:
    """Where its table is, until all shards are there."""
    return self.path.with_suffix('.npz')


def _check_folder(folder: pathlib.Path, shards: Sequence[_Shard]) -> None:
  """Refuses a folder with anything but the shards, whole or begun."""
  if not folder.exists():
    return
  if (folder / record_files.HEADER).exists():
    raise UserError(
        f'{folder} holds a packed source already: read it, or give another'
        ' folder'
    )
  own = {record_files.HEADER, record_files.TABLE, folder_lock.FILE}
  own |= {path.name for shard in shards for path in (shard.path, shard.table)}
  own |= {name + _PARTIAL for name in own}
  strange = sorted(
      path.name for path in folder.iterdir() if path.name not in own
  )
  if strange:
    raise UserError(
        f'{folder} holds {strange[0]!r}, which is no shard of this source: give'
        ' an empty folder, or the source and shard_images that it was begun'
        ' with'
    )


def _write_missing(
    source: Source,
    shards: Sequence[_Shard],
    bad_records: str,
    progress: Progress,
) -> None:
  """Writes the shards that are not there."""
  guard = Guard(source, bad_records)
  with futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
    for shard in shards:
      if not _is_there(source, shard):
        _write(source, guard, shard, pool, progress)
      progress('packed', shard.records.stop, len(source))


def _is_there(source: Source, shard: _Shard) -> bool:
  """Whether a shard is whole, and what the source says of its records."""
  if not shard.path.exists() or not shard.table.exists():
    return False
  try:
    table = record_tables.read(shard.table)
    places = table['place']
    if shard.path.stat().st_size != table['bytes']:
      return False
    if any(_reads(source, index) for index in set(shard.records) - {*places}):
      return False  # It was broken, and has been mended.
    rows = [
        packed_row.of(source, index, source.truth(index), size, crc)
        for index, size, crc in zip(
            places.tolist(),
            map(tuple, table['size'].tolist()),
            table['crc'].tolist(),
            strict=True,
        )
    ]
    # Of the source alone: the size of an image is not read again.
    now = record_tables.of_rows(rows)
  except (UserError, KeyError):
    return False
  return all(
      np.array_equal(now[name], table.get(name), equal_nan=name == 'area')
      for name in now
  )


def _reads(source: Source, index: int) -> bool:
  try:
    source[index]
  except UserError:
    return False
  return True


def _write(
    source: Source,
    guard: Guard,
    shard: _Shard,
    pool: futures.Executor,
    progress: Progress,
) -> None:
  """Writes a shard and its table beside, and renames both."""
  # Of use here alone.
  from array_record.python import array_record_module

  partial = shard.path.with_name(shard.path.name + _PARTIAL)
  # What cannot be written is said by close alone, so that is never left out.
  writer = array_record_module.ArrayRecordWriter(
      os.fspath(partial), record_files.WRITING
  )
  places, rows = [], []
  try:
    read = functools.partial(packed_row.read, source, guard)
    for start in range(0, len(shard.records), _AHEAD):
      some = shard.records[start : start + _AHEAD]
      for index, made in zip(some, pool.map(read, some), strict=True):
        if made is not None:
          row, data = made
          writer.write(data)
          places.append(index)
          rows.append(row)
      progress('packed', some.stop, len(source))
      if not writer.ok():
        break
  finally:
    try:
      writer.close()
    except Exception as error:  # The library has no type of its own.
      partial.unlink(missing_ok=True)
      raise _unwritten(partial, error) from error
  table = record_tables.of_rows(rows) | {
      'place': np.array(places, np.int64),
      'bytes': np.array(partial.stat().st_size),
  }
  beside = shard.table.with_name(shard.table.name + _PARTIAL)
  record_tables.write(beside, table)
  beside.replace(shard.table)
  partial.replace(shard.path)


def _verified(
    folder: pathlib.Path, shards: Sequence[_Shard], progress: Progress
) -> list[record_tables.Arrays]:
  """The tables of all shards, each of whose images reads as it was written.

  A shard that does not is removed, so that another run makes it anew.
  """
  tables = [record_tables.read(shard.table) for shard in shards]
  counts = [len(table['place']) for table in tables]
  images = record_files.Shards(folder, counts)
  place = 0
  for shard, table in zip(shards, tables, strict=True):
    for crc in table['crc'].tolist():
      try:
        images.read(place, crc)
      except BadImage as error:
        shard.path.unlink()
        raise UserError(
            f'{error}; or give --out on another disk, and run again: this shard'
            ' alone is made anew'
        ) from error
      place += 1
      progress('verified', place, sum(counts))
  return tables


def _finish(
    source: Source,
    folder: pathlib.Path,
    shards: Sequence[_Shard],
    tables: Sequence[record_tables.Arrays],
) -> Header:
  """Writes the table of all shards and the header, and removes the others."""
  own = [
      {name: array for name, array in table.items() if name not in _OF_A_SHARD}
      for table in tables
  ]
  path = folder / record_files.TABLE
  partial = path.with_name(path.name + _PARTIAL)
  crc = record_tables.write(partial, record_tables.join(own))
  partial.replace(path)
  names = source.names if protocol.is_detection(source) else ()
  federated = protocol.is_federated(source)
  boxes = protocol.boxes_of(source, 0, (1, 1))
  counts = tuple(len(table['place']) for table in tables)
  header = Header(
      kind='detection' if names else 'grounding',
      shard_records=counts,
      shard_bytes=tuple(shard.path.stat().st_size for shard in shards),
      table_crc=crc,
      names=names,
      category_ids=tuple(source.category_id(n) for n in range(len(names))),
      frequency=source.frequency if federated else (),
      synonyms=source.synonyms if federated else (),
      decimals=boxes.decimals if boxes else None,
      left_out=len(source) - sum(counts),
  )
  path = folder / record_files.HEADER
  partial = path.with_name(path.name + _PARTIAL)
  header.write(partial)
  partial.replace(path)
  for shard in shards:
    shard.table.unlink()
  return header


def _unwritten(path: pathlib.Path, error: Exception) -> UserError:
  reason = ' '.join(str(error).split())[:160]
  return UserError(
      f'{path} cannot be written ({reason}); make room, or give another folder,'
      ' and run again: it goes on'
  )
