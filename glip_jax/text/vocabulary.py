"""The names of a data set as a model reads them: each by its tokens.

A list of names is tokenised name by name: the full stop between two is a token
of its own and changes no other, so the length of a prompt is the sum of theirs.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from glip_jax import errors
from glip_jax.text import legible, lists, prompts

if TYPE_CHECKING:
  import transformers

_SPECIAL = 2  # [CLS] and [SEP].


class Vocabulary:
  """Names by label, and what a prompt of some of them costs.

  Attributes:
    names: in label order, as the data set has them.
    lengths: tokens of each name, the full stop that separates it included.
    text: of each label the first one whose tokens are the same: labels of one
      text are one phrase to a model.
    partly_known: names of which the tokenizer knows some tokens only.
  """

  names: tuple[str, ...]
  lengths: Int[np.ndarray, n]
  text: Int[np.ndarray, n]
  partly_known: tuple[str, ...]

  def __init__(
      self,
      names: Sequence[str],
      tokenizer: transformers.PreTrainedTokenizerFast,
      prompt: prompts.TextPrompt | None = None,
  ):
    """Tokenises the names.

    Args:
      names: in label order.
      tokenizer: from `load_tokenizer`.
      prompt: the list of all of them, where they stand among words of their
        own; these count in all that a model reads.

    Raises:
      UserError: there are no names, one holds no words, or the tokenizer knows
        no token of one.
    """
    self.names = tuple(names)
    self._prompt = prompt or prompts.from_names(self.names)
    pieces = lists.pieces_of(self._prompt)
    ids = _tokens([piece.words for piece in pieces], tokenizer)
    scored = _scored(pieces, ids, tokenizer)
    unknown = tokenizer.unk_token_id
    if nothing := [
        name
        for name, tokens in zip(names, scored, strict=True)
        if set(tokens) <= {unknown}
    ]:
      raise errors.UserError(legible.unreadable(nothing))
    first: dict[Any, int] = {}
    self.text = np.array(
        [
            first.setdefault(read, label)
            for label, read in enumerate(zip(ids, scored, strict=True))
        ],
        np.int32,
    )
    self.lengths = np.array([len(tokens) + 1 for tokens in ids], np.int32)
    self.partly_known = tuple(
        name
        for name, tokens in zip(names, ids, strict=True)
        if unknown in tokens
    )
    self._words: _Words | None = None

  def with_synonyms(
      self,
      synonyms: Sequence[Sequence[str]],
      tokenizer: transformers.PreTrainedTokenizerFast,
      *,
      longest: int,
  ) -> Vocabulary:
    """The same names, for which `worded` gives others.

    A synonym is of use if the tokenizer knows all of it and no other class has
    it: one that has the tokens of another's name or synonym would be false.

    Args:
      synonyms: of each label.
      tokenizer: that the names were read by.
      longest: what the length of one may be.
    """
    rows = [
        (int(self.text[label]), word)
        for label, own in enumerate(synonyms)
        for word in own
        if prompts.is_whole(word) and prompts.has_word(prompts.clean_name(word))
    ]
    cleaned = [prompts.clean_name(word) for _, word in rows]
    found = _tokens(cleaned, tokenizer) if rows else []
    owners: dict[tuple[int, ...], set[int]] = {}
    names = _tokens(prompts.from_names(self.names).phrases, tokenizer)
    for label, tokens in zip(self.text.tolist(), names, strict=True):
      owners.setdefault(tokens, set()).add(label)
    is_name = set(owners)
    for (label, _), tokens in zip(rows, found, strict=True):
      owners.setdefault(tokens, set()).add(label)
    words: list[dict[tuple[int, ...], str]] = [{} for _ in self.names]
    for (label, word), tokens in zip(rows, found, strict=True):
      is_known = tokenizer.unk_token_id not in tokens
      is_own = owners[tokens] == {label} and tokens not in is_name
      if is_known and is_own and len(tokens) + 1 <= longest:
        words[label].setdefault(tokens, word)
    changed = copy.copy(self)
    changed._words = _Words.of(self, words)
    return changed

  @property
  def has_words(self) -> bool:
    """Whether names stand among words of their own."""
    return bool(self._prompt.pieces)

  def prompt_of(self, labels: Sequence[int]) -> prompts.TextPrompt:
    """The list of some of the names, each with its own words.

    Args:
      labels: in the order of the list.
    """
    if self.has_words:
      return lists.picked(self._prompt, labels)
    return prompts.from_names([self.names[label] for label in labels])

  def worded(self, rng: np.random.Generator) -> Vocabulary:
    """Each name or a synonym of it, all equally likely; see `with_synonyms`.

    Without synonyms nothing is drawn.
    """
    if self._words is None:
      return self
    words = self._words
    which = words.start + (rng.random(len(self.names)) * words.count).astype(
        np.int64
    )
    changed = copy.copy(self)
    changed.names = tuple(words.words[i] for i in which.tolist())
    changed.lengths = words.lengths[which]
    return changed

  def room(self, num_tokens: int, end_length: int = 0) -> int:
    """What `lengths` of a prompt may sum up to.

    Args:
      num_tokens: tokens of a prompt, [CLS] and [SEP] included.
      end_length: tokens that a prompt ends in.
    """
    # The last name has no full stop behind it.
    return num_tokens - _SPECIAL - end_length + 1

  def same(self) -> list[tuple[str, ...]]:
    """The names that are the same to a model, in groups of two and more."""
    groups: dict[int, list[str]] = {}
    for name, text in zip(self.names, self.text.tolist(), strict=True):
      groups.setdefault(text, []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


@dataclasses.dataclass(frozen=True, eq=False)
class _Words:
  """The names and synonyms of all classes, those of a class together.

  Attributes:
    words: all of them.
    lengths: as of a `Vocabulary`.
    start: where those of each label begin.
    count: how many each label has, its name included.
  """

  words: tuple[str, ...]
  lengths: Int[np.ndarray, w]
  start: Int[np.ndarray, n]
  count: Int[np.ndarray, n]

  @classmethod
  def of(
      cls,
      vocabulary: Vocabulary,
      synonyms: Sequence[dict[tuple[int, ...], str]],
  ) -> _Words:
    """Joins names and the synonyms of each, which have their tokens."""
    words, lengths = [], []
    for label, own in enumerate(synonyms):
      words += [vocabulary.names[label], *own.values()]
      lengths += [vocabulary.lengths[label], *(len(ids) + 1 for ids in own)]
    count = np.array([len(own) + 1 for own in synonyms], np.int64)
    start = np.cumsum(count) - count
    return cls(tuple(words), np.array(lengths, np.int32), start, count)


def _scored(
    pieces: Sequence[lists.Piece],
    ids: Sequence[tuple[int, ...]],
    tokenizer: transformers.PreTrainedTokenizerFast,
) -> Sequence[tuple[int, ...]]:
  """Those of the tokens of each piece that name it.

  Raises:
    UserError: the tokenizer drops all that names one.
  """
  if all(piece.spans == ((0, len(piece.words)),) for piece in pieces):
    return ids
  found = []
  for piece in pieces:
    text = lists.joined([piece])
    read = prompts.encode(text, tokenizer, num_tokens=2**14)
    found.append(tuple(read.ids[read.spans[0]].tolist()))
  return found


def _tokens(
    words: Sequence[str], tokenizer: transformers.PreTrainedTokenizerFast
) -> list[tuple[int, ...]]:
  """The tokens of each of some words, cleaned before."""
  encoded = tokenizer(
      list(words),
      add_special_tokens=False,
      split_special_tokens=True,
      truncation=False,
      padding=False,
      verbose=False,
  )
  return [tuple(each) for each in encoded['input_ids']]
