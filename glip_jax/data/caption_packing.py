"""Captions of other images beside the own one, whose words are negatives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from glip_jax.data.element import ToElement
from glip_jax.errors import UserError
from glip_jax.fields import field
from glip_jax.text import prompts

_BETWEEN = '. '


@dataclasses.dataclass(frozen=True)
class Packed:
  """How many captions of other images stand beside that of an image."""

  on: bool = field(False, 'whether any do')
  most: int = field(20, 'of them, as far as the tokens allow', least=1)
  none: float = field(0.4, 'how often there is none', least=0, most=1)
  full: float = field(
      0.3, 'how often there are as many as may be', least=0, most=1
  )

  def check(self, what: str) -> None:
    """Refuses shares that are more than all."""
    if self.full + self.none > 1:
      raise UserError(
          f'{what}.full={self.full} and none={self.none} are more than 1 in'
          ' sum; lower one: the rest of the captions has any number of others'
      )


def packed(
    own: prompts.TextPrompt,
    other: Callable[[int], prompts.TextPrompt],
    num_records: int,
    settings: Packed,
    element: ToElement,
    rng: np.random.Generator,
) -> prompts.TextPrompt:
  """A caption among those of other images.

  Args:
    own: the caption; its phrases stay the only ones.
    other: gives the text of a record.
    num_records: of which others are drawn.
    settings: how many.
    element: what encodes prompts, and how long these may be.
    rng: what is drawn by.

  Returns:
    The caption with others before and behind it, of at most
    `element.num_tokens` tokens; itself where nothing is added, or it is no
    prompt that the model can read.
  """
  most, kind = settings.most, rng.random()
  if kind < settings.none:
    return own
  if kind >= settings.none + settings.full:
    most = int(rng.integers(1, most + 1))
  try:
    room = element.num_tokens - element.length(own)
  except UserError:  # Making an element of it will say what is wrong.
    return own
  captions: list[str] = []
  for index in rng.integers(num_records, size=most).tolist():
    text = other(index)
    try:
      # [CLS] and [SEP] are counted already; a full stop joins it.
      needed = element.length(text) - 1
    except UserError:  # Of no use beside another either.
      continue
    if needed > room:
      break
    if text.caption != own.caption:
      room -= needed
      captions.append(text.caption.strip().rstrip('.'))
  if not captions:
    return own
  place = int(rng.integers(len(captions) + 1))
  before = ''.join(caption + _BETWEEN for caption in captions[:place])
  behind = _BETWEEN.join(captions[place:])
  if behind:
    is_ended = own.caption.rstrip().endswith('.')
    behind = (' ' if is_ended else _BETWEEN) + behind
  shift = len(before)
  return prompts.TextPrompt(
      caption=before + own.caption + behind,
      phrases=own.phrases,
      spans=tuple(
          tuple((start + shift, end + shift) for start, end in spans)
          for spans in own.spans
      ),
  )
