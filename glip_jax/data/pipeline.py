"""Single passes over a source, for evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import grain

from glip_jax import types
from glip_jax.data import records, settings, vocabularies, workers
from glip_jax.data.guard import Guard, GuardedElement, broken_id, broken_indices
from glip_jax.data.records import Record
from glip_jax.data.sources.protocol import Source, is_detection
from glip_jax.errors import UserError
from glip_jax.text import prompts


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
    UserError: if a model cannot read the vocabulary
      (`vocabularies.check_prompt`), a record is bad and bad records are to be
      refused, or none is usable.
  """
  data = settings.read_data(data)
  element = settings.to_element(data)
  vocabularies.check_prompt(source, element)
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
  elements = grain.MapDataset.range(num_batches * batch_size).map(reader)
  num_workers = min(data.num_workers, num_batches)
  if not num_workers:
    yield from workers.batched(elements, batch_size)
    return
  # Whole batches are dealt out, or they would depend on the number of workers.
  iterator = iter(workers.dealt(elements.batch(batch_size), num_workers))
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


def _blank_record(source: Source) -> Record:
  """A record of nothing, to fill up a batch."""
  if is_detection(source):
    return records.blank(prompts.from_names(source.names), is_list=True)
  return records.blank(prompts.from_caption('nothing', ()))


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
