"""Reading one record of a training stream in the shape of a bucket."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import grain
import numpy as np
from jaxtyping import Int

from glip_jax import types
from glip_jax.data import fitting, mosaic, settings, transforms, vocabularies
from glip_jax.data.caption_packing import packed
from glip_jax.data.drawing import DrawNames, listed
from glip_jax.data.guard import CutTold, Guard, NoObjectTold
from glip_jax.data.order import Order
from glip_jax.data.records import Record
from glip_jax.data.sources.protocol import (
    image_size,
    is_detection,
    labels,
    num_boxes,
)
from glip_jax.data.training_sources import Opened, TrainingSources
from glip_jax.errors import UserError
from glip_jax.text.prompts import TextPrompt

# What is random of a record, each by a generator of its own: names, side and
# mosaic are drawn when it is planned and again when it is read.
_NAMES, _SIDE, _LOOKS, _MOSAIC = 0, 1, 2, 3

Rng = Callable[[int], np.random.Generator]


class Reader:
  """Elements of a training stream by position.

  What is random of an element follows from the seed and its position alone.
  """

  def __init__(
      self, sources: TrainingSources, data: settings.Data, *, seed: int
  ):
    """Opens nothing, reads nothing.

    Args:
      sources: from `open_training`.
      data: `config.data` that they were opened by.
      seed: of the order and of all augmentation.
    """
    self.buckets = settings.buckets(data)
    self._order = Order(sources, seed)
    self._seed = seed
    self._uses = [_Use(each, data) for each in self._order.opened]

  def choose(self, position: int) -> int:
    """Number of the bucket that wastes least on a record."""
    place = self._order[position]
    rng = functools.partial(self._rng, position)
    return self._uses[place.stream].choose(place.index, rng)

  def read(self, position: int, bucket: int) -> types.Batch:
    """One element, without a batch axis, in the shape of a bucket.

    In the place of a broken record comes the next usable one of its source.

    Raises:
      UserError: a record is broken and to be refused, or none is usable.
    """
    place = self._order[position]
    use = self._uses[place.stream]
    for step in range(len(use)):
      index = (place.index + step) % len(use)
      # Each attempt draws what the first one would.
      element = use.read(index, bucket, functools.partial(self._rng, position))
      if element is not None:
        return element
    raise UserError(
        f'no record fits config.data.buckets {self.buckets[bucket]}, in which'
        ' one that is broken must be replaced; give it more tokens'
    )

  def _rng(self, position: int, what: int) -> np.random.Generator:
    return np.random.default_rng((self._seed, position, what))


class _Use:
  """One source of a stream, and what is done with its records."""

  def __init__(self, opened: Opened, data: settings.Data):
    self._source = opened.source
    self._guard = Guard(opened.source, data.bad_records)
    # Else told when it was opened.
    self._tells = num_boxes(opened.source) is None
    self._told = CutTold(data.num_boxes), NoObjectTold(len(opened.source))
    self._packed = settings.packing(data, opened.spec)
    self._shuffles = settings.shuffles_names(data, opened.spec)
    self._changes = settings.changes(data, opened.spec)
    augment = settings.augmentation(data, opened.spec)
    self._short_sides = augment.short_sides if augment.on else ()
    self._magnified = augment.scale[1] if augment.on else 1.0
    self._mosaic = augment.mosaic if augment.on else 0.0
    self._fast = data.fast_images
    self._whole = settings.to_element(data)
    self._fits = fitting.fits(data)
    self._differ = len({fit.bucket.num_tokens for fit in self._fits}) > 1
    self._longest = draw_names(opened, data, data.num_tokens)
    # Chunks of the list are of the longest prompt, as is planned: the one that
    # is drawn follows from the position alone, so it fits whatever is read.
    is_chunk = settings.drawn(data, opened.spec).chunks
    self._names = [
        self._longest
        if is_chunk
        else draw_names(opened, data, each.bucket.num_tokens)
        for each in self._fits
    ]

  def __len__(self) -> int:
    return len(self._source)

  def choose(self, index: int, rng: Rng) -> int:
    """Number of the bucket that wastes least on a record."""
    if len(self._fits) == 1:
      return 0
    try:
      size = image_size(self._source, index)
      # Where all are of one length it does not matter, and costs most.
      num_tokens = self._num_tokens(index, rng) if self._differ else None
    except UserError:  # Reading it will say what is wrong.
      size, num_tokens = None, None
    short = self._short_side(rng)
    longest = self._whole.num_tokens
    return fitting.best(self._fits, size, num_tokens or longest, short)

  def read(self, index: int, bucket: int, rng: Rng) -> types.Batch | None:
    """An element; None if the record is broken or its text is too long."""
    fit, short = self._fits[bucket], self._short_side(rng)
    with fit.decoding(short, self._magnified):
      record = self._guard[index]
      if record is None:
        return None
      for told in self._told if self._tells else ():
        record = told.map(record)
      record, present = self._with_three(record, rng)
    record = self._named(record, self._names[bucket], present, rng(_NAMES))
    before, after = self._changes
    resize = fit.resize_to(short)
    looks = rng(_LOOKS)
    for step in (*before, resize, *after):
      record = _applied(step, record, looks)
    try:
      return fit.element.map(record)
    except UserError as error:
      if not self._fits_elsewhere(record):
        self._guard.handle(index, error)
      return None

  def _short_side(self, rng: Rng) -> int:
    """The short side that is drawn for a record; 0 if none is."""
    sides = self._short_sides
    return sides[int(rng(_SIDE).integers(len(sides)))] if sides else 0

  def _with_three(
      self, record: Record, rng: Rng
  ) -> tuple[Record, Int[np.ndarray, m]]:
    """A record, or the mosaic of it, and the labels of what it was made of."""
    parts = [record]
    if self._mosaic:
      generator = rng(_MOSAIC)
      beside = mosaic.others(self._mosaic, len(self), generator)
      parts += map(self._usable, beside)
      if beside:
        record = mosaic.joined(parts, generator, fast=self._fast)
    found = self._labels(part.index for part in parts)
    return record, record.phrase if found is None else found

  def _usable(self, index: int) -> Record:
    """A record, or the next that is not broken."""
    while True:
      record = self._guard[index % len(self)]
      if record is not None:
        return record
      index += 1

  def _labels(self, indices: Iterable[int]) -> Int[np.ndarray, m] | None:
    """Labels of the boxes of records; None if only reading them would tell."""
    found = [labels(self._source, index) for index in indices]
    return None if found[0] is None else np.concatenate(found)

  def _named(
      self,
      record: Record,
      names: DrawNames | None,
      present: Int[np.ndarray, m],
      rng: np.random.Generator,
  ) -> Record:
    """A record whose text is drawn or shuffled, where it is a list."""
    if record.is_list and names and names.is_for(record.text):
      names = names.worded(rng)
      drawn = names.labels(record.index, present, rng)
      return listed(record, drawn, names.drawing.vocabulary)
    if self._shuffles and record.is_list:
      return transforms.ShuffleNames().random_map(record, rng)
    if self._packed.on and not record.is_list:
      text = self._with_others(record.text, rng)
      return dataclasses.replace(record, text=text)
    return record

  def _with_others(
      self, text: TextPrompt, rng: np.random.Generator
  ) -> TextPrompt:
    """A caption among those of other images."""
    source, element = self._source, self._whole
    return packed(text, source.text, len(source), self._packed, element, rng)

  def _num_tokens(self, index: int, rng: Rng) -> int | None:
    """Tokens of the prompt of a record; None if only reading it would tell."""
    text, names = self._source.text(index), self._longest
    if not names or not names.is_for(text):
      if self._packed.on and not is_detection(self._source):
        text = self._with_others(text, rng(_NAMES))
      return self._whole.length(text)
    indices = [index]
    if self._mosaic:
      indices += mosaic.others(self._mosaic, len(self), rng(_MOSAIC))
    found = self._labels(indices)
    if found is None:
      return None
    generator = rng(_NAMES)
    names = names.worded(generator)
    return names.num_tokens(names.labels(index, found, generator))

  def _fits_elsewhere(self, record: Record) -> bool:
    """Whether a text is too long for a bucket and not for all of them."""
    try:
      self._whole.encode(record.text)
    except UserError:
      return False
    return True


def draw_names(
    opened: Opened, data: settings.Data, num_tokens: int
) -> DrawNames | None:
  """What draws the names of a prompt, where they are drawn.

  Args:
    opened: a source; its vocabulary was read where names are drawn.
    data: `config.data`.
    num_tokens: of a prompt.
  """
  if opened.vocabulary is None:
    return None
  drawing = vocabularies.drawing_of(
      opened.vocabulary, settings.drawn(data, opened.spec), data, num_tokens
  )
  return DrawNames(drawing, absent=getattr(opened.source, 'absent', None))


def _applied(step: Any, record: Record, rng: np.random.Generator) -> Record:
  if isinstance(step, grain.transforms.RandomMap):
    return step.random_map(record, rng)
  return step.map(record)
