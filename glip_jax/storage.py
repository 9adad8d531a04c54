"""What the file system refuses: told in one line, with what is left.

A full disk, a quota, a limit, a device that fails or may not be written to is
found out by whoever writes, in threads and in libraries of C++ too. It is the
user's to mend, so it is no defect that needs a traceback.
"""

import contextlib
import errno
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

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
