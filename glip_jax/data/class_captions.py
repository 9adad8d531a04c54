"""Classes as captions of their own, encoded: each becomes one token."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from glip_jax import types
from glip_jax.data import settings
from glip_jax.errors import UserError
from glip_jax.text import legible, lists, prompts
from glip_jax.text.tokenizer import load_tokenizer

# Lengths are multiples of it, so that few programs are compiled.
_STEP = 32


@dataclasses.dataclass(frozen=True)
class ToCaptions:
  """Encodes a list of classes as captions.

  Attributes:
    tokenizer: name for `load_tokenizer`.
    num_classes: c, to which classes are padded.
    length: l, to which captions are padded.
    pool: as of `types.ClassCaptions`.
  """

  tokenizer: str
  num_classes: int
  length: int
  pool: str

  def encode(self, text: prompts.TextPrompt) -> types.ClassCaptions:
    """Encodes the piece of each phrase as a caption, [CLS] and [SEP] around it.

    Args:
      text: a list of `num_classes` at most, none longer than `length`.
    """
    captions = [piece.words for piece in lists.pieces_of(text)]
    spare = self.num_classes - len(captions)
    encoded = _tokens(tuple(captions + [''] * spare), self.tokenizer)
    ids = np.full(
        (self.num_classes, self.length),
        load_tokenizer(self.tokenizer).pad_token_id,
        np.int32,
    )
    for row, own in zip(ids, encoded, strict=True):
      row[: len(own)] = own
    lengths = np.array([len(own) for own in encoded])
    return types.ClassCaptions(
        ids=ids,
        mask=np.arange(self.length) < lengths[:, None],
        valid=np.arange(self.num_classes) < len(captions),
        pool=self.pool,
    )


def to_captions(
    text: prompts.TextPrompt, data: settings.Data, num_classes: int
) -> ToCaptions:
  """What encodes some of the classes of a list.

  Args:
    text: the list of all classes.
    data: `config.data`; `class_captions` says what becomes a token.
    num_classes: most at a time.

  Raises:
    UserError: a caption has more tokens than `num_tokens`, or the tokenizer
      knows none of them.
  """
  pieces = lists.pieces_of(text)
  encoded = _tokens(tuple(piece.words for piece in pieces), data.tokenizer)
  loaded = load_tokenizer(data.tokenizer)
  unknown = {loaded.unk_token_id, loaded.cls_token_id, loaded.sep_token_id}
  if nothing := [
      piece.name
      for piece, own in zip(pieces, encoded, strict=True)
      if set(own) <= unknown
  ]:
    raise UserError(legible.unreadable(nothing))
  longest = max(map(len, encoded))
  if longest > data.num_tokens:
    name = max(zip(map(len, encoded), pieces, strict=True))[1].name
    raise UserError(
        f'the caption of class {name!r:.80} has {longest} tokens, num_tokens='
        f'{data.num_tokens}: shorten it, or raise config.data.num_tokens'
    )
  length = min(-(-longest // _STEP) * _STEP, data.num_tokens)
  return ToCaptions(data.tokenizer, num_classes, length, data.class_captions)


@functools.lru_cache(maxsize=64)
def _tokens(captions: tuple[str, ...], tokenizer: str) -> list[list[int]]:
  """Tokens of each caption, [CLS] and [SEP] included."""
  return load_tokenizer(tokenizer)(
      list(captions),
      split_special_tokens=True,
      truncation=False,
      padding=False,
      verbose=False,
  )['input_ids']
