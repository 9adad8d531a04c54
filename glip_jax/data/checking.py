"""Looks at every record of a source, in several processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import grain
import numpy as np

from glip_jax.data import settings, vocabularies, workers
from glip_jax.data.drawing import Drawn, DrawNames
from glip_jax.data.element import ToElement
from glip_jax.data.findings import Fault, Findings
from glip_jax.data.reading import draw_names
from glip_jax.data.records import Record
from glip_jax.data.remedies import remedy
from glip_jax.data.sources.annotation_file import Report
from glip_jax.data.sources.protocol import (
    DetectionSource,
    Source,
    is_detection,
    prompt_of,
)
from glip_jax.data.training_sources import Opened
from glip_jax.errors import UserError
from glip_jax.text import legible, prompts

# Records that a worker looks at before it tells.
_CHUNK = 32


@dataclasses.dataclass(frozen=True)
class Checked:
  """How a source is looked at.

  Attributes:
    opened: the source; with its vocabulary where names are drawn.
    data: `config.data`.
    trains: whether it is one of training.
    encodes: whether each record has a prompt of its own.
  """

  opened: Opened
  data: settings.Data
  trains: bool
  encodes: bool


def of_report(report: Report) -> list[Fault]:
  """The faults of a file that was read; `Report` keeps the first thousand."""
  faults = []
  for kind in report.counts:
    if kind not in report.faults:
      continue
    names = report.names[kind]
    faults += [Fault(kind, name, remedy(kind)) for name in names]
    if more := report.counts[kind] - len(names):
      faults.append(Fault(kind, f'{more} more', remedy(kind), more))
  return faults


def check_vocabulary(
    opened: Opened, data: settings.Data, *, trains: bool
) -> tuple[Checked, Findings]:
  """Looks at the names of a source, and how they become prompts.

  Args:
    opened: the source, with the spec that it was opened by.
    data: `config.data`.
    trains: whether it is one of training; otherwise of evaluation.

  Returns:
    How its records are to be looked at, and what was found.
  """
  found = Findings()
  source = opened.source
  if not is_detection(source):
    return Checked(opened, data, trains, encodes=True), found
  opened = dataclasses.replace(opened, vocabulary=None)
  try:
    vocabulary = vocabularies.of(source, data.tokenizer)
  except UserError as error:
    found.faults.append(Fault('class that cannot be read', '', str(error)))
    return Checked(opened, data, trains, encodes=False), found
  found.faults += [
      Fault(
          'classes of the same tokens',
          legible.quote(group),
          'give them names of their own, or one name, by class_map=, or drop'
          ' one by exclude=',
      )
      for group in vocabulary.same()
  ]
  how = settings.drawn(data, opened.spec)
  drawn = trains and how.on
  try:
    if drawn:
      vocabulary = vocabularies.with_synonyms(vocabulary, source, data, how)
      opened = dataclasses.replace(opened, vocabulary=vocabulary)
      vocabularies.drawing_of(vocabulary, Drawn(), data, data.num_tokens)
    else:
      lengths = _lengths(source, data, trains)
      found.tokens.update(lengths)
  except UserError as error:
    if not found.faults:
      found.faults.append(Fault('prompt that cannot be used', '', str(error)))
    drawn = False
  return Checked(opened, data, trains, encodes=drawn), found


def check_records(
    checked: Checked, indices: Sequence[int], num_workers: int
) -> Iterator[tuple[int, Findings]]:
  """Looks at records.

  Args:
    checked: how.
    indices: which.
    num_workers: processes; 0 for this one.

  Yields:
    How many records were looked at in all, and what was found in the last of
    them.
  """
  look = _Look(checked, tuple(indices))
  chunks = range(-(-len(indices) // _CHUNK))
  done = 0
  num_workers = min(num_workers, len(chunks))
  if num_workers:
    found = iter(
        workers.dealt(grain.MapDataset.source(chunks).map(look), num_workers)
    )
  else:
    found = map(look.map, chunks)
  for findings in found:
    done = min(done + _CHUNK, len(indices))
    yield done, findings


@dataclasses.dataclass(frozen=True, eq=False)
class _Look(grain.transforms.Map):
  """Looks at a chunk of records by its number.

  Attributes:
    checked: how.
    indices: of all records that are looked at.
  """

  checked: Checked
  indices: tuple[int, ...]

  def map(self, number: int) -> Findings:
    """What is found in the records of a chunk."""
    opened, data = self.checked.opened, self.checked.data
    names = draw_names(opened, data, data.num_tokens)
    element = settings.to_element(data)
    found = Findings()
    for index in self.indices[number * _CHUNK : (number + 1) * _CHUNK]:
      try:
        record = opened.source[index]
      except UserError as error:
        name = repr(opened.source.image_id(index))
        kind = 'record that cannot be read'
        found.faults.append(Fault(kind, name, str(error)))
        continue
      self._add(found, record, names, element)
    return found

  def _add(
      self,
      found: Findings,
      record: Record,
      names: DrawNames | None,
      element: ToElement,
  ) -> None:
    """Looks at one record."""
    found.sizes[record.original_size] += 1
    source = self.checked.opened.source
    # As the file has them: a prompt leaves some of a name out.
    names_of = source.names if is_detection(source) else record.text.phrases
    labels = record.phrase.tolist()
    called = [names_of[label] if label >= 0 else '' for label in labels]
    found.add_boxes(record.original_boxes, called)
    if self.checked.encodes:
      self._add_prompt(found, record, names, element)
    limit = self.checked.data.num_boxes
    if self.checked.trains and len(record.boxes) > limit:
      said = (
          f'it has {len(record.boxes)}, of which the largest are kept: raise'
          f' config.data.num_boxes={limit}'
      )
      self._fault(found, 'more boxes than num_boxes', record, said)

  def _add_prompt(
      self,
      found: Findings,
      record: Record,
      names: DrawNames | None,
      element: ToElement,
  ) -> None:
    """Looks at the prompt of a record; one of those drawn for it."""
    if names is not None and names.is_for(record.text):
      rng = np.random.default_rng((0, record.index))
      names = names.worded(rng)
      labels = names.labels(record.index, record.phrase, rng)
      found.tokens[names.num_tokens(labels)] += 1
      return
    try:
      prompt = element.encode(record.text)
      found.tokens[int(prompt.mask.sum())] += 1
    except prompts.PromptTooLong as error:
      found.tokens[error.needed] += 1
      self._fault(found, 'prompt over num_tokens', record, str(error))
    except UserError as error:
      self._fault(found, 'prompt that cannot be used', record, str(error))

  def _fault(
      self, found: Findings, kind: str, record: Record, said: str
  ) -> None:
    name = repr(self.checked.opened.source.image_id(record.index))
    found.faults.append(Fault(kind, name, said))


def _lengths(source: Source, data: settings.Data, trains: bool) -> list[int]:
  """Tokens of each prompt that all records of a source have.

  Raises:
    UserError: a model cannot read them, or they do not fit.
  """
  element = settings.to_element(data)
  if trains:
    vocabularies.check_prompt(source, element)
    texts = [prompt_of(source)]
  else:
    vocabularies.check_evaluated(source, data)
    if data.class_captions:
      return _caption_lengths(source, data)
    texts = [chunk.text for chunk in vocabularies.split(source, data)]
  return [int(element.encode(text).mask.sum()) for text in texts]


def _caption_lengths(source: DetectionSource, data: settings.Data) -> list[int]:
  """Tokens of the caption of each class."""
  captions = vocabularies.captions(source, data)
  encoded = [
      captions.encode(part.text) for part in vocabularies.split(source, data)
  ]
  return [
      int(count)
      for part in encoded
      for count in part.mask[part.valid].sum(axis=1)
  ]
