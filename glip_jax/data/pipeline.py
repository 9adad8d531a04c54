"""Single passes over a source, for evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import grain
import numpy as np

from glip_jax import types
from glip_jax.data import fitting, records, settings, vocabularies, workers
from glip_jax.data.guard import Guard, GuardedElement, broken_id, broken_indices
from glip_jax.data.records import Record
from glip_jax.data.sources.protocol import (
    Source,
    image_size,
    is_detection,
    prompt_of,
)
from glip_jax.errors import UserError
from glip_jax.text import prompts


def eval_batches(
    source: Source,
    data: settings.Config,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    resize: tuple[int, int] | None = None,
    start: int = 0,
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
    resize: (short, long) instead of `config.data.resize`, in canvases that grow
      alike; the records of each batch are those of a pass without.
    start: number of batches that are left out, from the first.

  Yields:
    Batches; `source.image_id(id)` is the original id of a record.

  Raises:
    UserError: if a model cannot read the vocabulary
      (`vocabularies.check_prompt`), a record is bad and bad records are to be
      refused, or none is usable.
  """
  data = settings.read_data(data)
  vocabularies.check_evaluated(source, data)
  fits = fitting.fits(data)
  guard = Guard(source, data.bad_records)
  text = _first_text(source, data)
  total = batch_size * process_count
  batches = _planned(source, fits, total, is_chunked=text is not None)
  if resize is not None:
    fits = tuple(fit.resized(*resize) for fit in fits)
  blank = _blank_record(source, text)
  reader = _EvalReader(
      guard=guard,
      readers={
          bucket: _BucketReader(fits[bucket], guard, blank, text)
          for bucket in {bucket for bucket, _ in batches}
      },
      batches=[
          (bucket, rows[process_index::process_count])
          for bucket, rows in batches
      ],
      batch_size=batch_size,
  )
  num_batches = len(batches) - start
  if num_batches <= 0:
    return
  rows = grain.MapDataset.range(start * batch_size, len(batches) * batch_size)
  elements = rows.map(reader)
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


def _first_text(
    source: Source, data: settings.Data
) -> prompts.TextPrompt | None:
  """What stands for the prompts of a vocabulary that takes several; else None.

  The first of them; of captions of classes nothing is read in batches.
  """
  if not is_detection(source):
    return None
  if data.class_captions:
    return prompts.from_caption('nothing', ())
  found = vocabularies.split(source, data)
  return found[0].text if len(found) > 1 else None


def _blank_record(source: Source, text: prompts.TextPrompt | None) -> Record:
  """A record of nothing, to fill up a batch."""
  if text is not None:
    return records.blank(text, is_list=True)
  if is_detection(source):
    return records.blank(prompt_of(source), is_list=True)
  return records.blank(prompts.from_caption('nothing', ()))


def _planned(
    source: Source,
    fits: Sequence[fitting.Fit],
    batch_size: int,
    *,
    is_chunked: bool,
) -> list[tuple[int, list[int]]]:
  """Bucket and records of each batch, in the order of the source.

  The last of each bucket is filled up with -1.
  """
  waiting = [[] for _ in fits]
  batches = []
  for index in range(len(source)):
    bucket = _bucket(source, index, fits, is_chunked)
    waiting[bucket].append(index)
    if len(waiting[bucket]) == batch_size:
      batches.append((bucket, waiting[bucket]))
      waiting[bucket] = []
  for bucket, rows in enumerate(waiting):
    if rows:
      batches.append((bucket, rows + [-1] * (batch_size - len(rows))))
  return batches


def _bucket(
    source: Source, index: int, fits: Sequence[fitting.Fit], is_chunked: bool
) -> int:
  """Number of the bucket that wastes least on a record.

  Prompts of several for one image are of any length.
  """
  if len(fits) == 1:
    return 0
  longest = max(fits, key=lambda fit: fit.bucket.num_tokens)
  try:
    size = image_size(source, index)
    num_tokens = longest.bucket.num_tokens
    if not is_chunked:
      text = source.text(index)
      num_tokens = longest.element.length(text)
  except UserError:  # Reading it will say what is wrong.
    size, num_tokens = None, longest.bucket.num_tokens
  return fitting.best(fits, size, num_tokens)


class _BucketReader:
  """Makes elements of one bucket, all of one text if that is given."""

  def __init__(
      self,
      fit: fitting.Fit,
      guard: Guard,
      blank: Record,
      text: prompts.TextPrompt | None,
  ):
    self._text = text
    self.blank = fit.element.map(fit.resize.map(blank))
    self.decoding = fit.decoding
    self._resize = fit.resize
    self._element = GuardedElement(fit.element, guard)

  def read(self, record: Record) -> types.Batch | None:
    """An element, or None if that fails and the record may be skipped."""
    if self._text is not None:
      record = dataclasses.replace(
          record, text=self._text, phrase=np.full_like(record.phrase, -1)
      )
    return self._element.map(self._resize.map(record))


@dataclasses.dataclass(frozen=True, eq=False)
class _EvalReader(grain.transforms.Map):
  """Element of a position in a pass, a blank one where there is none.

  Attributes:
    guard: the source.
    readers: by number of their bucket.
    batches: bucket and rows of each batch, -1 where there is no record.
    batch_size: rows of a batch.
  """

  guard: Guard
  readers: Mapping[int, _BucketReader]
  batches: Sequence[tuple[int, Sequence[int]]]
  batch_size: int

  def map(self, position: int) -> types.Batch:
    """Reads a record, or not."""
    number, row = divmod(position, self.batch_size)
    bucket, rows = self.batches[number]
    reader, index = self.readers[bucket], rows[row]
    if index < 0:
      return reader.blank
    with reader.decoding():
      record = self.guard[index]
    if record is not None:
      element = reader.read(record)
      if element is not None:
        return element
    return reader.blank.replace(id=broken_id(index))
