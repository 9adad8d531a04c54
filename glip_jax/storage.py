"""What the file system refuses: told in one line, before or after the work.

Where something may be written is looked at first. A full disk, a quota, a limit
or a device that fails is found out by whoever writes, in threads and libraries
of C++ too. It is the user's to mend, so it is no defect that needs a traceback.
"""

import contextlib
import errno
import logging
import os
import pathlib
import re
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from glip_jax import errors

_ROOM = 'make room, or write to another place'
_ELSEWHERE = 'write to another place'
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: 'raise the limit of the size of files (ulimit -f)',
    errno.EIO: 'look whether the disk is whole, or write to another one',
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: f'change the rights, or {_ELSEWHERE}',
    errno.EPERM: f'change the rights, or {_ELSEWHERE}',
}
# As libraries of C++ and Rust tell the number, and a path.
_NUMBER = re.compile(r'os.error(?:.code)?\W*(\d+)', re.I)
_PATH = re.compile(r'"(/[^"]+)"')


def check_address(name: str, path: str | os.PathLike) -> None:
  """Refuses an address that cannot be reached; a local path passes.

  Args:
    name: the flag, for the message.
    path: file or folder.

  Raises:
    UserError: it is not in a bucket, or what reads buckets is not installed or
      not let in.
  """
  address = os.fspath(path)
  if '://' not in address:
    return
  if not address.startswith(('gs://', 's3://')):
    raise errors.UserError(
        f'{name}={address!r} is no address of a bucket: give gs://bucket/run,'
        ' or a local folder'
    )
  try:
    epath.Path(address).exists()
  except ImportError as error:
    raise errors.UserError(
        f'{name}={address!r} needs a package for buckets ({error}): pip'
        ' install gcsfs'
    ) from error
  except Exception as error:  # Each package has errors of its own.
    raise errors.UserError(
        f'{name}={address!r} cannot be reached ({error}): log in, or give'
        ' another'
    ) from error


def check_readable(name: str, path: str | os.PathLike) -> None:
  """Refuses a folder that nothing can be read from; one may be missing.

  Args:
    name: the flag, for the message.
    path: folder, or address of one.

  Raises:
    UserError: it is a link to nothing or may not be read, or as
      `check_address`.
  """
  check_address(name, path)
  if '://' in os.fspath(path):
    return
  path = os.path.expanduser(path)
  fault = ''
  if _kind(name, path) == stat.S_IFLNK:
    fault = 'is a link to nothing'
  elif os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):
    fault = 'cannot be read'
  if fault:
    raise errors.UserError(f'{name}={os.fspath(path)!r} {fault}; give another')


def check_folder(name: str, path: str | os.PathLike) -> None:
  """Refuses a folder that could not be written to; makes nothing.

  Args:
    name: the flag, for the message.
    path: a folder that may not be there yet.

  Raises:
    UserError: it is, or lies in, something that is no folder or not writable.
  """
  if '://' in os.fspath(path):
    return
  nearest = pathlib.Path(path).absolute()
  while not _kind(name, nearest):
    nearest = nearest.parent
  fault = ''
  if _kind(name, nearest) == stat.S_IFLNK:
    fault = 'is a link to nothing'
  elif not nearest.is_dir():
    fault = 'is no folder'
  elif not os.access(nearest, os.W_OK | os.X_OK):
    fault = 'cannot be written to'
  if fault:
    raise errors.UserError(
        f'{name}={os.fspath(path)!r}: {nearest} {fault}; give another'
    )


def check_out(name: str, path: str | os.PathLike) -> None:
  """Refuses a file that could not be written; makes nothing.

  Args:
    name: the flag, for the message.
    path: a file that may be there, as may its folder.

  Raises:
    UserError: it is a folder, a pipe or a device, or its folder is refused.
  """
  check_address(name, path)
  if '://' in os.fspath(path):
    return
  if os.path.isdir(path):
    raise errors.UserError(
        f'{name}={os.fspath(path)!r} is a folder: give the file to write'
    )
  errors.check_file(name, path)
  _kind(name, path)
  check_folder(name, pathlib.Path(path).absolute().parent)


def write_whole(path: str | os.PathLike, content: bytes) -> None:
  """Writes beside and renames: a reader never sees half a file.

  Args:
    path: of the file, whose folder is made.
    content: of it.
  """
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  beside = path.with_name(path.name + '.tmp')
  try:
    beside.write_bytes(content)
    beside.replace(path)
  finally:
    beside.unlink(missing_ok=True)


def fault(error: BaseException | None) -> str:
  """What the file system refused, where and the remedy; '' if it did nothing.

  Args:
    error: that was raised; what it came from is looked at too.
  """
  seen = set()
  while error is not None and id(error) not in seen:
    seen.add(id(error))
    number, path = _refused(error)
    if number in _REMEDIES:
      where = f': {path}' if path else ''
      return f'{os.strerror(number)}{where}; {_REMEDIES[number]}'
    error = error.__cause__ or error.__context__
  return ''


def _kind(name: str, path: str | os.PathLike) -> int:
  """What there is at a path, S_IFLNK if it leads to nothing; 0 for nothing."""
  try:
    return stat.S_IFMT(os.stat(path).st_mode)
  except (FileNotFoundError, NotADirectoryError):
    return stat.S_IFLNK if os.path.islink(path) else 0
  except (OSError, ValueError) as error:  # Too long, not to be looked at, ...
    reason = getattr(error, 'strerror', None) or error
    raise errors.UserError(
        f'{name}={os.fspath(path)!r:.200}: {reason}; give another'
    ) from error


def _refused(error: BaseException) -> tuple[int | None, str]:
  """Number and path of an error of the system."""
  if isinstance(error, errors.UserError):
    return None, ''
  if isinstance(error, OSError):
    name = error.filename
    return error.errno, '' if name is None else str(name)
  found, path = _NUMBER.search(str(error)), _PATH.search(str(error))
  number = int(found[1]) if found else None
  return number, path[1] if path else ''


@contextlib.contextmanager
def told(left: Callable[[], str]) -> Iterator[None]:
  """Has what the file system refuses inside end in a UserError.

  Args:
    left: says what is left of the work, for the message.

  Raises:
    UserError: it refused something.
  """
  try:
    yield
  except errors.UserError:
    raise  # It says already what it is about.
  except Exception as error:
    if said := fault(error):
      raise errors.UserError(f'{said}; {left()}') from error
    raise


def quiet(handler: logging.Handler) -> None:
  """Has threads and logs leave out the tracebacks of what `fault` tells.

  Args:
    handler: of the logs.
  """
  handler.addFilter(lambda x: not (x.exc_info and fault(x.exc_info[1])))
  threading.excepthook = _tell_thread


def _tell_thread(failed: Any) -> None:
  if not fault(failed.exc_value):
    threading.__excepthook__(failed)
