"""The error that a user can cause and mend, and the end that he asked for."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator

# pathlib writes two slashes as one.
_URL = re.compile(r'(https?|ftps?|file|hf):/|data:|[a-z][a-z0-9+.-]+://', re.I)
_BUCKET = re.compile('(gs|s3)://')
# What is opened like a file and may then wait for ever.
_WAITING = {
    stat.S_IFIFO: 'a pipe (FIFO)',
    stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device',
}


class UserError(ValueError):
  """Bad input: the message names the thing, its value and the remedy.

  The command-line programs print it as one line and exit with status 1;
  everything else that is raised is a defect and keeps its traceback.
  """


class Stopped(Exception):
  """A program ends between two steps, because a signal asked it to.

  Attributes:
    status: that the program exits with, 128 + signal.
  """

  def __init__(self, message: str, status: int):
    super().__init__(message)
    self.status = status


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
  """Has a UserError from inside begin with the config field it is about."""
  try:
    yield
  except UserError as error:
    raise UserError(f'{what}: {error}') from error


def is_url(path: str | os.PathLike[str]) -> bool:
  """Whether a path is an address, that of a bucket included."""
  return bool(_URL.match(os.fspath(path)))


def url_refused(what: str, path: str | os.PathLike[str]) -> str:
  """What is said of an address where nothing is fetched from."""
  return (
      f'{what}={os.fspath(path)[:200]!r} is a URL: download it first, and give'
      ' the path of what you have then'
  )


def check_no_url(
    what: str, path: str | os.PathLike[str] | None, *, buckets: bool = False
) -> None:
  """Refuses an address where a path is wanted: nothing is fetched.

  Args:
    what: the field, flag or argument it comes from, for the message.
    path: None passes.
    buckets: gs:// and s3:// pass too.

  Raises:
    UserError: it is one.
  """
  if path is None or not is_url(path):
    return
  if not (buckets and _BUCKET.match(os.fspath(path))):
    raise UserError(url_refused(what, path))


def waiting_kind(path: str | os.PathLike[str]) -> str:
  """What a path is that reading might wait for without an end, or ''."""
  try:
    return _WAITING.get(stat.S_IFMT(os.stat(path).st_mode), '')
  except (OSError, ValueError):  # Missing: who opens it says so.
    return ''


def check_file(what: str, path: str | os.PathLike[str]) -> None:
  """Refuses a pipe, socket or device, before it is opened.

  Args:
    what: the field, flag or argument it comes from, for the message.
    path: of a file that is to be read, which need not exist.

  Raises:
    UserError: it is one.
  """
  if kind := waiting_kind(path):
    raise UserError(
        f'{what}={os.fspath(path)!r} is {kind}: give the path of a file'
    )
