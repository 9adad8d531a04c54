"""What an XML file in the form of Pascal VOC says of its image and boxes.

Corners of VOC are pixels counted from 1, the last one included. From edge to
edge, as everywhere here, that is from (xmin - 1, ymin - 1) to (xmax, ymax).
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


def read_size(root: Element) -> dict[str, int | None]:
  """The stated `width` and `height` of an image, None where there is none."""
  sides = 'width', 'height'
  return {side: _whole(root.findtext(f'size/{side}')) for side in sides}


def read_corners(corners: Element | None) -> list[float] | None:
  """xywh, from edge to edge, of a `bndbox`; None if it has not four numbers.

  A side of one pixel is taken for none: two corners in one place are the click
  of an annotator, rather than an object so narrow.
  """
  if corners is None:
    return None
  try:
    x1, y1, x2, y2 = (float(corners.findtext(key)) for key in _CORNERS)
  except (TypeError, ValueError, OverflowError):
    return None
  width, height = x2 - x1, y2 - y1
  return [x1 - 1, y1 - 1, width + (width > 0), height + (height > 0)]


def _whole(text: str | None) -> int | None:
  try:
    return int(float(text))
  except (TypeError, ValueError, OverflowError):
    return None
