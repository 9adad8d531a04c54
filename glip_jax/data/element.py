"""From a record to one element of a batch, in which all shapes are fixed."""

from __future__ import annotations

import dataclasses
import functools
import threading

import grain
import numpy as np
from absl import logging
from jaxtyping import Bool, Float, Int

from glip_jax import types
from glip_jax.data.records import Record
from glip_jax.errors import UserError
from glip_jax.text import legible, prompts
from glip_jax.text.tokenizer import load_tokenizer

# Threads that import transformers at the same time find it half imported.
_LOADING = threading.Lock()
_NAMES_TOLD = 20


@dataclasses.dataclass(frozen=True)
class ToElement(grain.transforms.Map):
  """Makes a record one element of a `types.Batch`, all shapes fixed.

  Attributes:
    tokenizer: name for `load_tokenizer`; a name, so that it costs nothing to
      send to workers.
    num_tokens: t, length of the prompt.
    num_phrases: c, number of phrases of the prompt.
    num_boxes: m; of an image with more boxes the largest are kept, and
      crowds only where there is room left.
    canvas: (h, w) that images are padded to, at the bottom and right.
    extent_multiple: extents are sizes rounded up to this.
    prompt_end: what prompts end in.
  """

  tokenizer: str
  num_tokens: int
  num_phrases: int
  num_boxes: int
  canvas: tuple[int, int]
  extent_multiple: int = 32
  prompt_end: str = ''

  def encode(self, text: prompts.TextPrompt) -> types.Prompt:
    """Encodes a prompt.

    Raises:
      UserError: if it has too many tokens or phrases, or the tokenizer knows no
        word of a phrase.
    """
    return self._read(text)[0]

  def encode_and_tell(self, text: prompts.TextPrompt) -> types.Prompt:
    """As `encode`; tells once of each phrase that is not read whole."""
    prompt, partly_known = self._read(text)
    for phrase in partly_known:
      _tell_unknown(phrase, self.tokenizer)
    return prompt

  def length(self, text: prompts.TextPrompt) -> int:
    """Tokens of a prompt.

    Raises:
      UserError: as `encode`.
    """
    return int(self.encode(text).mask.sum())

  def _read(self, text: prompts.TextPrompt) -> tuple[types.Prompt, list[str]]:
    """A prompt encoded, and those of its phrases that are not read whole."""
    with _LOADING:
      tokenizer = load_tokenizer(self.tokenizer)
    prompt = prompts.encode(
        prompts.ended(text, self.prompt_end),
        tokenizer,
        num_tokens=self.num_tokens,
        num_phrases=self.num_phrases,
    )
    return prompt, legible.check_known(text, prompt, tokenizer)

  def map(self, record: Record) -> types.Batch:
    """Pads a record.

    Raises:
      UserError: if its prompt cannot be encoded, or its image exceeds the
        canvas.
    """
    size = np.array(record.image.shape[:2], np.int32)
    canvas = np.array(self.canvas, np.int32)
    if (size > canvas).any():
      raise UserError(
          f'image of {size[0]}x{size[1]} (h x w) exceeds'
          f' image_size={self.canvas}; resize it before'
      )
    image = np.zeros((*self.canvas, 3), np.uint8)
    image[: size[0], : size[1]] = record.image
    multiple = -(-size // self.extent_multiple) * self.extent_multiple
    # Names of a list were told where the source was opened, not in each worker.
    encode = self.encode if record.is_list else self.encode_and_tell
    prompt = encode(record.text)
    scale = np.array(record.scale, np.float32)
    return types.Batch(
        image=image,
        size=size,
        extent=np.minimum(multiple, canvas).astype(np.int32),
        scale=scale,
        id=np.array(record.index, np.int32),
        prompt=prompt,
        targets=self._targets(record, prompt),
    )

  def _targets(self, record: Record, prompt: types.Prompt) -> types.Targets:
    rows = _most_useful(record.boxes, record.crowd, self.num_boxes)
    count = len(rows)
    boxes = np.zeros((self.num_boxes, 4), np.float32)
    boxes[:count] = record.boxes[rows]
    phrase = np.zeros(self.num_boxes, np.int32)
    phrase[:count] = record.phrase[rows]
    crowd = np.zeros(self.num_boxes, bool)
    crowd[:count] = record.crowd[rows]
    tokens = np.zeros((self.num_boxes, self.num_tokens), bool)
    for place, row in enumerate(rows):
      if record.phrase[row] >= 0:
        tokens[place] = prompt.spans[record.phrase[row]]
    return types.Targets(
        boxes=boxes,
        phrase=phrase,
        tokens=tokens,
        valid=np.arange(self.num_boxes) < count,
        crowd=crowd,
    )


@functools.lru_cache(maxsize=1024)
def _tell_unknown(phrase: str, tokenizer: str) -> None:
  """Says once of a phrase that the model does not read the whole of it."""
  logging.log_first_n(
      logging.WARNING,
      '%s has words that tokenizer=%r does not know: the model reads them as'
      ' [UNK], like any others',
      _NAMES_TOLD,
      legible.quote((phrase,)),
      tokenizer,
  )


def _most_useful(
    boxes: Float[np.ndarray, 'm 4'], crowd: Bool[np.ndarray, m], count: int
) -> Int[np.ndarray, n]:
  """Rows of the largest boxes, in their order; crowds give way to others."""
  area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
  return np.sort(np.lexsort((-area, crowd))[:count])
