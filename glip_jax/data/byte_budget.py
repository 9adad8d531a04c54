"""A bound on the memory that all threads of a process decode in."""

import contextlib
import threading
from collections.abc import Iterator


class ByteBudget:
  """Lets threads wait until what others hold leaves room for them."""

  def __init__(self, total: int):
    """Starts with nothing held.

    Args:
      total: bytes that may be held together; who wants more waits until all
        others are done, and goes alone.
    """
    self._total = total
    self._held = 0
    self._changed = threading.Condition()

  @contextlib.contextmanager
  def hold(self, count: int) -> Iterator[None]:
    """Holds bytes while the block runs; waits for them before.

    Args:
      count: how many.
    """
    count = min(count, self._total)
    with self._changed:
      self._changed.wait_for(lambda: self._held + count <= self._total)
      self._held += count
    try:
      yield
    finally:
      with self._changed:
        self._held -= count
        self._changed.notify_all()
