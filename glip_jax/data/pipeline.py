"""From sources to batches: an endless training stream, and single passes.

A training stream is shuffled, repeated, mixed, transformed, and only then dealt
out to processes and workers: the generator of an element depends on its
position in the whole stream alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from glip_jax import types
from glip_jax.data import settings, workers
from glip_jax.data.guard import (
    CutTold,
    Guard,
    GuardedElement,
    NoObjectTold,
    broken_id,
    broken_indices,
)
from glip_jax.data.records import Record, Truth
from glip_jax.data.sources.protocol import Source, is_detection, num_boxes
from glip_jax.data.training_sources import Opened, TrainingSources
from glip_jax.errors import UserError
from glip_jax.text import prompts

# A decoded record takes megabytes, so grain's default of 500 in the buffer of
# each process will not do.
_READ_THREADS = 4
_BATCHES_READ_AHEAD = 2


def train_dataset(
    sources: TrainingSources,
    data: settings.Config,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.IterDataset[types.Batch]:
  """The endless training stream, in a new order in every pass.

  Its iterators have `get_state` and `set_state`; a state belongs to the
  settings and the `num_workers` it was made with, under which the stream goes
  on bit for bit. Close iterators that have workers.

  Args:
    sources: from `open_training`.
    data: `config.data` that they were opened by; `num_workers` may differ.
    batch_size: records in a batch of this process.
    seed: of the order and of all augmentation.
    process_index: which of the processes this is.
    process_count: number of processes that share the stream.

  Raises:
    UserError: if a setting is wrong. While iterating: if a record is bad and
      bad records are to be refused, or a source has no usable record.
  """
  if batch_size < 1:
    raise UserError(f'batch_size={batch_size} must be 1 or more')
  data = settings.read_data(data)
  stream = _mixed(sources.train, data, seed=seed)
  stream = _preceded(stream, sources.curriculum, data, seed=seed)
  stream = stream[process_index::process_count]
  return _with_workers(_batched(stream, batch_size), data.num_workers)


def eval_batches(
    source: Source,
    data: settings.Config,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[types.Batch]:
  """One pass over a source, in its order, without augmentation.

  All processes get the same number of full batches. Where no record is left
  stands an empty one with id -1; where one is bad and may be skipped, an empty
  one whose id tells which (`guard.broken_indices`). Any `num_workers` give the
  same batches; the workers end with the pass, or when the iterator is closed.

  Args:
    source: what to evaluate on.
    data: `config.data`.
    batch_size: records in a batch of this process.
    process_index: which of the processes this is; it reads every
      `process_count`-th record.
    process_count: number of processes that share the pass.

  Yields:
    Batches; `source.image_id(id)` is the original id of a record.

  Raises:
    UserError: if a model cannot read the vocabulary (`settings.check_prompt`),
      a record is bad and bad records are to be refused, or none is usable.
  """
  data = settings.read_data(data)
  element = settings.to_element(data)
  settings.check_prompt(source, element)
  resize = settings.resizing(data)
  guard = Guard(source, data.bad_records)
  reader = _EvalReader(
      guard=guard,
      resize=resize,
      element=GuardedElement(element, guard),
      blank=element.map(resize.map(_blank_record(source))),
      process_index=process_index,
      process_count=process_count,
  )
  num_batches = -(-len(source) // (process_count * batch_size))
  records = grain.MapDataset.range(num_batches * batch_size).map(reader)
  num_workers = min(data.num_workers, num_batches)
  if not num_workers:
    yield from _batched(records, batch_size)
    return
  # Workers deal out whole batches, or these would depend on their number.
  options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
  batches = records.batch(batch_size).to_iter_dataset(options)
  iterator = iter(_with_workers(batches, num_workers))
  bad = set()
  try:
    for batch in iterator:
      bad.update(broken_indices(batch.id))
      yield batch
  finally:
    iterator.close()
  # Each worker saw some of the records, so none could tell.
  if bad and len(bad) == len(source):
    raise UserError(
        f'none of the {len(source)} records is usable; the log names each'
    )


def _mixed(
    opened: tuple[Opened, ...], data: settings.Data, *, seed: int
) -> grain.MapDataset[types.Batch]:
  """The endless stream of elements of one source, or of several by weight."""
  streams = [
      _training_stream(each, data, seed=[seed, number])
      for number, each in enumerate(opened)
  ]
  if len(streams) == 1:
    return streams[0]
  return grain.MapDataset.mix(streams, [each.spec.weight for each in opened])


def _preceded(
    stream: grain.MapDataset[types.Batch],
    opened: tuple[Opened, ...],
    data: settings.Data,
    *,
    seed: int,
) -> grain.MapDataset[types.Batch]:
  """Puts the first elements of other streams, each in its order, before one."""
  if not opened:
    return stream
  parts, start = [], 0
  for number, each in enumerate(opened, 1):
    part = _training_stream(each, data, seed=[seed, 0, number])
    parts.append(part[: each.spec.until - start])
    start = each.spec.until
  # Endless streams cannot be joined, so this one ends where counting does.
  return grain.MapDataset.concatenate([*parts, stream[: len(stream) - start]])


def _training_stream(
    opened: Opened, data: settings.Data, *, seed: list[int]
) -> grain.MapDataset[types.Batch]:
  """The endless stream of elements of one source."""
  own_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
  guard = Guard(opened.source, data.bad_records)
  stream = grain.MapDataset.source(guard).seed(own_seed).shuffle().repeat()
  if num_boxes(opened.source) is None:  # Else told when it was opened.
    stream = stream.map(CutTold(data.num_boxes))
    stream = stream.map(NoObjectTold(len(opened.source)))
  for step in settings.training_steps(data, opened.spec):
    is_random = isinstance(step, grain.transforms.RandomMap)
    stream = stream.random_map(step) if is_random else stream.map(step)
  return stream.map(GuardedElement(settings.to_element(data), guard))


def _batched(
    stream: grain.MapDataset[types.Batch], batch_size: int
) -> grain.IterDataset[types.Batch]:
  options = grain.ReadOptions(
      num_threads=_READ_THREADS,
      prefetch_buffer_size=max(_READ_THREADS, _BATCHES_READ_AHEAD * batch_size),
  )
  return stream.to_iter_dataset(options).batch(batch_size)


def _with_workers(
    batches: grain.IterDataset[types.Batch], num_workers: int
) -> grain.IterDataset[types.Batch]:
  """Has worker processes make batches, if there are to be any."""
  if not num_workers:
    return batches
  if not flags.FLAGS.is_parsed():
    # grain reads its flags for the workers, in notebooks and tests as well.
    flags.FLAGS.mark_as_parsed()
  options = grain.multiprocessing.MultiprocessingOptions(
      num_workers=num_workers, per_worker_buffer_size=_BATCHES_READ_AHEAD
  )
  return batches.mp_prefetch(options, workers.end_with_parent)


def _blank_record(source: Source) -> Record:
  """A record of nothing, to fill up a batch."""
  is_list = is_detection(source)
  nothing = prompts.from_caption('nothing', ())
  truth = Truth(
      boxes=np.zeros((0, 4), np.float32),
      phrase=np.zeros(0, np.int32),
      crowd=np.zeros(0, bool),
      text=prompts.from_names(source.names) if is_list else nothing,
      is_list=is_list,
  )
  return truth.of(np.zeros((32, 32, 3), np.uint8), -1)


@dataclasses.dataclass(frozen=True, eq=False)
class _EvalReader(grain.transforms.Map):
  """Element of a position in a pass, `blank` where there is none.

  Attributes:
    guard: the source.
    resize: the resizing transform.
    element: makes elements of records.
    blank: the element that stands for no record.
    process_index: which of the processes this is.
    process_count: number of processes that share the pass.
  """

  guard: Guard
  resize: grain.transforms.Map
  element: GuardedElement
  blank: types.Batch
  process_index: int
  process_count: int

  def map(self, position: int) -> types.Batch:
    """Reads a record, or not."""
    index = position * self.process_count + self.process_index
    if index >= len(self.guard):
      return self.blank
    record = self.guard[index]
    if record is not None:
      element = self.element.map(self.resize.map(record))
      if element is not None:
        return element
    return self.blank.replace(id=broken_id(index))
