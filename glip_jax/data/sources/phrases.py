"""The phrases of many captions, each of one or more spans, in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

# [start, end) character spans of one phrase.
Spans = tuple[tuple[int, int], ...]
# What each phrase of a record is of, such as 'people'; none or more.
Types = tuple[tuple[str, ...], ...]


def join_types(types: Types) -> str:
  """The types of the phrases of a record as one string."""
  return '\n'.join(map('/'.join, types))


def split_types(joined: str, count: int) -> Types:
  """What `join_types` joined; phrases beyond that have none.

  Args:
    joined: the string.
    count: phrases of the record.
  """
  rows = joined.split('\n')
  rows += [''] * (count - len(rows))
  return tuple(tuple(filter(None, row.split('/'))) for row in rows[:count])


class Phrases:
  """Phrases that never change, those of a caption together.

  Attributes:
    phrase_end: caption i has phrases `phrase_end[i]` to `phrase_end[i + 1]`.
    span_end: phrase p has spans `span_end[p]` to `span_end[p + 1]`.
    spans: [start, end) characters of a caption.
  """

  def __init__(
      self,
      phrase_end: Int[np.ndarray, n + 1],
      span_end: Int[np.ndarray, p + 1],
      spans: Int[np.ndarray, 's 2'],
  ):
    """Takes the three arrays."""
    self.phrase_end, self.span_end, self.spans = phrase_end, span_end, spans

  @classmethod
  def of(cls, captions: Sequence[Sequence[Spans]]) -> Phrases:
    """Joins the phrases of captions."""
    counts = [len(spans) for own in captions for spans in own]
    flat = [span for own in captions for spans in own for span in spans]
    return cls(
        np.cumsum([0, *map(len, captions)], dtype=np.int64),
        np.cumsum([0, *counts], dtype=np.int64),
        np.array(flat, np.int32).reshape(-1, 2),
    )

  def __len__(self) -> int:
    return len(self.phrase_end) - 1

  def __getitem__(self, index: int) -> tuple[Spans, ...]:
    """The spans of each phrase of a caption."""
    first, end = self.phrase_end[index : index + 2]
    starts = self.span_end[first : end + 1]
    return tuple(
        tuple(map(tuple, self.spans[start:stop].tolist()))
        for start, stop in zip(starts[:-1], starts[1:], strict=True)
    )
