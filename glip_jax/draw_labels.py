"""Where the names of boxes go, and how letters look.

Boxes and places are xyxy and xy pixels of the image that is drawn on.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from glip_jax import draw_fonts

Colour = tuple[int, int, int]
Size = tuple[int, int]

_DARK = (16, 16, 16)
_LIGHT = (255, 255, 255)
_PAD = 3
_MARGIN = 8
# What a place costs, in areas of the label: hiding all of another label, of
# another box or of its own, and more of one that is smaller than the label;
# each further place in the list; its distance from the box in heights of the
# label.
_COST_LABEL = 10.0
_COST_BOX = 0.7
_COST_SMALL = 4.0
_COST_RANK = 0.02
_COST_FAR = 0.5
# Places that touch the box; see `_spots`.
_NUM_NEAR = 14


def letter_height(size: Size) -> int:
  """A size that is legible on an image of (width, height) as it stands."""
  return int(np.clip(min(size) / 45, 13, 200))


def fit(text: str, height: int, width: int) -> str:
  """The text, or its beginning and an ellipsis where it is too wide.

  Letters that no font has are escapes.
  """
  text = draw_fonts.drawable(text)
  if _length(text, height) <= width:
    return text
  while text and _length(text + '…', height) > width:
    text = text[:-1]
  return text.rstrip() + '…'


def wrap(text: str, height: int, width: int) -> list[str]:
  """Lines at most `width` pixels wide, broken between words."""
  lines = ['']
  for word in draw_fonts.drawable(text).split():
    longer = f'{lines[-1]} {word}'.strip()
    if lines[-1] and _length(longer, height) > width:
      lines.append(word)
    else:
      lines[-1] = longer
  return [fit(line, height, width) for line in lines]


def line_height(height: int, text: str = '') -> int:
  """Pixels from one line of text to the next."""
  return sum(draw_fonts.font(height, text).getmetrics())


def label_size(text: str, height: int) -> Size:
  """(width, height) of a label with its background."""
  width = int(np.ceil(_length(text, height)))
  return width + 2 * _PAD, line_height(height, text) + 2


def _length(text: str, height: int) -> float:
  """Pixels from the beginning of a text to its end."""
  return draw_fonts.font(height, text).getlength(text)


def legible_side(size: tuple[int, int], texts: Sequence[str]) -> int:
  """The shorter side at which labels cover a tenth of the image.

  Twice the side of `size` at most.
  """
  height = letter_height(size)
  sizes = [label_size(text, height) for text in texts if text]
  covered = sum(width * tall for width, tall in sizes)
  factor = math.sqrt(10 * covered / (size[0] * size[1]))
  # A little more is not worth the blur of resampling.
  return round(min(size) * min(factor if factor > 1.05 else 1, 2))


def with_text(
    image: Image.Image, *, above: str = '', below: str = ''
) -> Image.Image:
  """An image on white between a title and a caption, each wrapped."""
  height = letter_height(image.size)
  step = max(line_height(height, text) for text in (above, below))
  bands = [
      wrap(text, height, image.width - 2 * _MARGIN) if text else []
      for text in (above, below)
  ]
  top, bottom = (step * len(b) + _MARGIN * bool(b) for b in bands)
  size = (image.width, top + image.height + bottom)
  paper = Image.new('RGB', size, _LIGHT)
  paper.paste(image, (0, top))
  pen = ImageDraw.Draw(paper)
  for band, y in zip(bands, (0, top + image.height), strict=True):
    for i, line in enumerate(band):
      spot = (_MARGIN, y + _MARGIN // 2 + i * step)
      face = draw_fonts.font(height, line)
      pen.text(spot, line, fill=_DARK, font=face)
  return paper


def place(boxes: np.ndarray, sizes: Sequence[Size], room: Size) -> np.ndarray:
  """The upper left corner of each label, chosen one after the other.

  Each label takes the cheapest place around its box: inside the image, off
  the labels before it, then off other boxes, then near its upper left corner.

  Args:
    boxes: float[n 4] inside the image.
    sizes: (width, height) of each label, at most `room`.
    room: (width, height) of the image.

  Returns:
    int[n 2] places (x, y).
  """
  taken = np.zeros((0, 4))
  places = np.zeros((len(boxes), 2), int)
  for i, (box, size) in enumerate(zip(boxes, sizes, strict=True)):
    spots = _spots(box, size, room)
    rects = np.concatenate([spots, spots + size], -1)
    area = np.maximum(_area(boxes), 1)
    hidden = _overlap(rects, boxes) / area
    hidden *= 1 + _COST_SMALL * np.clip(1 - area / (size[0] * size[1]), 0, 1)
    cost = (
        _COST_LABEL * _overlap(rects, taken).sum(-1) / (size[0] * size[1])
        + _COST_BOX * hidden.sum(-1)
        + _COST_FAR * _distance(rects, box) / size[1]
        + _COST_RANK * np.minimum(np.arange(len(spots)), _NUM_NEAR)
    )
    best = int(cost.argmin())
    places[i] = spots[best]
    taken = np.concatenate([taken, rects[best : best + 1]])
  return places


def draw_leader(
    pen: ImageDraw.ImageDraw,
    box: np.ndarray,
    spot: np.ndarray,
    size: Size,
    colour: Colour,
) -> None:
  """A line from a label to its box, where the two do not touch."""
  rect = np.concatenate([spot, spot + size])
  if _distance(rect[None], box)[0] <= 2:
    return
  start = tuple((spot + np.array(size) / 2).tolist())
  end = tuple(np.clip(start, box[:2], box[2:]).tolist())
  pen.line((start, end), fill=_DARK, width=3)
  pen.line((start, end), fill=colour, width=1)


def draw_label(
    pen: ImageDraw.ImageDraw,
    spot: np.ndarray,
    *,
    text: str,
    height: int,
    colour: Colour,
) -> None:
  """Writes a label on a ground of its colour."""
  width, tall = label_size(text, height)
  x, y = spot.tolist()
  pen.rectangle((x, y, x + width - 1, y + tall - 1), fill=colour)
  face = draw_fonts.font(height, text)
  pen.text((x + _PAD, y + 1), text, fill=ink(colour), font=face)


def _spots(box: np.ndarray, size: Size, room: Size) -> np.ndarray:
  """Candidate corners (x, y), the preferred first, all inside the image."""
  x0, y0, x1, y1 = box
  width, tall = size
  left, right, middle = x0, x1 - width, (x0 + x1 - width) / 2
  above, below, top, bottom = y0 - tall, y1, y0, y1 - tall
  near = [
      (left, above), (left, top), (right, above), (left, below),
      (right, top), (right, below), (middle, above), (middle, below),
      (left, bottom), (right, bottom), (x1, top), (x0 - width, top),
      (x1, bottom), (x0 - width, bottom),
  ]  # fmt: skip
  # A ring of places further away, for crowds.
  steps = np.arange(-6, 7)
  far = [
      (x0 + i * width / 4, y0 + j * tall / 2 - tall)
      for j in steps
      for i in steps
  ]
  limit = np.maximum(np.array(room) - size, 0)
  return np.clip(np.round([*near, *far]), 0, limit).astype(int)


def _overlap(rects: np.ndarray, boxes: np.ndarray) -> np.ndarray:
  """Pixels shared by each of `rects` with each of `boxes`."""
  low = np.maximum(rects[:, None, :2], boxes[None, :, :2])
  high = np.minimum(rects[:, None, 2:], boxes[None, :, 2:])
  return np.maximum(high - low, 0).prod(-1)


def _area(boxes: np.ndarray) -> np.ndarray:
  return (boxes[:, 2:] - boxes[:, :2]).prod(-1)


def _distance(rects: np.ndarray, box: np.ndarray) -> np.ndarray:
  """Pixels between each of `rects` and a box; 0 where they touch."""
  gap = np.maximum(rects[:, :2] - box[2:], box[:2] - rects[:, 2:])
  return np.linalg.norm(np.maximum(gap, 0), axis=-1)


def ink(colour: Colour) -> Colour:
  """Black or white, whichever reads better on a colour."""
  red, green, blue = colour
  # Luma of ITU-R BT.601.
  return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _LIGHT
