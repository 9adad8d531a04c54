"""Which records make which batch, and of what shape: planned before reading.

All images of a batch have one canvas and all prompts one length, so that each
step runs one of a few compiled programs. Records are taken in the order of the
stream and wait in the bucket that wastes least until it has a whole batch. The
plan is the same on every process and worker, however many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from glip_jax import types
from glip_jax.errors import UserError

# Plans that are kept for those that ask again; others are made anew.
_KEPT = 256


class Bucket(NamedTuple):
  """The shape of a batch.

  Attributes:
    canvas: (h, w) of its images, pixels.
    num_tokens: of its prompts.
  """

  canvas: tuple[int, int]
  num_tokens: int

  @property
  def num_pixels(self) -> int:
    """Pixels of a canvas."""
    return self.canvas[0] * self.canvas[1]

  def __str__(self) -> str:
    height, width = self.canvas
    return f'{height}x{width}, {self.num_tokens} tokens'


def of_batch(batch: types.Batch) -> Bucket:
  """The bucket that a batch is of."""
  return Bucket(batch.image.shape[1:3], batch.prompt.ids.shape[1])


class Planned(NamedTuple):
  """One batch before it is read.

  Attributes:
    bucket: number of its bucket.
    positions: of its records in the stream.
  """

  bucket: int
  positions: tuple[int, ...]


class Plan:
  """Batches by number, from where a run starts or goes on."""

  def __init__(
      self,
      choose: Callable[[int], int],
      *,
      num_buckets: int,
      batch_size: int,
  ):
    """Begins with batch 0.

    Args:
      choose: number of the bucket for the record at a position of the stream.
      num_buckets: how many buckets there are.
      batch_size: records of a batch, those of all processes.
    """
    self._choose = choose
    self._batch_size = batch_size
    self._num_buckets = num_buckets
    self._lock = threading.Lock()
    self._start = 0, 0, tuple(() for _ in range(num_buckets))
    self._begin()

  def __getstate__(self) -> dict[str, Any]:
    # Each worker plans for itself, from the same start.
    state = self.__dict__.copy()
    for key in ('_lock', '_planned', '_states', '_next'):
      del state[key]
    return state

  def __setstate__(self, state: Mapping[str, Any]) -> None:
    self.__dict__ |= state
    self._lock = threading.Lock()
    self._begin()

  def __getitem__(self, number: int) -> Planned:
    """The batch of a number, not before the one that the plan starts at."""
    with self._lock:
      self._reach(number + 1)
      return self._planned[number]

  def state(self, number: int) -> dict[str, Any]:
    """What a plan that starts with batch `number` has to know, as JSON has it.

    Args:
      number: of a batch; those before it were taken.
    """
    with self._lock:
      self._reach(number)
      position, waiting = self._states[number]
    return {
        'batch': number,
        'position': position,
        'waiting': [list(each) for each in waiting],
    }

  def start_from(self, state: Mapping[str, Any]) -> None:
    """Moves the start to what `state` gave.

    Raises:
      UserError: it is the state of a plan with other buckets or batches.
    """
    waiting = tuple(tuple(each) for each in state['waiting'])
    if len(waiting) != self._num_buckets or any(
        len(each) >= self._batch_size for each in waiting
    ):
      raise UserError(
          f'the saved position in the data is of {len(waiting)} buckets and'
          f' larger batches or other buckets than these {self._num_buckets}:'
          ' keep config.data.buckets and config.batch_size, or start by'
          ' --config.init'
      )
    with self._lock:
      self._start = int(state['batch']), int(state['position']), waiting
      self._begin()

  def _begin(self) -> None:
    number, position, waiting = self._start
    self._next = number
    self._planned: dict[int, Planned] = {}
    self._states = {number: (position, waiting)}

  def _reach(self, number: int) -> None:
    """Plans up to a batch, that one not included."""
    if number < min(self._states):
      self._begin()
    while self._next < number:
      batch, state = self._following(*self._states[self._next])
      self._planned[self._next] = batch
      self._next += 1
      self._states[self._next] = state
      for kept in (self._planned, self._states):
        while len(kept) > _KEPT:
          del kept[min(kept)]

  def _following(
      self, position: int, waiting: Sequence[tuple[int, ...]]
  ) -> tuple[Planned, tuple[int, tuple[tuple[int, ...], ...]]]:
    """The next batch, and what is left behind it."""
    grown = [list(each) for each in waiting]
    while True:
      bucket = self._choose(position) if self._num_buckets > 1 else 0
      grown[bucket].append(position)
      position += 1
      if len(grown[bucket]) == self._batch_size:
        batch = Planned(bucket, tuple(grown[bucket]))
        grown[bucket] = []
        return batch, (position, tuple(map(tuple, grown)))
