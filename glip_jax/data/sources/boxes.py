"""The boxes of an annotation file, in flat arrays that cost little to send.

Boxes here are xywh (left, top, width, height) in pixels, as in the file, unless
a name says otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from glip_jax.data.records import Truth
from glip_jax.text.prompts import TextPrompt

# Truth that leaves the image by less than this is left alone: float dust
# and 1-based coordinates, which a score computed elsewhere has kept as well.
_BORDER_PIXELS = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
  """Boxes of some images in one table, those of one image together.

  Attributes:
    offset: the boxes of image i are rows `offset[i]` to `offset[i + 1]`.
    xywh: left, top, width, height as the file has them, not clipped.
    label: position of the class in the vocabulary, or of the phrase.
    crowd: True at groups of objects, and at boxes to be ignored.
    area: area that the file states (of a mask where it has one); NaN if none.
    is_unit: True where boxes are in 0..1: parts of the sides of their image,
      whose size need not be known then.
    decimals: digits that `entries` rounds edges to; None: as they are.
  """

  offset: Int[np.ndarray, n + 1]
  xywh: Float[np.ndarray, 'm 4']
  label: Int[np.ndarray, m]
  crowd: Bool[np.ndarray, m]
  area: Float[np.ndarray, m]
  is_unit: bool = False
  decimals: int | None = None

  def rows(self, index: int) -> slice:
    """Rows of the boxes of an image."""
    return slice(int(self.offset[index]), int(self.offset[index + 1]))

  def of(self, index: int) -> Boxes:
    """The boxes of one image, as the only ones of a table."""
    rows = self.rows(index)
    return dataclasses.replace(
        self,
        offset=np.array([0, rows.stop - rows.start]),
        xywh=self.xywh[rows],
        label=self.label[rows],
        crowd=self.crowd[rows],
        area=self.area[rows],
    )

  def truth(
      self,
      index: int,
      size: tuple[int, int],
      text: TextPrompt,
      *,
      is_list: bool,
  ) -> Truth:
    """What is true of an image: its boxes, clipped, those without area gone.

    Args:
      index: which image.
      size: its (h, w).
      text: whose phrases the labels are.
      is_list: as in `Truth`.
    """
    rows = self.rows(index)
    boxes, usable = clip_boxes(self.pixels(rows, size), size)
    return Truth(
        boxes=boxes[usable],
        phrase=self.label[rows][usable],
        crowd=self.crowd[rows][usable],
        text=text,
        is_list=is_list,
    )

  def entries(self, index: int, size: tuple[int, int]) -> list[dict[str, Any]]:
    """The boxes of an image as COCO has them, the label as `category_id`.

    Boxes that leave their image by a pixel or less stay exactly as they are,
    so that scores are those of any other evaluator; others are clipped.

    Args:
      index: which image.
      size: its (h, w).
    """
    rows = self.rows(index)
    pixels = self.pixels(rows, size)
    corners, usable = clip_boxes(pixels, size)
    found = []
    # What no name describes is no truth of any class.
    for row in np.flatnonzero(usable & (self.label[rows] >= 0)):
      xywh = tuple(pixels[row].tolist())
      area = float(self.area[rows][row])
      if box_note(xywh, size) or self.decimals is not None:
        xywh, area = _between(corners[row].tolist(), self.decimals), math.nan
      found.append({
          'category_id': int(self.label[rows][row]),
          'bbox': list(xywh),
          'area': (
              area if area > 0 else _rounded(xywh[2] * xywh[3], self.decimals)
          ),
          'iscrowd': int(self.crowd[rows][row]),
      })
    return found

  def pixels(
      self, rows: slice, size: tuple[int, int]
  ) -> Float[np.ndarray, 'm 4']:
    """Rows of `xywh`, in pixels of an image of (h, w)."""
    return self.xywh[rows] * (size[::-1] * 2 if self.is_unit else 1)


def _between(
    corners: list[float], decimals: int | None
) -> tuple[float, float, float, float]:
  """The xywh of corners, all rounded."""
  x1, y1, x2, y2 = (_rounded(edge, decimals) for edge in corners)
  return x1, y1, _rounded(x2 - x1, decimals), _rounded(y2 - y1, decimals)


def _rounded(value: float, decimals: int | None) -> float:
  return value if decimals is None else round(value, decimals)


def box_note(
    box: tuple[float, float, float, float], size: tuple[int, int] | None
) -> str:
  """Says what is odd about a box in an image of a stated size, or ''."""
  x, y, width, height = box
  if not width * height:
    return 'box of no area, dropped'
  if size is None:
    return ''
  if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
    return 'box outside its image'
  beyond = max(-x, -y, x + width - size[1], y + height - size[0])
  return 'box that leaves its image, clipped' if beyond > _BORDER_PIXELS else ''


def clip_boxes(
    xywh: Float[np.ndarray, 'm 4'], size: tuple[int, int]
) -> tuple[Float[np.ndarray, 'm 4'], Bool[np.ndarray, m]]:
  """Clips boxes to an image.

  Args:
    xywh: left, top, width, height.
    size: (h, w) of the image.

  Returns:
    The boxes as xyxy float32, and True at those that keep an area.
  """
  height, width = size
  corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
  limit = np.array([width, height, width, height], np.float64)
  corners = np.clip(corners, 0, limit).astype(np.float32)
  return corners, (corners[:, 2:] > corners[:, :2]).all(axis=1)
