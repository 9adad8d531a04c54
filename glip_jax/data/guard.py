"""What happens to a broken record: left out, counted and named, or refused."""

from __future__ import annotations

import dataclasses

import grain
import numpy as np
from absl import logging
from jaxtyping import Int

from glip_jax import types
from glip_jax.data.element import ToElement
from glip_jax.data.records import Record
from glip_jax.data.sources.annotation_file import check_bad_records
from glip_jax.data.sources.protocol import Source
from glip_jax.errors import UserError


def broken_id(index: int) -> Int[np.ndarray, '']:
  """The id that stands in a batch for a record that is broken: -2 - index."""
  return np.array(-2 - index, np.int32)


def broken_indices(ids: Int[np.ndarray, b]) -> list[int]:
  """Positions of the broken records that a batch was to hold.

  Args:
    ids: `batch.id`: the position of a record, -1 where none was left, or a
      `broken_id`.
  """
  return [-2 - i for i in np.asarray(ids).tolist() if i < -1]


class Guard:
  """A source whose broken records are None, which grain leaves out.

  Each broken record is named in the log once per process; which ones are left
  out does not depend on when they are met, so a stream stays the same when it
  is resumed.
  """

  def __init__(self, source: Source, bad_records: str):
    """Wraps a source.

    Args:
      source: any source.
      bad_records: 'skip' or 'raise'.

    Raises:
      UserError: if `bad_records` is neither.
    """
    self._source = source
    self._bad_records = check_bad_records(bad_records)
    self._bad: set[int] = set()

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Record | None:
    """Reads a record; None if it is broken and may be skipped.

    Raises:
      UserError: if it is broken and to be refused, or no record is usable.
    """
    try:
      return self._source[index]
    except UserError as error:
      self.handle(index, error)
      return None

  def handle(self, index: int, error: UserError) -> None:
    """Counts and names a broken record.

    Args:
      index: its position in the source.
      error: what is wrong with it.

    Raises:
      UserError: if broken records are to be refused, or no record of the source
        is usable.
    """
    name = f'record {self._source.image_id(index)!r}: {error}'
    if self._bad_records == 'raise':
      raise UserError(
          f"{name}; or set bad_records='skip' to leave it out"
      ) from error
    if index not in self._bad:
      self._bad.add(index)
      logging.warning('bad record %d left out: %s', len(self._bad), name)
    if len(self._bad) == len(self):
      raise UserError(
          f'none of the {len(self)} records is usable; the last: {name}'
      ) from error


class CutTold(grain.transforms.Map):
  """Tells once, in each process, that a record has too many boxes."""

  def __init__(self, num_boxes: int):
    """Takes `config.data.num_boxes`."""
    self._num_boxes = num_boxes
    self._is_told = False

  def map(self, record: Record) -> Record:
    """Gives back the record as it is."""
    if len(record.boxes) > self._num_boxes and not self._is_told:
      self._is_told = True
      logging.warning(
          'record %d, and maybe others, has %d boxes: training leaves out what'
          ' is over num_boxes=%d, the smallest; raise config.data.num_boxes',
          record.index,
          len(record.boxes),
          self._num_boxes,
      )
    return record


class NoObjectTold(grain.transforms.Map):
  """Tells once, in each process, of a whole pass without an object."""

  def __init__(self, num_records: int):
    """Takes the length of the source."""
    self._left: int | None = num_records

  def map(self, record: Record) -> Record:
    """Gives back the record as it is."""
    if self._left is None:
      return record
    self._left = self._left - 1 if record.crowd.all() else None
    if self._left == 0:
      self._left = None
      logging.warning(
          'a whole pass over a source had no box to learn from, only crowds or'
          ' none; look at its annotations, names= and exclude='
      )
    return record


@dataclasses.dataclass(frozen=True)
class GuardedElement(grain.transforms.Map):
  """`ToElement` for the records of a `Guard`, with the same rule.

  Attributes:
    element: the transform, which refuses prompts that are too long.
    guard: where the records come from.
  """

  element: ToElement
  guard: Guard

  def map(self, record: Record) -> types.Batch | None:
    """Makes an element; None if that fails and the record may be skipped."""
    try:
      return self.element.map(record)
    except UserError as error:
      self.guard.handle(record.index, error)
      return None
