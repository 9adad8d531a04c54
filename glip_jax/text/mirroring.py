"""What a text says once its image is mirrored: left is right."""

import dataclasses
import re

from glip_jax.text import prompts

_SIDES = re.compile(r'\b(left|right)(?=(most|ward|wards|hand)?\b)', re.I)
_OTHER = {'left': 'right', 'right': 'left'}


def names_sides(text: prompts.TextPrompt) -> bool:
  """Whether a text speaks of left or right."""
  return _SIDES.search(text.caption) is not None


def exchanged(text: prompts.TextPrompt) -> prompts.TextPrompt:
  """A text with left and right exchanged, spans where their words are.

  Capitals stay: 'Left' becomes 'Right'. Words that merely mean a side ("all
  right") are exchanged too.
  """
  # places[i]: where character i of the caption stands in the new one; within a
  # word that is exchanged, where that ends.
  pieces, places, done, length = [], [], 0, 0
  for match in _SIDES.finditer(text.caption):
    kept = text.caption[done : match.start(1)]
    word = _like(match[1], _OTHER[match[1].lower()])
    places += range(length, length + len(kept) + 1)
    length += len(kept) + len(word)
    places += [length] * (len(match[1]) - 1)
    pieces += [kept, word]
    done = match.end(1)
  rest = text.caption[done:]
  places += range(length, length + len(rest) + 1)
  moved = lambda spans: tuple(
      (places[start], places[end]) for start, end in spans
  )
  mirrored = prompts.from_caption(
      ''.join([*pieces, rest]), [moved(spans) for spans in text.spans]
  )
  return dataclasses.replace(mirrored, pieces=moved(text.pieces))


def _like(old: str, new: str) -> str:
  if old.isupper():
    return new.upper()
  return new.capitalize() if old[0].isupper() else new
