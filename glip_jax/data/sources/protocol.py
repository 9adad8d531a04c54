"""What sources of records are.

A source is random access, opens quickly, and can be pickled, for it is sent to
worker processes. There are two kinds. A *detection source* has a vocabulary,
which is the text of every record. A *grounding source* has a text for each
record and is nothing more than a `Source`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np
from jaxtyping import Int

from glip_jax.data.records import Record, Truth
from glip_jax.data.sources.boxes import Boxes
from glip_jax.data.sources.phrases import Types
from glip_jax.errors import UserError
from glip_jax.text import prompts
from glip_jax.text.prompts import TextPrompt

# Records that cost nothing to speak of: a second, where headers are read.
LOOKED_AT = 2000


class Source(Protocol):
  """What every source offers."""

  def __len__(self) -> int:
    """Number of records."""

  def __getitem__(self, index: int) -> Record:
    """Reads a record.

    Raises:
      IndexError: if there is no such record.
      UserError: if the record is broken.
    """

  def image_id(self, index: int) -> int | str:
    """The id that the data set itself gives a record."""

  def text(self, index: int) -> TextPrompt:
    """The text of a record; no image is opened."""

  def truth(self, index: int) -> Truth:
    """What `self[index]` holds besides the image, whose pixels stay unread.

    Raises:
      IndexError: if there is no such record.
      UserError: if the size of its image cannot be read.
    """


class DetectionSource(Source, Protocol):
  """A source with a vocabulary.

  Attributes:
    names: the vocabulary in label order.
    prompt: the text of every record, a list of all names.
  """

  names: tuple[str, ...]
  prompt: TextPrompt

  def with_prompt(self, prompt: TextPrompt) -> DetectionSource:
    """The same source with another list for every record."""

  def category_id(self, label: int) -> int | str:
    """The id that the data set itself gives a class."""

  def ground_truth(self) -> dict[str, Any]:
    """The data set in COCO format with its own ids, as far as it is usable.

    Read once, without decoding images; the same dict at every call, not to be
    changed. Images of unreadable size are left out.

    Raises:
      UserError: if there are such and bad records are to be refused.
    """


class FederatedSource(DetectionSource, Protocol):
  """A detection source whose images are labelled for some classes only.

  Of a class that an image has neither a box of nor in `absent`, nothing is
  known.

  Attributes:
    frequency: 'r', 'c' or 'f' (rare, common, frequent) of each label, or ''.
    synonyms: other words for each label.
  """

  frequency: tuple[str, ...]
  synonyms: tuple[tuple[str, ...], ...]

  def absent(self, index: int) -> tuple[int, ...]:
    """Labels of the classes that an image is known not to show."""

  def not_exhaustive(self, index: int) -> tuple[int, ...]:
    """Labels of the classes of which an image shows more than have boxes."""


def is_federated(source: Source) -> TypeGuard[FederatedSource]:
  """Whether images of a source are labelled for some classes only."""
  return hasattr(source, 'absent')


def num_boxes(source: Source) -> Int[np.ndarray, n] | None:
  """Boxes of each record, None where a source would have to read them all."""
  counted = getattr(source, 'num_boxes', None)
  return counted() if counted else None


def labels(source: Source, index: int) -> Int[np.ndarray, m] | None:
  """Labels of the boxes of a record, None where only reading it would tell."""
  known = getattr(source, 'labels', None)
  return known(index) if known else None


def image_size(source: Source, index: int) -> tuple[int, int] | None:
  """(h, w) of the image of a record, None where only decoding it would tell.

  Raises:
    UserError: if it cannot be read.
  """
  known = getattr(source, 'image_size', None)
  return known(index) if known else None


class Looked(NamedTuple):
  """What was seen of the boxes of a source that does not count them.

  Attributes:
    records: that were looked at.
    crowds: boxes of crowds in them.
    is_object: whether one more box shows an object.
  """

  records: int
  crowds: int
  is_object: bool


def look_for_object(source: Source) -> Looked:
  """Looks at the truth of records, `LOOKED_AT` at most, for an object.

  Raises:
    UserError: all of these are broken.
  """
  seen, crowds, broken = min(len(source), LOOKED_AT), 0, 0
  for index in range(seen):
    try:
      crowd = source.truth(index).crowd
    except UserError as error:
      # One of several is told where it is read.
      broken += 1
      if broken == seen:
        raise UserError(
            f'none of the first {seen} records is usable; the last: record'
            f' {source.image_id(index)!r}: {error}'
        ) from error
      continue
    if not crowd.all():
      return Looked(index + 1, crowds, True)
    crowds += len(crowd)
  return Looked(seen, crowds, False)


def image_file(source: Source, index: int) -> bytes | None:
  """The file of an image as it is; None where a source has none.

  Raises:
    BadImage: if it cannot be read.
  """
  known = getattr(source, 'image_file', None)
  return known(index) if known else None


def file_name(source: Source, index: int) -> str:
  """What the file of an image is called; '' where a source has none."""
  known = getattr(source, 'file_name', None)
  return known(index) if known else ''


def stated_size(source: Source, index: int) -> tuple[int, int] | None:
  """(h, w) that the data states of an image, by which it is turned upright."""
  known = getattr(source, 'stated_size', None)
  return known(index) if known else None


def boxes_of(source: Source, index: int, size: tuple[int, int]) -> Boxes | None:
  """The boxes of an image as the data has them; None if they are a record's.

  Args:
    source: any.
    index: of the record.
    size: (h, w) of its image, in whose pixels they are.
  """
  known = getattr(source, 'boxes_of', None)
  return known(index, size) if known else None


def phrase_types(source: Source, index: int) -> Types:
  """What each phrase of a record is of; () where a source does not say."""
  known = getattr(source, 'phrase_types', None)
  return known(index) if known else ()


def evaluated(source: Source) -> Source:
  """The source with the phrases that an evaluation judges, if it has others."""
  known = getattr(source, 'evaluated', None)
  return known() if known else source


def prompt_of(source: DetectionSource) -> TextPrompt:
  """The list of all names; where a source does not say, the names alone."""
  known = getattr(source, 'prompt', None)
  return known or prompts.from_names(source.names)


def names_are_published(source: Source) -> bool:
  """Whether the names of a source are those that published results are of."""
  return getattr(source, 'names_are_published', False)


def is_detection(source: Source) -> TypeGuard[DetectionSource]:
  """Whether a source has a vocabulary; otherwise it is a grounding source."""
  return hasattr(source, 'names')
