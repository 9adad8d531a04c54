"""Sentences of the embedded world, put together from phrases."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from glip_jax.text import prompts
from glip_jax.text.prompts import TextPrompt

_T = TypeVar('_T')
# How a relation may be said.
LINKS = {
    'left of': ('left of', 'to the left of', 'that is left of'),
    'right of': ('right of', 'to the right of', 'that is right of'),
    'above': ('above', 'that is above'),
    'below': ('below', 'that is below'),
}


class Named(NamedTuple):
  """A prompt for a scene.

  Attributes:
    text: the prompt.
    items: items[c] are the indices of the items that phrase c names.
    is_list: True for a list of names, False for a sentence.
  """

  text: TextPrompt
  items: tuple[tuple[int, ...], ...]
  is_list: bool


class Part(NamedTuple):
  """A piece of a sentence; a phrase if it names items."""

  text: str
  items: tuple[int, ...] = ()


def spoken(parts: list[Part]) -> Named:
  """Puts a sentence together and notes where its phrases are."""
  spans, start = [], 0
  for part in parts:
    if part.items:
      spans.append(((start, start + len(part.text)),))
    start += len(part.text)
  text = ''.join(part.text for part in parts)
  items = tuple(part.items for part in parts if part.items)
  return Named(prompts.from_caption(text, spans), items, is_list=False)


def pick(rng: np.random.Generator, options: Sequence[_T]) -> _T:
  """Draws one of the options."""
  return options[int(rng.random() * len(options))]
