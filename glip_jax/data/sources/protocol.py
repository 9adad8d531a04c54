"""What a source of records is.

A source is random access, opens quickly, and can be pickled, for it is sent to
worker processes.
"""

from __future__ import annotations

from typing import Any, Protocol

from glip_jax.data.records import Record


class Source(Protocol):
  """What every source offers.

  Attributes:
    names: the vocabulary in label order; empty where each record has a text of
      its own.
  """

  names: tuple[str, ...]

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

  def category_id(self, label: int) -> int | str:
    """The id that the data set itself gives a class."""

  def ground_truth(self) -> dict[str, Any]:
    """The usable records in COCO format, with the ids of the data set."""
