"""Reading the boxes of an annotation file, and what is left of them.

Boxes are xywh (left, top, width, height) in pixels, as in `boxes`.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from glip_jax.data.images import BadImage
from glip_jax.data.sources.annotation_file import Entries, Id, Report
from glip_jax.data.sources.boxes import Boxes, box_note, clip_boxes
from glip_jax.data.sources.ids import Ids
from glip_jax.data.sources.image_list import ELSEWHERE, Images
from glip_jax.errors import UserError

Box = tuple[float, float, float, float]
# Says what a box is, given the entry, the position of its image, and the name.
Label = Callable[[dict[str, Any], int, str], int | None]

# What `Label` gives a box of a class that is not to be used.
UNUSED = -1

# Boxes in 0..1 may leave their image a little; pixels start at whole numbers.
_UNIT = (-0.5, 1.5)
# Lists in lists of a polygon: polygons, points, and numbers at most.
_DEPTH = 3


def read_boxes(
    annotations: Entries,
    images: Images,
    positions: Mapping[Id | None, int | None],
    report: Report,
    label: Label,
    *,
    is_unit: bool = False,
) -> Boxes:
  """Makes the table of boxes, leaving out those that cannot be used.

  Args:
    annotations: (name, entry) pairs of the file.
    images: the images that the boxes belong to.
    positions: where in `images` each id is, as `read_images` says.
    report: where faults are counted, and what is left.
    label: what a box is; None leaves the box out, silently, and so does
      `UNUSED`, for a box that is no loss.
    is_unit: as in `Boxes`.

  Returns:
    The boxes, those of an image in the order of the file.

  Raises:
    UserError: if there are boxes and none of them shows an object, all are in
      0..1, or one is broken and to be refused.
  """
  reader = _Reader(images, positions, report, label, is_unit)
  for name, annotation in annotations:
    reader.add(name, annotation)
  reader.check_pixels()
  table = _as_table(reader.rows, len(images), is_unit)
  num_used = len(annotations) - reader.num_unused
  report.keep('boxes', len(reader.rows) - reader.num_outside, num_used)
  if not num_used:
    report.note('no box to use, every image is a negative', 'all')
  elif not _shows_objects(table, images):
    raise _nothing_left(report, num_used, num_crowds=int(table.crowd.sum()))
  return table


class _Reader:
  """The rows of the table of boxes, and counts of what is odd."""

  def __init__(
      self,
      images: Images,
      positions: Mapping[Id | None, int | None],
      report: Report,
      label: Label,
      is_unit: bool,
  ):
    self.rows: list[tuple[Any, ...]] = []
    self.num_unused = self.num_outside = 0
    self._images, self._positions = images, positions
    self._report, self._label, self._is_unit = report, label, is_unit
    self._ids = Ids(positions, report, 'image_id')
    self._num_boxes, self._units = 0, []
    times = collections.Counter(positions.values())
    self._joined = {index for index, n in times.items() if n > 1}
    self._joined -= {None, ELSEWHERE}
    self._entry: dict[tuple[Any, ...], Id] = {}

  def add(self, name: str, annotation: dict[str, Any]) -> None:
    """Adds the box of an entry, if it can be used."""
    identity = self._ids.find(annotation.get('image_id'), name)
    if identity not in self._positions or identity is None:
      wanted = annotation.get('image_id')
      self._report.fault(
          'box of an unknown image', f'{name} image_id={wanted!r}'
      )
      return
    index = self._positions[identity]
    self.num_unused += index == ELSEWHERE
    if index is None or index == ELSEWHERE:
      return
    box = self._box(name, annotation)
    note = self._note(box, index) if box else ''
    if note:
      self._report.note(note, name)
    # Only the sides decide here: where an image ends is known when it is read.
    if box is None or not box[2] * box[3]:
      return
    self._count_unit(name, box)
    what = self._label(annotation, index, name)
    if what == UNUSED:
      self.num_unused += 1
      return
    crowd = _is_set(annotation, 'iscrowd') or _is_set(annotation, 'ignore')
    if what is None or self._is_known(name, identity, index, box, what, crowd):
      return
    self.num_outside += note.startswith('box outside')
    self.rows.append((index, box, what, crowd, _stated_area(annotation)))

  def check_pixels(self) -> None:
    """Refuses a file whose boxes are all within the first pixel.

    Raises:
      UserError: if they are.
    """
    if self._is_unit:
      return
    if self._units and len(self._units) == self._num_boxes:
      raise UserError(
          f'{self._report.file}: all {self._num_boxes} boxes are smaller than a'
          f' pixel, as if in 0..1 ({self._units[0]}, ...); multiply x and width'
          ' by the width of the image, y and height by its height'
      )
    for name in self._units:
      self._report.note('box within the first pixel, as if in 0..1', name)

  def _note(self, box: Box, index: int) -> str:
    """What is odd about a box; of one in 0..1 as if 1000 pixels were 1."""
    if self._is_unit:
      return box_note(tuple(1000 * side for side in box), (1000, 1000))
    return box_note(box, self._images.stated_size(index))

  def _box(self, name: str, annotation: dict[str, Any]) -> Box | None:
    """The box of an entry, or the one around its polygons."""
    box = read_box(annotation.get('bbox'))
    if box is None or not box[2] * box[3]:
      around = polygon_box(annotation.get('segmentation'))
      if around is not None:
        self._report.note('box made of its polygons', name)
        return around
    if box is None:
      self._report.fault('malformed box', f'{name} {annotation.get("bbox")!r}')
    return box

  def _count_unit(self, name: str, box: Box) -> None:
    self._num_boxes += 1
    if _UNIT[0] < min(box) and max(box) < _UNIT[1]:
      self._units.append(f'{name} {list(box)}')

  def _is_known(self, name: str, identity: Id, index: int, *what: Any) -> bool:
    """Whether another entry of the image has the same box."""
    if index not in self._joined:
      return False
    if self._entry.setdefault((index, *what), identity) == identity:
      return False
    self._report.note('box that another entry of its file has too', name)
    return True


def _nothing_left(report: Report, num_boxes: int, *, num_crowds: int):
  """The error for boxes none of which shows an object."""
  reasons = [f'{num_crowds} x crowd or to be ignored'] if num_crowds else []
  reasons += [str(report)] if report.counts else []
  reasons = '; '.join(reasons) or 'none has an area in its image'
  return UserError(
      f'{report.file}: of {num_boxes} boxes none is left that shows an object'
      f' ({reasons}); mend these, or give the file that belongs to the images'
  )


def _shows_objects(table: Boxes, images: Images) -> bool:
  """Whether a box, crowds aside, has an area in its image."""
  for index in np.flatnonzero(np.diff(table.offset)).tolist():
    rows = table.rows(index)
    xywh = table.xywh[rows][~table.crowd[rows]]
    if table.is_unit and clip_boxes(xywh, (1, 1))[1].any():
      return True
    if len(xywh) and not table.is_unit and _is_shown(xywh, images, index):
      return True
  return False


def _is_shown(xywh: np.ndarray, images: Images, index: int) -> bool:
  """Whether one of the boxes has an area in an image.

  What the file states of its size may be wrong, so where that would leave no
  box the header of the image is read. One that cannot be leaves it open.
  """
  stated = images.stated_size(index)
  if stated is not None and clip_boxes(xywh, stated)[1].any():
    return True
  try:
    return bool(clip_boxes(xywh, images.size(index))[1].any())
  except BadImage:
    return True


def read_box(box: Any) -> Box | None:
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


def polygon_box(segmentation: Any) -> Box | None:
  """The box around polygons, or None if the value is no list of such.

  Args:
    segmentation: a list of polygons, x and y of each corner in turn, as COCO
      has them; or one polygon, or corners in pairs.
  """
  if not isinstance(segmentation, list):
    return None
  try:
    values = [float(value) for value in _flat(segmentation, _DEPTH)]
  except (TypeError, ValueError, OverflowError):
    return None
  if len(values) < 6 or len(values) % 2 or not all(map(math.isfinite, values)):
    return None
  x, y = values[0::2], values[1::2]
  box = min(x), min(y), max(x) - min(x), max(y) - min(y)
  return box if box[2] * box[3] else None


def _flat(values: Sequence[Any], depth: int) -> Iterator[Any]:
  """The numbers of lists in lists; a TypeError if these are too deep."""
  if not depth:
    raise TypeError('lists in lists in lists')
  for value in values:
    if isinstance(value, list):
      yield from _flat(value, depth - 1)
    else:
      yield value


def _is_set(annotation: dict[str, Any], key: str) -> bool:
  return annotation.get(key) in (1, True, '1')


def _stated_area(annotation: dict[str, Any]) -> float:
  area = annotation.get('area')
  try:
    return float(area) if isinstance(area, (int, float)) else math.nan
  except OverflowError:
    return math.nan


def _as_table(
    rows: list[tuple[Any, ...]], num_images: int, is_unit: bool
) -> Boxes:
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
      is_unit=is_unit,
  )
