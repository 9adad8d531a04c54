"""Which names a training prompt lists: drawn anew for each image.

Names of what is in the image come first; what is left of the prompt goes to
names that are not. A vocabulary of any length trains in this way, and a model
learns that most of what it reads is not there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from glip_jax.data.records import Record
from glip_jax.errors import UserError
from glip_jax.fields import field
from glip_jax.text import legible, prompts
from glip_jax.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Drawn:
  """How many names are drawn for a prompt, in random order."""

  on: bool = field(False, 'whether they are; otherwise a prompt has all names')
  most: int = field(
      85, 'names of a prompt, those in the image included', least=1
  )
  full: float = field(
      0.5, 'how often there are as many as may be', least=0, most=1
  )
  none: float = field(0.0, 'how often only those in the image', least=0, most=1)
  chunks: bool = field(
      False,
      'instead, as many names as may be that follow each other in the list,'
      ' whether or not they are in the image',
  )
  known: bool = field(
      False, 'only names known to be absent, where a set says which these are'
  )
  synonyms: bool = field(
      False,
      'call a class by its name or a synonym, drawn too, where a set has them',
  )

  def check(self, what: str) -> None:
    """Refuses shares that are more than all."""
    if self.full + self.none > 1:
      raise UserError(
          f'{what}.full={self.full} and none={self.none} are more than 1 in'
          ' sum; lower one: the rest of the prompts has any number of names'
      )


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
  """Draws lists of names.

  Attributes:
    vocabulary: the names of a source.
    settings: how many.
    num_tokens: of a prompt.
    room: what the lengths of the names may sum up to in it.
    num_phrases: names that a prompt may have.
  """

  vocabulary: Vocabulary
  settings: Drawn
  num_tokens: int
  room: int
  num_phrases: int

  def __post_init__(self):
    longest = self.vocabulary.lengths.max()
    if longest > self.room:
      label = int(self.vocabulary.lengths.argmax())
      raise UserError(
          f'{legible.quote((self.vocabulary.names[label],))} alone has more'
          ' tokens than a prompt may: raise config.data.num_tokens by'
          f' {longest - self.room}, or rename it'
      )

  def draw(
      self,
      present: Int[np.ndarray, n],
      absent: Int[np.ndarray, k] | None,
      rng: np.random.Generator,
  ) -> Int[np.ndarray, c]:
    """Draws a list.

    Args:
      present: labels of what is in the image, repeated or not.
      absent: labels known not to be in it, which are drawn first; None if that
        is not known.
      rng: what it is drawn by.

    Returns:
      The labels listed, at least one, in the order of the prompt. Of labels
      with the same text it holds the first. Those of `present` are all in it,
      unless they do not fit: then those that do in a random order; or unless
      chunks of the list are drawn.
    """
    settings = self.settings
    if settings.chunks:
      return self._chunks[rng.integers(len(self._chunks))]
    limit = min(settings.most, self.num_phrases)
    texts = np.unique(self.vocabulary.text[present])
    positive = rng.permutation(texts)
    positive = positive[: self._fitting(positive, self.room, limit)]
    room = self.room - self.vocabulary.lengths[positive].sum()
    negative = self._negatives(texts, absent, rng)
    most = min(limit - len(positive), len(negative))
    kind = rng.random()
    if kind < settings.none:
      most = 0
    elif kind >= settings.none + settings.full and most > 0:
      most = int(rng.integers(1, most + 1))
    if not len(positive):
      most = max(most, 1)
    negative = negative[: self._fitting(negative, room, most)]
    return rng.permutation(np.concatenate([positive, negative]))

  @functools.cached_property
  def _chunks(self) -> list[Int[np.ndarray, c]]:
    """All names in their order, as many together as a prompt may have."""
    text = self.vocabulary.text
    left, found = np.flatnonzero(text == np.arange(len(text))), []
    limit = min(self.settings.most, self.num_phrases)
    while len(left):
      count = self._fitting(left, self.room, limit)
      found.append(left[:count])
      left = left[count:]
    return found

  def _negatives(self, present, absent, rng) -> Int[np.ndarray, k]:
    """Names that are not in the image, in the order that they are taken."""
    text = self.vocabulary.text
    # Of each text the first label.
    is_other = text == np.arange(len(text))
    is_other[present] = False
    if absent is None:
      return rng.permutation(np.flatnonzero(is_other))
    is_known = np.zeros_like(is_other)
    is_known[text[absent]] = True
    known = rng.permutation(np.flatnonzero(is_other & is_known))
    rest = rng.permutation(np.flatnonzero(is_other & ~is_known))
    if self.settings.known and (len(known) or len(present)):
      return known
    return np.concatenate([known, rest])

  def _fitting(self, labels: Int[np.ndarray, n], room: int, most: int) -> int:
    """How many of the first labels fit."""
    ends = np.cumsum(self.vocabulary.lengths[labels[:most]])
    return int(np.searchsorted(ends, room, side='right'))


def listed(
    record: Record, labels: Int[np.ndarray, c], vocabulary: Vocabulary
) -> Record:
  """A record with a list of names for its text.

  Args:
    record: whose phrases are labels of the vocabulary.
    labels: in the order of the prompt, at least one.
    vocabulary: of the source.

  Returns:
    The record; boxes whose names are not listed are gone. Those that no phrase
    names (-1) stay.
  """
  place = np.full(len(vocabulary.names) + 1, -2, np.int32)
  place[labels] = np.arange(len(labels))
  place[:-1] = place[vocabulary.text]
  place[-1] = -1
  phrase = place[record.phrase]
  kept = phrase != -2
  return dataclasses.replace(
      record,
      text=vocabulary.prompt_of(labels),
      boxes=record.boxes[kept],
      phrase=phrase[kept],
      crowd=record.crowd[kept],
  )


@dataclasses.dataclass(frozen=True, eq=False)
class DrawNames:
  """Gives a record a list of names, if its text is the whole vocabulary.

  Attributes:
    drawing: what draws them.
    absent: gives the labels known to be absent from a record, by its index;
      None where a source does not know.
  """

  drawing: Drawing
  absent: Callable[[int], Sequence[int]] | None = None

  def is_for(self, text: prompts.TextPrompt) -> bool:
    """Whether a text is the vocabulary."""
    return len(text.phrases) == len(self.drawing.vocabulary.names)

  def worded(self, rng: np.random.Generator) -> DrawNames:
    """The same with a name or synonym drawn for each class.

    Nothing is drawn where there are no synonyms. It comes before `labels`, by
    the same generator: what fits a prompt follows from the words.
    """
    vocabulary = self.drawing.vocabulary.worded(rng)
    drawing = dataclasses.replace(self.drawing, vocabulary=vocabulary)
    return dataclasses.replace(self, drawing=drawing)

  def labels(
      self, index: int, present: Int[np.ndarray, n], rng: np.random.Generator
  ) -> Int[np.ndarray, c]:
    """Draws the labels for a record.

    Args:
      index: of the record.
      present: labels in its image, -1 among them or not.
      rng: what they are drawn by.
    """
    absent = np.array(self.absent(index), np.int64) if self.absent else None
    return self.drawing.draw(present[present >= 0], absent, rng)

  def num_tokens(self, labels: Int[np.ndarray, c]) -> int:
    """Tokens of a prompt of these labels, all that it ends in included."""
    drawing = self.drawing
    spare = drawing.room - drawing.vocabulary.lengths[labels].sum()
    return drawing.num_tokens - int(spare)
