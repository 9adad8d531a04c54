"""The endless training stream: planned batches, read by threads or workers.

A batch is planned for all processes together, and each reads its rows of it.
A position in the stream is a batch number and what waits for its batch, so a
run goes on with any number of workers and processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import grain

from glip_jax import types
from glip_jax.data import fitting, records, settings, workers
from glip_jax.data.buckets import Bucket, Plan
from glip_jax.data.reading import Reader
from glip_jax.data.training_sources import TrainingSources
from glip_jax.errors import UserError
from glip_jax.text import prompts

_ENDLESS = 2**62


class Stream(Iterator[types.Batch]):
  """An iterator of batches whose position can be saved as JSON.

  Close it to end its workers.
  """

  def __init__(self, plan: Plan, reader: Reader, rows: range, num_workers: int):
    """Reads nothing before the first batch is asked for.

    Args:
      plan: of the batches.
      reader: of their records.
      rows: of each batch, which this process reads.
      num_workers: processes that read; 0 for threads of this one.
    """
    self._plan = plan
    self._source = _Rows(plan, reader, rows)
    self._num_workers = num_workers
    self._number = 0
    self._batches: Any = None

  def __next__(self) -> types.Batch:
    if self._batches is None:
      self._batches = iter(self._read())
    batch = next(self._batches)
    self._number += 1
    # Workers plan for themselves: a step at a time it is done beside a step.
    self._plan.state(self._number)
    return batch

  def get_state(self) -> dict[str, Any]:
    """The position behind the batches that were given; JSON values."""
    return self._plan.state(self._number)

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Moves to a position.

    Raises:
      UserError: if it is that of a stream of other buckets or batch size.
    """
    self.close()
    self._plan.start_from(state)
    self._number = int(state['batch'])

  def close(self) -> None:
    """Ends the workers; the next batch would start them again."""
    if self._batches is not None:
      self._batches.close()
    self._batches = None

  def _read(self) -> grain.IterDataset[types.Batch]:
    count = len(self._source)
    places = grain.MapDataset.range(self._number * count, _ENDLESS)
    elements = places.map(self._source.element)
    if not self._num_workers:
      return workers.batched(elements, count)
    return workers.dealt(elements.batch(count), self._num_workers)


@dataclasses.dataclass(frozen=True, eq=False)
class _Rows:
  """The rows of each batch that one process reads.

  Attributes:
    plan: of the batches.
    reader: of their records.
    rows: of a batch.
  """

  plan: Plan
  reader: Reader
  rows: range

  def __len__(self) -> int:
    return len(self.rows)

  def element(self, place: int) -> types.Batch:
    """One of the rows, counted on through all batches."""
    number, row = divmod(place, len(self.rows))
    planned = self.plan[number]
    return self.reader.read(planned.positions[self.rows[row]], planned.bucket)


def train_stream(
    sources: TrainingSources,
    data: settings.Config,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Stream:
  """The endless training stream, in a new order in every pass.

  It goes on bit for bit from a saved position, whatever `num_workers`; batches
  of all processes together are the same for any number of processes.

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
  reader = Reader(sources, data, seed=seed)
  plan = Plan(
      reader.choose,
      num_buckets=len(reader.buckets),
      batch_size=batch_size * process_count,
  )
  first = process_index * batch_size
  rows = range(first, first + batch_size)
  return Stream(plan, reader, rows, data.num_workers)


def blank_batch(
    data: settings.Config, bucket: Bucket, batch_size: int
) -> types.Batch:
  """A batch of nothing in the shape of a bucket.

  Args:
    data: `config.data`.
    bucket: one of `settings.buckets`.
    batch_size: its rows.
  """
  (element,) = [
      fit.element for fit in fitting.fits(data) if fit.bucket == bucket
  ]
  one = element.map(records.blank(prompts.from_caption('nothing', ())))
  return grain.MapDataset.source([one] * batch_size).batch(batch_size)[0]
