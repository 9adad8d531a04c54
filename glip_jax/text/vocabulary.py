"""The names of a data set as a model reads them: each by its tokens.

A list of names is tokenised name by name: the full stop between two is a token
of its own and changes no other, so the length of a prompt is the sum of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from glip_jax import errors
from glip_jax.text import legible, prompts

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
  ):
    """Tokenises the names.

    Args:
      names: in label order.
      tokenizer: from `load_tokenizer`.

    Raises:
      UserError: there are no names, one holds no words, or the tokenizer knows
        no token of one.
    """
    self.names = tuple(names)
    cleaned = prompts.from_names(self.names).phrases
    ids = [
        tuple(each)
        for each in tokenizer(
            list(cleaned),
            add_special_tokens=False,
            split_special_tokens=True,
            truncation=False,
            padding=False,
            verbose=False,
        )['input_ids']
    ]
    unknown = tokenizer.unk_token_id
    if nothing := [
        name
        for name, tokens in zip(names, ids, strict=True)
        if set(tokens) <= {unknown}
    ]:
      raise errors.UserError(legible.unreadable(nothing))
    first: dict[tuple[int, ...], int] = {}
    self.text = np.array(
        [first.setdefault(tokens, label) for label, tokens in enumerate(ids)],
        np.int32,
    )
    self.lengths = np.array([len(tokens) + 1 for tokens in ids], np.int32)
    self.partly_known = tuple(
        name
        for name, tokens in zip(names, ids, strict=True)
        if unknown in tokens
    )

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
