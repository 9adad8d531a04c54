"""Transforms of records: resizing and augmentation.

Each is a frozen dataclass: a grain `Map`, or a `RandomMap` that draws from the
generator of its element, so that a run can be repeated and resumed. Boxes stay
xyxy float32 in pixels of the record's image.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import grain
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from glip_jax.data import fast_images
from glip_jax.data.records import Record
from glip_jax.text import lists, mirroring

# Normalises to about zero under the usual means.
_FILL = (124, 116, 104)
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclasses.dataclass(frozen=True)
class Resize(grain.transforms.Map):
  """Resizes the short side, within a limit on the long one.

  Reproduces the original GLIP: Pillow's antialiased bilinear filter, the other
  side truncated, so that the long side may exceed its limit by a few pixels
  (4000x500 becomes 1336x167). Differs where that would leave `canvas`: the
  image is then fitted into it.

  Attributes:
    short: pixels of the short side.
    long: pixels that the long side should not exceed.
    canvas: (h, w) that no image may exceed.
    fast: whether OpenCV resizes, see `resize`.
    fills_canvas: whether a size follows from the canvas alone.
  """

  short: int
  long: int
  canvas: tuple[int, int]
  fast: bool = False
  fills_canvas: ClassVar[bool] = False

  def size(self, height: int, width: int) -> tuple[int, int]:
    """Returns the new (h, w) of an image of a given size."""
    low, high = min(height, width), max(height, width)
    short = self.short
    if high / low * short > self.long:
      short = max(int(round(self.long * low / high)), 1)
    if width < height:
      size = int(short * height / width), short
    else:
      size = short, int(short * width / height)
    if size[0] <= self.canvas[0] and size[1] <= self.canvas[1]:
      return size
    return FitInside(self.canvas).size(height, width)

  def map(self, record: Record) -> Record:
    """Resizes a record."""
    size = self.size(*record.image.shape[:2])
    return resize(record, size, fast=self.fast)


@dataclasses.dataclass(frozen=True)
class FitInside(grain.transforms.Map):
  """Scales an image, up or down, to the largest size that fits a canvas.

  Attributes:
    canvas: (h, w) of the canvas.
    fast: whether OpenCV resizes, see `resize`.
    fills_canvas: whether a size follows from the canvas alone.
  """

  canvas: tuple[int, int]
  fast: bool = False
  fills_canvas: ClassVar[bool] = True

  def size(self, height: int, width: int) -> tuple[int, int]:
    """Returns the new (h, w) of an image of a given size."""
    scale = min(self.canvas[0] / height, self.canvas[1] / width)
    return max(round(height * scale), 1), max(round(width * scale), 1)

  def map(self, record: Record) -> Record:
    """Resizes a record."""
    size = self.size(*record.image.shape[:2])
    return resize(record, size, fast=self.fast)


def resize(
    record: Record, size: tuple[int, int], *, fast: bool = False
) -> Record:
  """Resizes a record with Pillow's antialiased bilinear filter.

  Args:
    record: any.
    size: new (h, w).
    fast: use OpenCV, by area where the image shrinks: several times as fast,
      and not the same pixels.

  Raises:
    UserError: OpenCV is wanted and not installed.
  """
  height, width = record.image.shape[:2]
  scale = size[0] / height, size[1] / width
  image = record.image
  if fast:
    image = _resized_fast(image, size)
  elif size != (height, width):
    image = Image.fromarray(image).resize(size[::-1], Image.BILINEAR)
    image = np.asarray(image)
  factors = np.array([scale[1], scale[0]] * 2, np.float32)
  return dataclasses.replace(
      record,
      image=image,
      boxes=record.boxes * factors,
      scale=(record.scale[0] * scale[0], record.scale[1] * scale[1]),
  )


def _resized_fast(
    image: UInt8[np.ndarray, 'h w 3'], size: tuple[int, int]
) -> UInt8[np.ndarray, 'h w 3']:
  cv2 = fast_images.load_opencv()
  shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
  how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  return cv2.resize(image, size[::-1], interpolation=how)


@dataclasses.dataclass(frozen=True)
class ShuffleNames(grain.transforms.RandomMap):
  """Puts a list of names in random order; leaves sentences alone.

  Without it a model can learn the place of a name instead of its meaning.
  """

  def random_map(self, record: Record, rng: np.random.Generator) -> Record:
    """Shuffles the prompt of a record."""
    if not record.is_list:
      return record
    order = rng.permutation(len(record.text.phrases))
    place = np.argsort(order).astype(np.int32)
    named = record.phrase >= 0
    return dataclasses.replace(
        record,
        text=lists.picked(record.text, order.tolist()),
        phrase=np.where(named, place[record.phrase * named], -1),
    )


@dataclasses.dataclass(frozen=True)
class Flip(grain.transforms.RandomMap):
  """Mirrors an image at its vertical axis.

  A record whose text speaks of left or right stays as it is, or the two words
  are exchanged: without that its text would be wrong.

  Attributes:
    probability: how often an image is mirrored.
    exchanges: whether the words are exchanged, which mends most sentences.
  """

  probability: float = 0.5
  exchanges: bool = False

  def random_map(self, record: Record, rng: np.random.Generator) -> Record:
    """Mirrors a record, or not."""
    draw = rng.random()
    if draw >= self.probability:
      return record
    text = record.text
    if mirroring.names_sides(text):
      if not self.exchanges:
        return record
      text = mirroring.exchanged(text)
    width = record.image.shape[1]
    x1, y1, x2, y2 = record.boxes.T
    return dataclasses.replace(
        record,
        image=_mirrored(record.image),
        text=text,
        boxes=np.stack([width - x2, y1, width - x1, y2], axis=-1),
    )


def _mirrored(image: UInt8[np.ndarray, 'h w 3']) -> UInt8[np.ndarray, 'h w 3']:
  """An image with left and right exchanged."""
  mirrored = np.empty_like(image)
  for channel in range(3):  # Six times as fast as all at once.
    mirrored[..., channel] = image[:, ::-1, channel]
  return mirrored


@dataclasses.dataclass(frozen=True)
class RandomScaleCrop(grain.transforms.RandomMap):
  """Cuts a random window of the image's shape, smaller or larger than it.

  A window smaller than the image magnifies its content once resized; beyond
  the image a larger one is gray. Boxes are clipped to the window, and kept if
  their centre is in it; crowds if any part is. Sentences are left alone: what
  they speak of must not be cut away.

  Attributes:
    low: smallest magnification.
    high: largest magnification; drawn log-uniformly.
  """

  low: float = 0.8
  high: float = 1.5

  def random_map(self, record: Record, rng: np.random.Generator) -> Record:
    """Crops a record."""
    if not record.is_list:
      return record
    scale = np.exp(rng.uniform(np.log(self.low), np.log(self.high)))
    shape = np.array(record.image.shape[:2])
    window = np.maximum(np.rint(shape / scale).astype(int), 1)
    room = shape - window
    top, left = (
        int(rng.integers(min(side, 0), max(side, 0) + 1)) for side in room
    )
    return crop(record, top, left, *window.tolist())


def crop(
    record: Record, top: int, left: int, height: int, width: int
) -> Record:
  """Cuts a window, gray where it reaches beyond the image.

  Boxes are clipped to it, and kept as `RandomScaleCrop` says.

  Args:
    record: any.
    top: row of the image where the window begins.
    left: its column.
    height: of the window, pixels.
    width: likewise.
  """
  image = np.empty((height, width, 3), np.uint8)
  image[:] = _FILL
  rows, columns = record.image.shape[:2]
  y1, y2 = max(top, 0), min(top + height, rows)
  x1, x2 = max(left, 0), min(left + width, columns)
  inside = record.image[y1:y2, x1:x2]
  image[y1 - top : y2 - top, x1 - left : x2 - left] = inside
  moved = record.boxes - np.array([left, top] * 2, np.float32)
  limit = np.array([width, height], np.float32)
  centre = (moved[:, :2] + moved[:, 2:]) / 2
  boxes = np.clip(moved, 0, np.tile(limit, 2))
  kept = ((centre >= 0) & (centre < limit)).all(axis=1) | record.crowd
  kept &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
  return dataclasses.replace(select(record, kept, boxes=boxes), image=image)


def select(
    record: Record,
    kept: Bool[np.ndarray, m],
    *,
    boxes: Float[np.ndarray, 'm 4'],
) -> Record:
  """Returns a record with new boxes, of which only some are kept."""
  return dataclasses.replace(
      record,
      boxes=boxes[kept].astype(np.float32),
      phrase=record.phrase[kept],
      crowd=record.crowd[kept],
  )


@dataclasses.dataclass(frozen=True)
class ColorJitter(grain.transforms.RandomMap):
  """Changes brightness, contrast and saturation a little.

  Each factor is uniform in 1 +- its field. Hue stays: prompts name colours.

  Attributes:
    brightness: largest relative change of all values.
    contrast: largest relative change of the distance from the mean gray.
    saturation: largest relative change of the distance from each pixel's gray.
  """

  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0

  def random_map(self, record: Record, rng: np.random.Generator) -> Record:
    """Changes the colours of a record."""
    limits = np.array([self.brightness, self.contrast, self.saturation])
    factors = 1 + limits * rng.uniform(-1, 1, 3)
    image = _change_colors(record.image, *factors.astype(np.float32))
    return dataclasses.replace(record, image=image)


def _change_colors(
    image: UInt8[np.ndarray, 'h w 3'],
    brightness: np.float32,
    contrast: np.float32,
    saturation: np.float32,
) -> UInt8[np.ndarray, 'h w 3']:
  values = image.astype(np.float32) * brightness
  gray = values @ _GRAY
  # One pass for both: contrast about the mean, saturation about the gray.
  values *= contrast * saturation
  values += (gray * (contrast * (1 - saturation)))[..., None]
  values += gray.mean() * (1 - contrast)
  return np.clip(np.rint(values), 0, 255).astype(np.uint8)
