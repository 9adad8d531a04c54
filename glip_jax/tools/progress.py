"""A bar that says how far a tool is, and how fast."""

import sys
from typing import TextIO

import tqdm

# Seconds between lines in a log file.
_INTERVAL = 30.0


class Bars:
  """Bars of tqdm, one after the other, for what a tool does in turn."""

  def __init__(self, stream: TextIO | None = None):
    """Shows nothing yet.

    Args:
      stream: where the bars go; standard error by default.
    """
    self._stream = sys.stderr if stream is None else stream
    self._what = ''
    self._bar: tqdm.tqdm | None = None

  def __call__(self, what: str, done: int, total: int) -> None:
    """Tells how much of something is done.

    Args:
      what: another one begins another bar.
      done: records so far.
      total: records in all.
    """
    if self._bar is None or what != self._what:
      self.close()
      is_terminal = self._stream.isatty()
      self._what = what
      self._bar = tqdm.tqdm(
          desc=what,
          total=total,
          unit=' records',
          file=self._stream,
          mininterval=0.1 if is_terminal else _INTERVAL,
          dynamic_ncols=is_terminal,
      )
    self._bar.update(done - self._bar.n)

  def close(self) -> None:
    """Leaves the last bar standing."""
    if self._bar is not None:
      self._bar.close()
    self._bar = None
