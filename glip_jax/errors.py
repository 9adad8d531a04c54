"""The error that a user can cause and mend, and the end that he asked for."""

import contextlib
from collections.abc import Iterator


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
