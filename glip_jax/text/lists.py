"""Lists of names in which a name may stand among other words.

Such a list is a `TextPrompt` with `pieces`: the words of a phrase stay together
wherever it is put. Of a list without pieces each name is its own piece.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from glip_jax import errors
from glip_jax.text import prompts


class Piece(NamedTuple):
  """One phrase of a list, with its own words.

  Attributes:
    name: what the phrase is called.
    words: what stands in the prompt for it.
    spans: [start, end) in `words` of what names it.
  """

  name: str
  words: str
  spans: prompts.Spans


def joined(
    pieces: Sequence[Piece], separator: str = '. '
) -> prompts.TextPrompt:
  """Puts pieces one behind the other, without a separator at the end.

  Args:
    pieces: in label order.
    separator: what stands between two.

  Raises:
    UserError: there are none, or one has no span that marks words.
  """
  if not pieces:
    raise errors.UserError('a prompt of no classes: name at least one')
  spans, places, start = [], [], 0
  for piece in pieces:
    spans.append(tuple((start + a, start + b) for a, b in piece.spans))
    places.append((start, start + len(piece.words)))
    start += len(piece.words) + len(separator)
  return prompts.TextPrompt(
      separator.join(piece.words for piece in pieces),
      tuple(piece.name for piece in pieces),
      tuple(spans),
      tuple(places),
  )


@functools.lru_cache(maxsize=64)
def pieces_of(text: prompts.TextPrompt) -> tuple[Piece, ...]:
  """The pieces of a list, in label order."""
  places = text.pieces or tuple(own[0] for own in text.spans)
  return tuple(
      Piece(
          name,
          text.caption[start:end],
          tuple((a - start, b - start) for a, b in spans),
      )
      for name, (start, end), spans in zip(
          text.phrases, places, text.spans, strict=True
      )
  )


def picked(
    text: prompts.TextPrompt, labels: Iterable[int], separator: str = '. '
) -> prompts.TextPrompt:
  """A list of some phrases of a list, each with its own words.

  Args:
    text: a list of names.
    labels: of the phrases, in the order of the new list.
    separator: what stands between two.

  Raises:
    UserError: there are no labels.
  """
  if not text.pieces:
    return prompts.from_names([text.phrases[i] for i in labels], separator)
  pieces = pieces_of(text)
  return joined([pieces[i] for i in labels], separator)
