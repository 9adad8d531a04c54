"""What a model makes of the regions of an image and the tokens of a prompt.

Boxes are xyxy in pixels of the image as it was given, from edge to edge.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from glip_jax import draw_heat, errors, looking, types
from glip_jax.data import image_inputs, settings
from glip_jax.text import prompts
from glip_jax.text import tokenizer as tokenizers

# Below it a level says nothing of where in an image something is.
_LEAST_CELLS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
  """Embeddings of regions and tokens, and how well they match.

  Attributes:
    boxes: of each region, not cut at the edges of the image.
    scores: in [0, 1], of each region for each token.
    region_embeddings: `scores` are made of their products with
      `word_embeddings`, as `types.Embeddings` says.
    word_embeddings: of each token, having seen the image where the model fuses
      the two.
    tokens: as text, [CLS] and [SEP] included.
    asked: the prompt.
    spans: True where a token names a phrase of the prompt.
    image: the image, which is read again where it is drawn.
    size: (height, width) of the image in pixels.
    valid: False at regions outside the image.
    grid: for models whose regions are the cells of maps, (h, w) of each map,
      finest first, regions in its order; empty for others.
    cells: (height, width) of a cell of each map, in pixels of the image.
    encode: gives the tokens of a span [start, end) of the caption.
  """

  boxes: Float[np.ndarray, 'r 4']
  scores: Float[np.ndarray, 'r t']
  region_embeddings: Float[np.ndarray, 'r d']
  word_embeddings: Float[np.ndarray, 't d']
  tokens: tuple[str, ...]
  asked: prompts.TextPrompt
  spans: Bool[np.ndarray, 'c t']
  image: image_inputs.Input
  size: tuple[int, int]
  valid: Bool[np.ndarray, 'r']
  grid: tuple[tuple[int, int], ...]
  cells: tuple[tuple[float, float], ...]
  encode: Callable[[int, int], Bool[np.ndarray, 't']] = dataclasses.field(
      repr=False
  )

  def heat_map(self, word: str) -> Float[np.ndarray, 'h w']:
    """How well each pixel's region matches a word, in [0, 1].

    Of maps the best over all levels, between their cells by interpolation; of
    models without maps the best of the boxes that a pixel is in.

    Args:
      word: of the prompt, or several that follow each other; capitals count
        for nothing.

    Raises:
      UserError: it does not stand in the prompt.
    """
    start = (
        self.asked.caption.lower().find(word.lower()) if word.strip() else -1
    )
    if start < 0:
      raise errors.UserError(
          f'word={word!r:.80} does not stand in the prompt'
          f' {prompts.shorten(self.asked.caption)!r}: give one that does'
      )
    own = self.encode(start, start + len(word))
    score = self.scores[:, own].mean(1)
    score = np.where(self.valid, score, 0).astype(np.float32)
    return self._of_maps(score) if self.grid else self._of_boxes(score)

  def draw(self, word: str) -> Image.Image:
    """The heat map of a word over the image.

    Args:
      word: as for `heat_map`.

    Raises:
      UserError: as `heat_map`, or the image cannot be read again.
    """
    return draw_heat.over(self.image.read(), self.heat_map(word), word)

  def _of_maps(self, score: np.ndarray) -> np.ndarray:
    height, width = self.size
    whole, start = np.zeros((height, width), np.float32), 0
    for (rows, columns), cell in zip(self.grid, self.cells, strict=True):
      level = score[start : start + rows * columns].reshape(rows, columns)
      start += rows * columns
      if rows * columns < _LEAST_CELLS:
        continue
      tall = max(round(rows * cell[0]), height)
      wide = max(round(columns * cell[1]), width)
      resized = Image.fromarray(level).resize(
          (wide, tall), Image.Resampling.BILINEAR
      )
      whole = np.maximum(whole, np.asarray(resized)[:height, :width])
    return whole

  def _of_boxes(self, score: np.ndarray) -> np.ndarray:
    height, width = self.size
    whole = np.zeros((height, width), np.float32)
    for place in np.argsort(score):
      x0, y0, x1, y1 = self.boxes[place]
      left, right = np.clip((np.floor(x0), np.ceil(x1)), 0, width).astype(int)
      top, bottom = np.clip((np.floor(y0), np.ceil(y1)), 0, height).astype(int)
      # In the order of scores the best comes last.
      whole[top:bottom, left:right] = score[place]
    return whole


def of(
    row: looking.Row, found: types.Embeddings, data: settings.Data
) -> Regions:
  """Regions of an image in its own pixels.

  Args:
    row: the image as it was fitted, and its prompt.
    found: of it, without a batch axis.
    data: `config.data`.
  """
  prompt = row.prompts[0][1]
  text, mask = row.question.asked.text, prompt.mask[0]
  tokenizer = tokenizers.load_tokenizer(data.tokenizer)
  scale = np.asarray(row.image.scale, np.float64)
  outputs = found.outputs
  width = row.image.image.shape[1]

  def encode(start: int, end: int) -> np.ndarray:
    part = prompts.TextPrompt(text.caption, ('word',), (((start, end),),))
    return prompts.encode(
        prompts.ended(part, data.prompt_end),
        tokenizer,
        num_tokens=len(mask),
        num_phrases=1,
    ).spans[0, mask]

  return Regions(
      boxes=np.asarray(outputs.boxes, np.float64) / scale[[1, 0, 1, 0]],
      scores=_sigmoid(np.asarray(outputs.logits, np.float32))[:, mask],
      region_embeddings=np.asarray(found.regions, np.float32),
      word_embeddings=np.asarray(found.words, np.float32)[mask],
      tokens=tuple(tokenizer.convert_ids_to_tokens(prompt.ids[0][mask])),
      asked=text,
      spans=prompt.spans[0][: len(text.phrases), mask],
      image=row.question.image,
      size=row.size,
      valid=np.asarray(outputs.valid),
      grid=outputs.level_sizes,
      cells=tuple(
          tuple((2 ** round(np.log2(width / columns)) / scale).tolist())
          for _, columns in outputs.level_sizes
      ),
      encode=encode,
  )


def _sigmoid(x: np.ndarray) -> np.ndarray:
  return 0.5 * (1 + np.tanh(0.5 * x))
