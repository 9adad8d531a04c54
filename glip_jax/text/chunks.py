"""A long list of category names as several prompts.

A prompt holds a few dozen names at most, so data sets with a thousand or more
are detected chunk by chunk, and detections of all chunks are joined.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from glip_jax import errors
from glip_jax.text import lists, prompts


class Chunk(NamedTuple):
  """A part of a list of names that is one prompt.

  Attributes:
    first: label of its first name: phrase c is label `first + c`.
    text: the prompt.
  """

  first: int
  text: prompts.TextPrompt


def split_names(
    names: Sequence[str],
    size: int,
    separator: str = '. ',
    *,
    lengths: Sequence[int] | None = None,
    room: int = 0,
) -> list[Chunk]:
  """Splits names into prompts of equal numbers, as GLIP's chunked evaluation.

  TEST.CHUNKED_EVALUATION of the reference, which takes 40 for LVIS. Phrase c of
  a prompt is `names[first + c]`, so `first + label` is the category of what is
  detected with it. The last prompt may be shorter.

  Args:
    names: category names in label order.
    size: names in a prompt; 0 puts all into one.
    separator: what stands between two names.
    lengths: of each name; a prompt whose names are longer than `room` in sum
      has fewer.
    room: what lengths may sum up to; no name alone is longer.

  Returns:
    The chunks in order.

  Raises:
    UserError: the size is negative, or names are none that a prompt can have
      (see `prompts.from_names`).
  """
  whole = prompts.from_names(names, separator)
  return split(whole, size, separator, lengths=lengths, room=room)


def split(
    whole: prompts.TextPrompt,
    size: int,
    separator: str = '. ',
    *,
    lengths: Sequence[int] | None = None,
    room: int = 0,
) -> list[Chunk]:
  """As `split_names`, of a list whose names may stand among words of their own.

  Args:
    whole: the list of all names.
    size: as for `split_names`.
    separator: what stands between two names.
    lengths: of each name with its words.
    room: as for `split_names`.

  Raises:
    UserError: the size is negative.
  """
  if size < 0:
    raise errors.UserError(
        f'size={size} must be 0 (one prompt) or more names in each prompt'
    )
  total = len(whole.phrases)
  found, first, step = [], 0, size or total
  while first < total:
    count = step
    if lengths is not None:
      ends = np.cumsum(lengths[first : first + step])
      count = int(np.searchsorted(ends, room, side='right'))
    last = min(first + count, total)
    found.append(
        Chunk(first, lists.picked(whole, range(first, last), separator))
    )
    first = last
  return found
