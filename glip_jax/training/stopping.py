"""Ends a run between two steps when Ctrl-C or SIGTERM asks for it.

Python handles a signal between two of its own instructions, so a program that
waits for XLA hears of it late, and an exception that is raised just then can
get lost. Here a thread hears of it at once and the loop asks between steps.
"""

import os
import signal
import sys
import threading
from typing import Any

import jax

from glip_jax import errors
from glip_jax.training import processes

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
  """What signals ask for, while its `with` block lasts.

  The first signal is noted and said; a second one ends the process at once,
  with the status 128 + signal, as shells give it. In another thread than the
  main one, where Python allows no handlers, it hears nothing.
  """

  def __init__(self):
    """Hears nothing before the block is entered."""
    self._signal = 0
    self._before: dict[int, Any] = {}

  def __enter__(self) -> 'Stop':
    if threading.current_thread() is not threading.main_thread():
      return self
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    self._pipe, self._wakeup = mouth, signal.set_wakeup_fd(
        mouth, warn_on_full_buffer=False
    )
    threading.Thread(target=self._listen, args=(ear,), daemon=True).start()
    # The thread does the work; only the default has to be off.
    for number in _SIGNALS:
      self._before[number] = signal.signal(number, lambda *_: None)
    return self

  def __exit__(self, *_: Any) -> None:
    if not self._before:
      return
    for number, handler in self._before.items():
      signal.signal(number, handler)
    signal.set_wakeup_fd(self._wakeup)
    os.close(self._pipe)

  def is_asked(self, *, together: bool = True) -> bool:
    """Whether to stop now.

    Args:
      together: True at steps where all processes of a run ask; several of them
        stop at such steps alone, as one that has heard nothing must know.
    """
    if together:
      self._signal = max(processes.gather(self._signal))
    elif jax.process_count() > 1:
      return False
    return self._signal > 0

  def error(self, what: str) -> errors.Stopped:
    """What ends the run when it was asked to stop.

    Args:
      what: is left of the run, for the message.
    """
    return errors.Stopped(what, status=128 + self._signal)

  def _listen(self, ear: int) -> None:
    """Notes the first signal and ends the process at the second."""
    with open(ear, 'rb', buffering=0) as pipe:
      while heard := pipe.read(1):
        number = heard[0]
        if number not in _SIGNALS:
          continue
        if self._signal:
          os._exit(128 + number)
        self._signal = number
        name = signal.Signals(number).name
        print(
            f'\n{name}: this step is finished and saved; once more to end at'
            ' once',
            file=sys.stderr,
            flush=True,
        )
