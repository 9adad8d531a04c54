"""Threads and processes that read, and end when their program does."""

import multiprocessing
import os
import signal
import threading
from multiprocessing import connection
from typing import TypeVar

import grain
from absl import flags

T = TypeVar('T')

# A decoded record takes megabytes, so grain's default of 500 in the buffer of
# each process will not do.
_READ_THREADS = 4
_BATCHES_READ_AHEAD = 2


def batched(
    elements: grain.MapDataset[T], batch_size: int
) -> grain.IterDataset[T]:
  """Batches of elements that threads of this process read."""
  options = grain.ReadOptions(
      num_threads=_READ_THREADS,
      prefetch_buffer_size=max(_READ_THREADS, _BATCHES_READ_AHEAD * batch_size),
  )
  return elements.to_iter_dataset(options).batch(batch_size)


def dealt(
    batches: grain.MapDataset[T], num_workers: int
) -> grain.IterDataset[T]:
  """Batches, whole ones in turn, that worker processes make.

  The order is that of the batches, however many workers there are.
  """
  if not flags.FLAGS.is_parsed():
    # grain reads its flags for the workers, in notebooks and tests as well.
    flags.FLAGS.mark_as_parsed()
  reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
  options = grain.multiprocessing.MultiprocessingOptions(
      num_workers=num_workers, per_worker_buffer_size=_BATCHES_READ_AHEAD
  )
  return batches.to_iter_dataset(reading).mp_prefetch(options, end_with_parent)


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
