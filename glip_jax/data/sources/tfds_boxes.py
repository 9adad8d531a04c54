"""Which features of a TFDS set hold its boxes, and how these are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from glip_jax.data.sources.boxes import Boxes, clip_boxes
from glip_jax.errors import UserError

# Sequences that are boxes, in the order in which they are looked for: the
# second are those of OpenImages, whose `objects` are labels of whole images.
_BOXES = ('objects', 'bobjects', 'faces')
_LABELS = ('label', 'type')
# What is not one object, or too hard to count: neither found nor missed.
_CROWDS = ('is_crowd', 'is_group_of', 'is_difficult')
# Parts of the sides that no edge is beyond: these are pixels, NaN or infinity.
_FAR = 2
# Sets whose rows are counted from below.
_FROM_BELOW = ('kitti',)


@dataclasses.dataclass(frozen=True)
class Layout:
  """Where the boxes of a detection set are.

  Attributes:
    boxes: the feature.
    label: its part that is the class; '' where there is one class.
    names: of the classes, in label order.
    crowds: its parts that mark crowds.
    from_below: whether rows are counted from below.
  """

  boxes: str
  label: str
  names: tuple[str, ...]
  crowds: tuple[str, ...]
  from_below: bool = False

  @property
  def parts(self) -> tuple[str, ...]:
    """The parts of the feature that are read."""
    label = (self.label,) if self.label else ()
    return ('bbox', *label, *self.crowds)

  def read(
      self,
      example: Mapping[str, Any],
      size: tuple[int, int],
      labels: np.ndarray,
  ) -> Boxes:
    """The boxes of an example, as the only ones of a table.

    Args:
      example: as it is stored.
      size: (h, w) of its image.
      labels: by label of the set that of each class, -1 of those that are not
        used; the last is that of objects without a class.

    Raises:
      UserError: its parts do not match, or a label or an edge is none.
    """
    objects = example[self.boxes]
    bbox = np.array(objects['bbox'], np.float64).reshape(-1, 4)
    if self.from_below:
      bbox = np.stack([1 - bbox[:, 2], bbox[:, 1], 1 - bbox[:, 0], bbox[:, 3]])
      bbox = bbox.T
    found = objects[self.label] if self.label else np.zeros(len(bbox))
    label = look_up(labels, found, f'{self.boxes}/{self.label}')
    # What OpenImages does not know is -1.
    marks = [np.array(objects[part]).reshape(-1) > 0 for part in self.crowds]
    if counts := {len(each) for each in (label, *marks)} - {len(bbox)}:
      raise UserError(
          f'{self.boxes} has {len(bbox)} boxes, and {min(counts)} labels or'
          ' marks of crowds; prepare the set anew'
      )
    crowd = np.any([np.zeros(len(bbox), bool), *marks], axis=0)
    used = label >= 0
    return of_corners(bbox[used], size, label[used], crowd[used])


def find_layout(features: Mapping[str, Any], name: str) -> Layout | None:
  """Where the boxes of a set are; None where none has a class.

  Args:
    features: of an example.
    name: of the set.
  """
  for key in _BOXES:
    parts = parts_of(features, key)
    if 'bbox' not in parts or not _is_box(parts['bbox']):
      continue
    crowds = tuple(part for part in _CROWDS if part in parts)
    for label in _LABELS:
      if names := _names(parts, label):
        below = name in _FROM_BELOW
        return Layout(key, label, names, crowds, below)
    if key == 'faces':
      return Layout(key, '', ('face',), crowds)
  return None


def parts_of(features: Mapping[str, Any], key: str) -> Mapping[str, Any]:
  """The parts of a sequence; none of what is no sequence of parts."""
  inner = getattr(features[key], 'feature', {}) if key in features else {}
  return inner if hasattr(inner, 'keys') else {}


def look_up(labels: np.ndarray, classes: Any, what: str) -> np.ndarray:
  """The labels of some classes of a set.

  Args:
    labels: as `Layout.read` takes them.
    classes: by label of the set, -1 of what has none.
    what: they are called, for messages.

  Raises:
    UserError: one is not a class of the set.
  """
  classes, count = np.array(classes, np.int64).reshape(-1), len(labels) - 1
  wrong = classes[(classes < -1) | (classes >= count)]
  if wrong.size:
    raise UserError(
        f'{what} holds {wrong[0]}, which is none of the {count} classes;'
        ' prepare the set anew'
    )
  return labels[classes]


def of_corners(
    bbox: np.ndarray,
    size: tuple[int, int],
    label: np.ndarray,
    crowd: np.ndarray,
) -> Boxes:
  """Boxes as the only ones of a table.

  Args:
    bbox: rows of (ymin, xmin, ymax, xmax), parts of the sides of the image.
    size: (h, w) of the image.
    label: of each.
    crowd: True at those of crowds.

  Raises:
    UserError: an edge is no number, or far from the image.
  """
  bbox = np.asarray(bbox, np.float64).reshape(-1, 4)
  wrong = bbox[~(np.abs(bbox) <= _FAR).all(axis=1)]
  if len(wrong):
    raise UserError(
        f'bbox holds {wrong[0].tolist()}, which is no box in parts of the sides'
        ' of an image, 0 to 1; prepare the set anew'
    )
  y1, x1, y2, x2 = bbox.T
  height, width = size
  sides = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
  return Boxes(
      offset=np.array([0, len(x1)]),
      xywh=np.stack(sides, -1),
      label=np.asarray(label, np.int32).reshape(-1),
      crowd=np.asarray(crowd, bool).reshape(-1),
      area=np.full(len(x1), np.nan),
  )


def usable(boxes: Boxes, size: tuple[int, int]) -> Boxes:
  """The boxes of an image of (h, w) that keep an area in it."""
  _, kept = clip_boxes(boxes.xywh, size)
  return dataclasses.replace(
      boxes,
      offset=np.array([0, kept.sum()]),
      xywh=boxes.xywh[kept],
      label=boxes.label[kept],
      crowd=boxes.crowd[kept],
      area=boxes.area[kept],
  )


def _is_box(feature: Any) -> bool:
  """Whether a part may be boxes in parts of the sides: pixels are whole."""
  is_real = np.issubdtype(feature.np_dtype, np.floating)
  return tuple(feature.shape) == (4,) and is_real


def _names(parts: Mapping[str, Any], label: str) -> tuple[str, ...]:
  """The classes that a part names; none where it is no such part."""
  try:
    return tuple(parts[label].names) if label in parts else ()
  except (AttributeError, TypeError, ValueError):
    return ()
