"""Reading one record of a training stream in the shape of a bucket."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from glip_jax import types
from glip_jax.data import settings, transforms, vocabularies
from glip_jax.data.buckets import Bucket
from glip_jax.data.drawing import DrawNames, listed
from glip_jax.data.guard import CutTold, Guard
from glip_jax.data.order import Order
from glip_jax.data.records import Record
from glip_jax.data.sources.protocol import image_size, labels, num_boxes
from glip_jax.data.training_sources import Opened, TrainingSources
from glip_jax.errors import UserError

# Of what is random of a record: its names are planned, its looks are not.
_NAMES, _LOOKS = 0, 1


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
    self._uses = [_Use(each, data, self.buckets) for each in self._order.opened]

  def choose(self, position: int) -> int:
    """Number of the bucket that wastes least on a record."""
    place = self._order[position]
    rng = self._rng(position, _NAMES)
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
      rngs = self._rng(position, _NAMES), self._rng(position, _LOOKS)
      element = use.read(index, bucket, *rngs)
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

  def __init__(
      self, opened: Opened, data: settings.Data, buckets: Sequence[Bucket]
  ):
    self._source = opened.source
    self._guard = Guard(opened.source, data.bad_records)
    # Else told when it was opened.
    self._tells = num_boxes(opened.source) is None
    self._told = CutTold(data.num_boxes)
    self._shuffles = settings.shuffles_names(data, opened.spec)
    self._changes = settings.changes(data, opened.spec)
    self._whole = settings.to_element(data)
    self._shapes = [_Shape(bucket, opened, data) for bucket in buckets]

  def __len__(self) -> int:
    return len(self._source)

  def choose(self, index: int, rng: np.random.Generator) -> int:
    """Number of the bucket that wastes least on a record."""
    try:
      size = image_size(self._source, index)
      num_tokens = self._num_tokens(index, rng)
    except UserError:  # Reading it will say what is wrong.
      size, num_tokens = None, None
    num_tokens = num_tokens or self._whole.num_tokens
    wasted = [shape.wasted(size, num_tokens) for shape in self._shapes]
    return min(range(len(wasted)), key=wasted.__getitem__)

  def read(
      self,
      index: int,
      bucket: int,
      names_rng: np.random.Generator,
      looks_rng: np.random.Generator,
  ) -> types.Batch | None:
    """An element; None if the record is broken or its text is too long."""
    record = self._guard[index]
    if record is None:
      return None
    if self._tells:
      record = self._told.map(record)
    shape = self._shapes[bucket]
    record = self._named(record, shape.names, names_rng)
    before, after = self._changes
    for step in (*before, shape.resize, *after):
      record = _applied(step, record, looks_rng)
    try:
      return shape.element.map(record)
    except UserError as error:
      if not self._fits_elsewhere(record):
        self._guard.handle(index, error)
      return None

  def _named(
      self, record: Record, names: DrawNames | None, rng: np.random.Generator
  ) -> Record:
    """A record whose text is drawn or shuffled, where it is a list."""
    if record.is_list and names and names.is_for(record.text):
      found = labels(self._source, record.index)
      present = record.phrase if found is None else found
      drawn = names.labels(record.index, present, rng)
      return listed(record, drawn, names.drawing.vocabulary)
    if self._shuffles:
      return transforms.ShuffleNames().random_map(record, rng)
    return record

  def _num_tokens(self, index: int, rng: np.random.Generator) -> int | None:
    """Tokens of the prompt of a record; None if only reading it would tell."""
    text = self._source.text(index)
    names = self._shapes[-1].names
    if not names or not names.is_for(text):
      return int(self._whole.encode(text).mask.sum())
    found = labels(self._source, index)
    if found is None:
      return None
    names = max((s.names for s in self._shapes), key=lambda n: n.drawing.room)
    return names.num_tokens(names.labels(index, found, rng))

  def _fits_elsewhere(self, record: Record) -> bool:
    """Whether a text is too long for a bucket and not for all of them."""
    try:
      self._whole.encode(record.text)
    except UserError:
      return False
    return True


class _Shape:
  """What a source needs to make elements of one bucket."""

  def __init__(self, bucket: Bucket, opened: Opened, data: settings.Data):
    self._bucket = bucket
    self.resize = settings.resizing(data, bucket.canvas)
    self.element = dataclasses.replace(
        settings.to_element(data),
        canvas=bucket.canvas,
        num_tokens=bucket.num_tokens,
    )
    self.names = None
    if opened.vocabulary is not None:
      self.names = DrawNames(
          vocabularies.drawing_of(
              opened.vocabulary,
              settings.drawn(data, opened.spec),
              data,
              bucket.num_tokens,
          ),
          absent=getattr(opened.source, 'absent', None),
      )

  def wasted(
      self, size: tuple[int, int] | None, num_tokens: int
  ) -> tuple[float, ...]:
    """What is to be least: text without room, detail lost, padding, tokens."""
    bucket = self._bucket
    lacking = max(num_tokens - bucket.num_tokens, 0)
    if size is None:
      return lacking, -bucket.num_pixels, 0, bucket.num_tokens
    height, width = self.resize.size(*size)
    padding = 1 - height * width / bucket.num_pixels
    if self.resize.fills_canvas:
      return lacking, round(padding, 2), -bucket.num_pixels, bucket.num_tokens
    return lacking, -height * width, padding, bucket.num_tokens


def _applied(step: Any, record: Record, rng: np.random.Generator) -> Record:
  if isinstance(step, grain.transforms.RandomMap):
    return step.random_map(record, rng)
  return step.map(record)
