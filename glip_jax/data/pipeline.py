"""From sources to batches: an endless training stream, and single passes.

A training stream is shuffled, repeated, mixed, transformed, and only then dealt
out to processes and workers: the generator of an element depends on its
position in the whole stream alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import grain
import ml_collections
import numpy as np
from absl import flags

from glip_jax import errors, types
from glip_jax.data import settings, workers
from glip_jax.data.guard import Guard, GuardedElement
from glip_jax.data.records import Record
from glip_jax.data.sources.faults import check_bad_records
from glip_jax.data.sources.protocol import Source
from glip_jax.data.sources.table import open_source
from glip_jax.errors import UserError
from glip_jax.text import prompts

Config = Mapping[str, Any] | ml_collections.ConfigDict

# A decoded record takes megabytes, so grain's default of 500 in the buffer of
# each process will not do.
_READ_THREADS = 4
_BATCHES_READ_AHEAD = 2


def train_dataset(
    data: Config,
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
    data: `config.data`; docs/data.md lists the fields. `train` is one source
      spec, or a dict of named specs with a `weight` each (default 1).
      `warmup` is one or several too, read one after another before `train`,
      each `until` the stream has had so many records.
    batch_size: records in a batch of this process.
    seed: of the order and of all augmentation.
    process_index: which of the processes this is.
    process_count: number of processes that share the stream.

  Raises:
    UserError: if a source cannot be opened, a setting is wrong, or the prompt
      of a vocabulary does not fit. While iterating: if a record is bad and bad
      records are to be refused, or a source has no usable record.
  """
  if batch_size < 1:
    raise UserError(f'batch_size={batch_size} must be 1 or more')
  settings.check_fields(data)
  stream = _mixed(data['train'], data, seed=seed)
  if warmup := data.get('warmup'):
    stream = _preceded(stream, warmup, data, seed=seed)
  stream = stream[process_index::process_count]
  batches = _batched(stream, batch_size)
  num_workers = int(data.get('num_workers', 0))
  if not num_workers:
    return batches
  if not flags.FLAGS.is_parsed():
    # grain reads its flags for the workers, in notebooks and tests as well.
    flags.FLAGS.mark_as_parsed()
  options = grain.multiprocessing.MultiprocessingOptions(
      num_workers=num_workers, per_worker_buffer_size=_BATCHES_READ_AHEAD
  )
  return batches.mp_prefetch(options, workers.end_with_parent)


def eval_batches(
    source: Source,
    data: Config,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[types.Batch]:
  """One pass over a source, in its order, without augmentation.

  All processes get the same number of full batches. Where no record is left, or
  one is bad and may be skipped, stands an empty one with id -1.

  Args:
    source: what to evaluate on.
    data: `config.data`, as in `train_dataset`.
    batch_size: records in a batch of this process.
    process_index: which of the processes this is; it reads every
      `process_count`-th record.
    process_count: number of processes that share the pass.

  Yields:
    Batches; `source.image_id(id)` is the original id of a record.

  Raises:
    UserError: if the prompt of the vocabulary does not fit, a record is bad and
      bad records are to be refused, or none is usable.
  """
  element = settings.to_element(data)
  settings.check_prompt(source, element)
  resize = settings.resizing(data)
  guard = Guard(source, data.get('bad_records', 'skip'))
  reader = _EvalReader(
      guard=guard,
      resize=resize,
      element=GuardedElement(element, guard),
      blank=element.map(resize.map(_blank_record(source))),
      process_index=process_index,
      process_count=process_count,
  )
  total = -(-len(source) // (process_count * batch_size)) * batch_size
  yield from _batched(grain.MapDataset.range(total).map(reader), batch_size)


def _specs(spec: Config) -> list[dict[str, Any]]:
  """Returns the source specs of several by name, or the only one."""
  if isinstance(spec, ml_collections.ConfigDict):
    spec = spec.to_dict()
  is_several = spec and all(isinstance(x, Mapping) for x in spec.values())
  return [dict(x) for x in (spec.values() if is_several else [spec])]


def _training_specs(spec: Config) -> list[dict[str, Any]]:
  """Returns the specs of a mixture that have a share in it."""
  specs = _specs(spec)
  weights = [part.get('weight', 1.0) for part in specs]
  if min(weights) < 0 or not any(weights):
    raise UserError(
        f'data.train has weights {weights}; make one positive, none negative'
    )
  return [part for part in specs if part.get('weight', 1.0)]


def _mixed(
    specs: Config, data: Config, *, seed: int
) -> grain.MapDataset[types.Batch]:
  """The endless stream of elements of one source, or of several by weight."""
  streams, weights = [], []
  for number, spec in enumerate(_training_specs(specs)):
    own_seed = np.random.SeedSequence([seed, number]).generate_state(1)
    streams.append(
        _training_stream(spec, data, seed=int(own_seed[0]), what='data.train')
    )
    weights.append(float(spec.get('weight', 1.0)))
  if len(streams) == 1:
    return streams[0]
  return grain.MapDataset.mix(streams, weights)


def _preceded(
    stream: grain.MapDataset[types.Batch],
    warmup: Config,
    data: Config,
    *,
    seed: int,
) -> grain.MapDataset[types.Batch]:
  """Puts the first elements of other streams, each in its order, before one."""
  specs = sorted(_specs(warmup), key=lambda spec: spec.get('until', 0))
  parts, start = [], 0
  for number, spec in enumerate(specs, 1):
    until = spec.pop('until', 0)
    if until <= start:
      raise UserError(
          f'data.warmup: until={until} must be over {start}: the number of'
          ' records of the whole stream after which the next source begins'
      )
    own_seed = np.random.SeedSequence([seed, 0, number]).generate_state(1)
    part = _training_stream(
        spec, data, seed=int(own_seed[0]), what='data.warmup'
    )
    parts.append(part[: until - start])
    start = until
  # Endless streams cannot be joined, so this one ends where counting does.
  return grain.MapDataset.concatenate([*parts, stream[: len(stream) - start]])


def _training_stream(
    spec: Config, data: Config, *, seed: int, what: str
) -> grain.MapDataset[types.Batch]:
  """The endless stream of elements of one source, the spec named `what`."""
  bad_records = check_bad_records(data.get('bad_records', 'skip'))
  with errors.naming(what):
    source = open_source(spec, bad_records=bad_records)
  element = settings.to_element(data)
  settings.check_prompt(source, element)
  guard = Guard(source, bad_records)
  stream = grain.MapDataset.source(guard).seed(seed).shuffle().repeat()
  for step in settings.training_steps(data):
    is_random = isinstance(step, grain.transforms.RandomMap)
    stream = stream.random_map(step) if is_random else stream.map(step)
  return stream.map(GuardedElement(element, guard))


def _batched(
    stream: grain.MapDataset[types.Batch], batch_size: int
) -> grain.IterDataset[types.Batch]:
  options = grain.ReadOptions(
      num_threads=_READ_THREADS,
      prefetch_buffer_size=max(_READ_THREADS, _BATCHES_READ_AHEAD * batch_size),
  )
  return stream.to_iter_dataset(options).batch(batch_size)


def _blank_record(source: Source) -> Record:
  """A record of nothing, to fill up a batch."""
  text = prompts.from_caption('nothing', ())
  return Record(
      image=np.zeros((32, 32, 3), np.uint8),
      boxes=np.zeros((0, 4), np.float32),
      phrase=np.zeros(0, np.int32),
      crowd=np.zeros(0, bool),
      text=prompts.from_names(source.names) if source.names else text,
      index=-1,
  )


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
    record = self.guard[index] if index < len(self.guard) else None
    if record is None:
      return self.blank
    element = self.element.map(self.resize.map(record))
    return self.blank if element is None else element
