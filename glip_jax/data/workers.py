"""Worker processes that end when the program that started them does."""

import multiprocessing
import os
import signal
import threading
from multiprocessing import connection


def end_with_parent(worker_index: int, worker_count: int) -> None:
  """A `worker_init_fn` for grain: the worker exits when its parent is gone.

  grain stops its workers when an iterator is closed or collected. A killed
  program does neither, and its workers would wait for ever, with their memory.

  Args:
    worker_index: number of this worker, not used.
    worker_count: number of workers, not used.
  """
  del worker_index, worker_count
  # Terminals and job managers send their signals to all; the parent, which may
  # still want a batch, ends the workers.
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
  parent = multiprocessing.parent_process()
  if parent is not None:
    watch = threading.Thread(target=_wait_and_exit, args=(parent.sentinel,))
    watch.daemon = True
    watch.start()


def _wait_and_exit(sentinel: int) -> None:
  connection.wait([sentinel])
  os._exit(1)  # Only this leaves while other threads are blocked.
