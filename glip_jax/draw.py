"""Boxes and their names on images, legible at any size.

Boxes are xyxy pixels of the image they are drawn on. Small images are
enlarged before anything is drawn, so lines and letters are never blurred.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from glip_jax import draw_labels, types
from glip_jax.draw_labels import Colour
from glip_jax.text import prompts

AnyImage = np.ndarray | Image.Image

# Far apart from each other, light and dark ones mixed.
_PALETTE: tuple[Colour, ...] = (
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (67, 99, 216),
    (245, 130, 49), (66, 212, 244), (240, 50, 230), (191, 239, 69),
    (250, 190, 212), (70, 153, 144), (220, 190, 255), (154, 99, 36),
    (145, 30, 180), (170, 255, 195), (128, 128, 0), (255, 216, 177),
    (128, 0, 0), (0, 130, 200), (255, 250, 200), (100, 100, 100),
)  # fmt: skip
_PAPER = (255, 255, 255)
_INK = (32, 32, 32)
_GREY = (128, 128, 128)
_GAP = 8


def draw_boxes(
    image: AnyImage,
    boxes: np.ndarray,
    labels: Sequence[str],
    *,
    scores: Sequence[float] | None = None,
    colours: Mapping[str, Colour] | None = None,
    min_side: int = 256,
) -> Image.Image:
  """A copy of an image with named boxes.

  Labels stay inside the image and move out of each other's way while there
  is room; a thin line leads from a label that had to leave its box.

  Args:
    image: uint8[h w 3] RGB, or an RGB PIL image.
    boxes: float[n 4] xyxy, pixels of `image`.
    labels: a name for each box; '' draws the box alone.
    scores: shown behind the names; higher ones get the better places.
    colours: by label; `label_colours` of the labels by default.
    min_side: the shorter side is enlarged to at least this many pixels, and
      further, up to double, where the labels would cover much of the image.

  Raises:
    ValueError: boxes, labels and scores differ in number, or the image has
      other values.
  """
  if len(boxes) != len(labels):
    raise ValueError(f'{len(boxes)} boxes but {len(labels)} labels')
  boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
  colours = label_colours(labels) if colours is None else colours
  texts = _texts(labels, scores)
  order = list(range(len(boxes)))
  if scores is not None:
    order.sort(key=lambda i: -scores[i])
  drawn = _to_pil(image)
  side = max(min_side, draw_labels.legible_side(drawn.size, texts))
  drawn, factor = _enlarge(drawn, side)
  corners = _inside(boxes * factor, drawn.size)
  pen = ImageDraw.Draw(drawn)
  width = max(2, min(drawn.size) // 200)
  for i in reversed(order):
    _frame(pen, corners[i], colours[labels[i]], width)
  height = draw_labels.letter_height(drawn.size)
  texts = [draw_labels.fit(t, height, drawn.width - 8) for t in texts]
  tags = [i for i in order if texts[i]]
  sizes = [draw_labels.label_size(texts[i], height) for i in tags]
  spots = draw_labels.place(corners[tags], sizes, drawn.size)
  for i, spot, size in zip(tags, spots, sizes, strict=True):
    draw_labels.draw_leader(pen, corners[i], spot, size, colours[labels[i]])
  for i, spot in zip(tags, spots, strict=True):
    colour = colours[labels[i]]
    draw_labels.draw_label(
        pen, spot, text=texts[i], height=height, colour=colour
    )
  return drawn


def label_colours(labels: Sequence[str]) -> dict[str, Colour]:
  """A colour for each label: its own in every image, where that is free."""
  taken: dict[int, str] = {}
  for label in sorted(set(labels)):
    slot = zlib.crc32(label.encode()) % len(_PALETTE)
    if len(taken) < len(_PALETTE):
      while slot in taken:
        slot = (slot + 1) % len(_PALETTE)
      taken[slot] = label
      continue
    taken[len(taken)] = label
  return {
      label: _PALETTE[slot % len(_PALETTE)] for slot, label in taken.items()
  }


def sheet(
    images: Sequence[AnyImage], columns: int | None = None
) -> Image.Image:
  """Images in rows on white, top-left aligned in columns of one width.

  Args:
    images: at least one.
    columns: images in a row; by default the sheet is about square.

  Raises:
    ValueError: there are no images.
  """
  if not images:
    raise ValueError('images is empty: a sheet needs at least one image')
  tiles = [_to_pil(image) for image in images]
  columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
  width = max(p.width for p in tiles)
  rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
  heights = [max(p.height for p in row) + _GAP for row in rows]
  size = (columns * (width + _GAP) + _GAP, sum(heights) + _GAP)
  paper = Image.new('RGB', size, _PAPER)
  y = _GAP
  for row, height in zip(rows, heights, strict=True):
    for i, tile in enumerate(row):
      paper.paste(tile, (_GAP + i * (width + _GAP), y))
    y += height
  return paper


def truth_beside_predictions(
    image: AnyImage,
    truth: tuple[np.ndarray, Sequence[str]],
    predictions: tuple[np.ndarray, Sequence[str], Sequence[float]],
    *,
    caption: str = '',
    min_side: int = 256,
) -> Image.Image:
  """Truth on the left, predictions on the right, the caption below.

  Args:
    image: uint8[h w 3] RGB, or an RGB PIL image.
    truth: boxes xyxy in pixels of `image`, and their labels.
    predictions: boxes, labels and scores.
    caption: wrapped between words.
    min_side: as in `draw_boxes`.
  """
  boxes, labels, scores = predictions
  colours = label_colours([*truth[1], *labels])
  size = _to_pil(image).size
  for texts in (_texts(truth[1], None), _texts(labels, scores)):
    min_side = max(min_side, draw_labels.legible_side(size, texts))
  left = draw_boxes(image, *truth, colours=colours, min_side=min_side)
  right = draw_boxes(
      image, boxes, labels, scores=scores, colours=colours, min_side=min_side
  )
  pair = [
      draw_labels.with_text(left, above='truth'),
      draw_labels.with_text(right, above='predictions'),
  ]
  return draw_labels.with_text(sheet(pair, columns=2), below=caption)


def input_sheet(
    batch: types.Batch, tokenizer: Any = None, *, columns: int | None = None
) -> Image.Image:
  """A batch as the model sees it: canvas, padding, boxes, phrases, prompt.

  A grey line frames the image inside its canvas. Rows of batch padding are
  left out.

  Args:
    batch: with or without targets.
    tokenizer: spells prompts and phrases; without one a phrase is `phrase 3`.
    columns: as in `sheet`.

  Raises:
    ValueError: the batch holds padding alone.
  """
  rows = np.flatnonzero(np.asarray(batch.id) >= 0)
  truths = [_truth(batch, row, tokenizer) for row in rows]
  canvas = _enlarge(_to_pil(batch.image[0]), 256)[0].size
  sides = [draw_labels.legible_side(canvas, labels) for _, labels in truths]
  images = [
      _input_image(batch, row, *truth, tokenizer, max(256, *sides))
      for row, truth in zip(rows, truths, strict=True)
  ]
  return sheet(images, columns)


def _truth(
    batch: types.Batch, row: int, tokenizer: Any
) -> tuple[np.ndarray, list[str]]:
  """Boxes of one element, in pixels of the canvas, and their phrases."""
  if batch.targets is None:
    return np.zeros((0, 4)), []
  valid = np.asarray(batch.targets.valid[row])
  phrases = np.asarray(batch.targets.phrase[row])[valid].tolist()
  crowds = np.asarray(batch.targets.crowd[row])[valid].tolist()
  labels = [
      _phrase(batch.prompt, row, phrase, tokenizer) + ' (crowd)' * crowd
      for phrase, crowd in zip(phrases, crowds, strict=True)
  ]
  return np.asarray(batch.targets.boxes[row])[valid], labels


def _input_image(
    batch: types.Batch,
    row: int,
    boxes: np.ndarray,
    labels: Sequence[str],
    tokenizer: Any,
    min_side: int,
) -> Image.Image:
  """One element of a batch, its prompt below."""
  shown, factor = _enlarge(_to_pil(batch.image[row]), min_side)
  height, width = np.asarray(batch.size[row]).tolist()
  ImageDraw.Draw(shown).rectangle(
      (0, 0, width * factor - 1, height * factor - 1), outline=_GREY
  )
  prompt = ''
  if tokenizer is not None:
    mask = np.asarray(batch.prompt.mask[row])
    prompt = _spell(tokenizer, np.asarray(batch.prompt.ids[row])[mask])
  drawn = draw_boxes(shown, boxes * factor, labels)
  title = f'record {int(batch.id[row])}, {width} x {height}'
  return draw_labels.with_text(drawn, above=title, below=prompt)


def _phrase(prompt: types.Prompt, row: int, phrase: int, tokenizer: Any) -> str:
  if phrase < 0:
    return prompts.UNKNOWN
  if tokenizer is None:
    return f'phrase {phrase}'
  span = np.asarray(prompt.spans[row, phrase])
  return _spell(tokenizer, np.asarray(prompt.ids[row])[span])


def _spell(tokenizer: Any, ids: np.ndarray) -> str:
  """Text of token ids; unknown tokens stay visible, framing ones do not."""
  frame = (tokenizer.cls_token_id, tokenizer.sep_token_id)
  return tokenizer.decode([i for i in ids.tolist() if i not in frame])


def _to_pil(image: AnyImage) -> Image.Image:
  if isinstance(image, Image.Image):
    return image.convert('RGB').copy()
  if getattr(image, 'dtype', None) != np.uint8:
    found = getattr(image, 'dtype', type(image).__name__)
    raise ValueError(
        f'image is {found}: give uint8[h w 3] RGB, which'
        ' data.any_image.to_rgb makes of other images'
    )
  return Image.fromarray(np.array(image))


def _enlarge(image: Image.Image, min_side: int) -> tuple[Image.Image, float]:
  """The image with its shorter side at least `min_side`, and the factor.

  Tiny images keep their pixels visible as squares. A long narrow one is left
  smaller: its longer side ends at eight times `min_side`.
  """
  factor = min(min_side / min(image.size), 8 * min_side / max(image.size))
  if factor <= 1:
    return image, 1.0
  resample = Image.Resampling.LANCZOS
  if factor >= 3:
    factor, resample = math.ceil(factor), Image.Resampling.NEAREST
  size = (round(image.width * factor), round(image.height * factor))
  return image.resize(size, resample), factor


def _texts(labels: Sequence[str], scores: Sequence[float] | None) -> list[str]:
  """What is written at each box."""
  if scores is None:
    return list(labels)
  pairs = zip(labels, scores, strict=True)
  return [f'{label} {score:.2f}'.strip() for label, score in pairs]


def _inside(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Boxes in order and clipped to the pixels of an image."""
  low = np.minimum(boxes[:, :2], boxes[:, 2:])
  high = np.maximum(boxes[:, :2], boxes[:, 2:])
  last = np.array(size, np.float64) - 1
  return np.nan_to_num(
      np.concatenate([np.clip(low, 0, last), np.clip(high, 0, last)], -1)
  )


def _frame(
    pen: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, width: int
) -> None:
  """A box with a dark rim, to be seen on any ground."""
  x0, y0, x1, y1 = box.tolist()
  pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=_INK, width=width + 2)
  pen.rectangle((x0, y0, x1, y1), outline=colour, width=width)
