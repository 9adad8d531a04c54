"""The boxes of an annotation file, in flat arrays that cost little to send.

Boxes here are xywh (left, top, width, height) in pixels, as in the file, unless
a name says otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from glip_jax.data.sources.annotation_file import read_id
from glip_jax.data.sources.faults import Report
from glip_jax.data.sources.image_table import Images

# Truth that leaves the image by less than this is left alone: float dust
# and 1-based coordinates, which a score computed elsewhere has kept as well.
_BORDER_PIXELS = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
  """Boxes of all images in one table, those of one image together.

  Attributes:
    offset: the boxes of image i are rows `offset[i]` to `offset[i + 1]`.
    xywh: left, top, width, height as the file has them, not clipped.
    label: position of the class in the vocabulary, or of the phrase.
    crowd: True at groups of objects, and at boxes to be ignored.
    area: area that the file states (of a mask where it has one); NaN if none.
  """

  offset: Int[np.ndarray, n + 1]
  xywh: Float[np.ndarray, 'm 4']
  label: Int[np.ndarray, m]
  crowd: Bool[np.ndarray, m]
  area: Float[np.ndarray, m]

  def rows(self, index: int) -> slice:
    """Rows of the boxes of an image."""
    return slice(int(self.offset[index]), int(self.offset[index + 1]))


def read_boxes(
    annotations: Sequence[tuple[str, dict[str, Any]]],
    images: Images,
    report: Report,
    label: Callable[[dict[str, Any], int, str], int | None],
) -> Boxes:
  """Makes the table of boxes, leaving out those that cannot be used.

  Args:
    annotations: (name, entry) pairs of the file.
    images: the images that the boxes belong to.
    report: where faults are counted.
    label: what a box is: called with the entry, the position of its image
      and the name; None leaves the box out, silently.

  Returns:
    The boxes, those of an image in the order of the file.
  """
  position = {identity: index for index, identity in enumerate(images.ids)}
  rows = []
  for name, annotation in annotations:
    index = position.get(read_id(annotation.get('image_id')))
    if index is None:
      _report_orphan(annotation, name, images, report)
      continue
    box = read_box(annotation.get('bbox'))
    if box is None:
      report.fault('malformed box', f'{name} {annotation.get("bbox")!r}')
      continue
    note = box_note(box, images.sizes[index])
    if note:
      report.note(note, name)
    # Only the sides decide here: where an image ends is known when it is read.
    if not box[2] * box[3]:
      continue
    what = label(annotation, index, name)
    if what is not None:
      crowd = _is_set(annotation, 'iscrowd') or _is_set(annotation, 'ignore')
      rows.append((index, box, what, crowd, _stated_area(annotation)))
  return _as_table(rows, len(images.ids))


def read_box(box: Any) -> tuple[float, float, float, float] | None:
  """Returns x, y, width, height, or None if the value is no box.

  Numbers written as strings are read; NaN, infinity and negative sizes are no
  boxes, sizes of zero are.
  """
  if not isinstance(box, (list, tuple)) or len(box) != 4:
    return None
  try:
    x, y, width, height = (float(value) for value in box)
  except (TypeError, ValueError, OverflowError):
    return None
  if not all(map(math.isfinite, (x, y, width, height))):
    return None
  return (x, y, width, height) if min(width, height) >= 0 else None


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


def truth(
    images: Images,
    boxes: Boxes,
    size: Callable[[int], tuple[int, int] | None],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
  """Returns the entries of `images` and `annotations` of a COCO data set.

  Boxes that leave their image by a pixel or less stay exactly as the file
  has them, so that scores are those of any other evaluator; others are clipped.

  Args:
    images: table of images.
    boxes: table of boxes.
    size: (h, w) of an image, or None to leave it out.

  Returns:
    Images with id, file_name, height and width; annotations with id (from 1, as
    the COCO code takes 0 for "no match"), image_id, bbox (xywh), area, iscrowd,
    and with the label as category_id.
  """
  entries, annotations = [], []
  for index, identity in enumerate(images.ids):
    height_width = size(index)
    if height_width is None:
      continue
    height, width = height_width
    entries.append({
        'id': identity,
        'file_name': images.files[index],
        'height': height,
        'width': width,
    })
    for entry in _truth_of(boxes, index, height_width):
      number = {'id': len(annotations) + 1, 'image_id': identity}
      annotations.append(number | entry)
  return entries, annotations


def _truth_of(
    boxes: Boxes, index: int, size: tuple[int, int]
) -> list[dict[str, Any]]:
  rows = boxes.rows(index)
  corners, usable = clip_boxes(boxes.xywh[rows], size)
  entries = []
  for row in np.flatnonzero(usable):
    xywh = tuple(boxes.xywh[rows][row].tolist())
    area = float(boxes.area[rows][row])
    if box_note(xywh, size):
      x1, y1, x2, y2 = corners[row].tolist()
      xywh, area = (x1, y1, x2 - x1, y2 - y1), math.nan
    entries.append({
        'category_id': int(boxes.label[rows][row]),
        'bbox': list(xywh),
        'area': area if area > 0 else xywh[2] * xywh[3],
        'iscrowd': int(boxes.crowd[rows][row]),
    })
  return entries


def _report_orphan(
    annotation: dict[str, Any], name: str, images: Images, report: Report
) -> None:
  identity = read_id(annotation.get('image_id'))
  if identity not in images.dropped:
    report.fault('box of an unknown image', f'{name} image_id={identity!r}')


def _is_set(annotation: dict[str, Any], key: str) -> bool:
  return annotation.get(key) in (1, True, '1')


def _stated_area(annotation: dict[str, Any]) -> float:
  area = annotation.get('area')
  try:
    return float(area) if isinstance(area, (int, float)) else math.nan
  except OverflowError:
    return math.nan


def _as_table(rows: list[tuple[Any, ...]], num_images: int) -> Boxes:
  # Stable, so boxes of one image keep the order of the file.
  rows = sorted(rows, key=lambda row: row[0])
  image, xywh, label, crowd, area = (
      zip(*rows, strict=True) if rows else [()] * 5
  )
  counts = np.bincount(np.array(image, np.int64), minlength=num_images)
  return Boxes(
      offset=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
      xywh=np.array(xywh, np.float64).reshape(-1, 4),
      label=np.array(label, np.int32),
      crowd=np.array(crowd, bool),
      area=np.array(area, np.float64),
  )
