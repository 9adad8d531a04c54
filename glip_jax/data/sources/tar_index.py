"""Where the files of tar archives begin, so that each is read by itself.

Nothing is unpacked: a member is bytes of the archive, whatever its name, so it
can lead nowhere. Links, devices and sparse files are no members here.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from glip_jax.data.sources.annotation_file import Report


class Member(NamedTuple):
  """A file in an archive.

  Attributes:
    name: as the archive has it.
    offset: of its first byte in the archive.
    size: its bytes.
  """

  name: str
  offset: int
  size: int


def members(path: str | os.PathLike[str], report: Report) -> Iterator[Member]:
  """Yields the files of an archive, whose headers alone are read.

  Compressed archives cannot be read at random, and are a fault.

  Args:
    path: of the archive.
    report: where faults are counted.

  Raises:
    UserError: if something is to be refused.
  """
  length = os.path.getsize(path)
  try:
    with tarfile.open(path, 'r:') as archive:
      while (member := archive.next()) is not None:
        archive.members = []  # Kept by tarfile, otherwise, to the end.
        name = f'{os.path.basename(path)} {member.name!r:.80}'
        if member.isdir():
          continue
        if not member.isreg() or member.issparse():
          report.fault('link or other special file in an archive', name)
        elif member.offset_data + member.size > length:
          report.fault('file that ends behind its archive', name)
        else:
          yield Member(member.name, member.offset_data, member.size)
  except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
    reason = ' '.join(str(error).split())
    report.fault('archive that cannot be read', f'{path} ({reason})')


def read_member(path: str | os.PathLike[str], offset: int, size: int) -> bytes:
  """Bytes of an archive; fewer than `size` where it ends before.

  It is opened each time: data sets have more shards than a process may open.

  Args:
    path: of the archive.
    offset: of the first byte.
    size: how many.

  Raises:
    OSError: if it cannot be read.
  """
  with open(path, 'rb', buffering=0) as file:
    return os.pread(file.fileno(), size, offset)
