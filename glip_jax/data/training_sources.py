"""The sources of a training stream, opened once and used by all its streams."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from absl import logging

from glip_jax import errors
from glip_jax.data import mosaic, settings, vocabularies
from glip_jax.data.settings import Data
from glip_jax.data.sources import table
from glip_jax.data.sources.protocol import Source, look_for_object, num_boxes
from glip_jax.data.specs import Spec
from glip_jax.errors import UserError
from glip_jax.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
  """A source and the spec that it was opened by.

  Attributes:
    source: the source.
    spec: how it is used.
    vocabulary: its names, if those of a prompt are drawn.
  """

  source: Source
  spec: Spec
  vocabulary: Vocabulary | None = None

  @property
  def share(self) -> float:
    """Its share in a mixture, up to a factor."""
    return self.spec.copies * len(self.source) or self.spec.weight


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSources:
  """What a training stream is made of.

  Attributes:
    train: those of the endless mixture, each with a weight above 0.
    curriculum: those that are read one after another before it, in order.
  """

  train: tuple[Opened, ...]
  curriculum: tuple[Opened, ...]


def check_places(data: settings.Config) -> None:
  """Refuses what `config.data` trains on where its files are not there.

  Raises:
    UserError: as `open_training`, before anything is read.
  """
  data = settings.read_data(data)
  table.check_places(_mixture(data.train) | _stages(data.curriculum))


def open_training(data: settings.Config) -> TrainingSources:
  """Opens what `config.data` trains on; each file is parsed once.

  Args:
    data: `config.data`; docs/data.md lists the fields.

  Raises:
    UserError: if a source cannot be opened, a setting is wrong, a model cannot
      read a vocabulary (`vocabularies.check_prompt`), or `train` has no box.
  """
  data = settings.read_data(data)
  mixture = _mixture(data.train)
  stages = _stages(data.curriculum)
  opener = _Opener(data)
  train = tuple(opener.open(*named) for named in mixture.items())
  _check_boxes([opened.source for opened in train], list(mixture))
  return TrainingSources(
      train=train,
      curriculum=tuple(opener.open(*named) for named in stages.items()),
  )


def _check_boxes(sources: Sequence[Source], names: Sequence[str]) -> None:
  """Refuses sources of negatives alone."""
  if not any(map(_may_have_boxes, sources, names)):
    raise UserError(
        f'{", ".join(names)}: no image has a box to learn from; give a file'
        " whose 'annotations' are of the classes in use"
    )


def _may_have_boxes(source: Source, what: str) -> bool:
  """Whether a box to learn from was seen, or is where nobody looked."""
  counts = num_boxes(source)
  if counts is not None:
    return bool(counts.any())
  with errors.naming(what):
    seen = look_for_object(source)
  return seen.is_object or seen.records < len(source)


def _tell_boxes_left_out(source: Source, limit: int, what: str) -> None:
  """Says how many boxes of a source are too many for a batch."""
  counts = num_boxes(source)
  if counts is None or not (over := counts[counts > limit]).size:
    return
  logging.warning(
      '%s: %d of %d images have more than num_boxes=%d boxes: training leaves'
      ' out %d of %d boxes, the smallest; raise config.data.num_boxes to %d',
      what,
      len(over),
      len(counts),
      limit,
      (over - limit).sum(),
      counts.sum(),
      counts.max(),
  )


def _mixture(train: Spec | Mapping[str, Spec]) -> dict[str, Spec]:
  """The specs that have a share in the stream, by the name of their field."""
  what = 'config.data.train'
  if isinstance(train, Spec):
    train = {'': train}
  named = {
      f'{what}.{name}'.rstrip('.'): spec
      for name, spec in train.items()
      if spec.weight
  }
  if not named:
    raise UserError(f'{what} has no weight above 0; give one source a 1')
  without = [name for name, spec in named.items() if not spec.copies]
  if without and len(without) < len(named):
    raise UserError(
        f'{what}: {", ".join(without)} have no `copies`, as others have: give'
        ' all sources of a mixture copies, or all weights'
    )
  return named


def _stages(curriculum: Mapping[str, Spec]) -> dict[str, Spec]:
  """The specs that come before, in their order, by the name of their field."""
  start, named = 0, {}
  for name, spec in sorted(curriculum.items(), key=lambda item: item[1].until):
    if spec.until <= start:
      raise UserError(
          f'config.data.curriculum.{name}.until={spec.until} must be over'
          f' {start}: the number of records of the whole stream after which the'
          ' next source begins'
      )
    start = spec.until
    named[f'config.data.curriculum.{name}'] = spec
  return named


class _Opener:
  """Opens sources, each once however many specs differ in the use alone."""

  def __init__(self, data: Data):
    self._data = data
    self._element = settings.to_element(data)
    self._opened: list[Opened] = []

  def open(self, what: str, spec: Spec) -> Opened:
    """Opens the source of a spec, the field named `what`."""
    same = Spec()
    own = dataclasses.replace(
        spec,
        weight=same.weight,
        copies=same.copies,
        until=same.until,
        draw_names=same.draw_names,
        pack_captions=same.pack_captions,
        augment=same.augment,
        shuffle_names=same.shuffle_names,
    )
    for opened in self._opened:
      if opened.spec == own:
        return self._used(opened.source, spec, what)
    source = table.open_source(
        own, bad_records=self._data.bad_records, what=what
    )
    used = self._used(source, spec, what)
    _tell_boxes_left_out(source, self._data.num_boxes, what)
    self._opened.append(Opened(source, own))
    return used

  def _used(self, source: Source, spec: Spec, what: str) -> Opened:
    """A source with its names read as a spec says."""
    augment = settings.augmentation(self._data, spec)
    with errors.naming(what):
      mosaic.check(source, augment.mosaic if augment.on else 0)
      drawn = settings.drawn(self._data, spec)
      if drawn.on:
        names = vocabularies.read(source, self._data, drawn)
        return Opened(source, spec, names)
      vocabularies.check_prompt(source, self._element)
    return Opened(source, spec)
