"""Ctrl-C and SIGTERM end a program in one line, whatever it is doing.

While modules are imported the process ends at once: of an exception there many
of them make an ImportError of their own. Later an exception unwinds what is
being done, so that no half of a file stays. The status is 128 + signal.
"""

import os
import signal
import sys
import threading
import types
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN = 0.1  # Seconds until a signal that got lost comes again.
_heard: list[int] = []


class Interrupted(KeyboardInterrupt):
  """A signal asks the program to end."""


def end_at_once() -> None:
  """From now on a signal ends the process, without unwinding anything."""
  _handle(_exit)


def end_by_exception() -> None:
  """From now on a signal raises `Interrupted` in the main thread.

  Where that gets lost, as in a callback of the garbage collector, the signal
  comes again.
  """
  _handle(_raise)
  sys.unraisablehook = _repeat


def status() -> int:
  """What a program exits with that was interrupted; 0 where it was not."""
  return 128 + _heard[-1] if _heard else 0


def _handle(handler: Any) -> None:
  if threading.current_thread() is not threading.main_thread():
    return
  for number in _SIGNALS:
    # As under nohup, and in a shell's background.
    if signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, handler)


def _exit(number: int, _: types.FrameType | None) -> None:
  os.write(2, b'stopped\n')
  os._exit(128 + number)


def _raise(number: int, _: types.FrameType | None) -> None:
  _heard.append(number)
  raise Interrupted(number)


def _repeat(lost: Any) -> None:
  """Says what Python cannot raise, and asks again for an interruption."""
  if not isinstance(lost.exc_value, Interrupted):
    return sys.__unraisablehook__(lost)
  again = threading.Timer(_AGAIN, os.kill, (os.getpid(), _heard[-1]))
  again.daemon = True
  again.start()
