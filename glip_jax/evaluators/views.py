"""Each image at several sizes and mirrored, what is found joined.

The original GLIP's test-time augmentation, by default with its published sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from glip_jax import types
from glip_jax.errors import UserError
from glip_jax.evaluators import merging
from glip_jax.fields import field, part


@dataclasses.dataclass(frozen=True)
class Views:
  """In which sizes an image is looked at, and how the answers are joined."""

  on: bool = field(False, 'whether it is looked at more than once')
  short_sides: tuple[int, ...] = field(
      (400, 500, 600, 640, 700, 900, 1000, 1100, 1200, 1300, 1400, 1800),
      'short side of each view, pixels',
      least=32,
  )
  long: int = field(2500, 'about the most of the long side, pixels', least=32)
  ranges: tuple[tuple[float, float], ...] = field(
      (
          (96, 10000),
          (96, 10000),
          (64, 10000),
          (64, 10000),
          (64, 10000),
          (0, 10000),
          (0, 10000),
          (0, 256),
          (0, 256),
          (0, 192),
          (0, 192),
          (0, 96),
      ),
      'of each view: its boxes have a root of area between, pixels of the view;'
      ' empty: any',
      least=0,
  )
  flip: bool = field(True, 'whether each view is looked at mirrored too')
  merging: merging.Merging = part(merging.Merging)

  def check(self, what: str) -> None:
    """Refuses ranges that are not those of the views."""
    if self.ranges and len(self.ranges) != len(self.short_sides):
      raise UserError(
          f'{what}.ranges has {len(self.ranges)} entries and short_sides'
          f' {len(self.short_sides)}: give one for each, or () for none'
      )

  def __iter__(self) -> Iterator[View]:
    """The views in the order in which their detections are joined."""
    ranges = self.ranges or ((0.0, np.inf),) * len(self.short_sides)
    for short, limits in zip(self.short_sides, ranges, strict=True):
      yield View((short, self.long), limits)


class View(NamedTuple):
  """One size to look at an image in.

  Attributes:
    resize: (short, long) side, as of `config.data.resize`.
    limits: its boxes have a root of area between these, pixels of the view.
  """

  resize: tuple[int, int]
  limits: tuple[float, float]


class Joined:
  """Detections of batches, joined over the views of their images."""

  def __init__(
      self,
      views: Views,
      batches: Sequence[Iterator[types.Batch]],
      detect: Callable[[types.Batch], types.Detections],
  ):
    """Takes the batches of each view.

    Args:
      views: on which what is found is joined.
      batches: of each view but the first, of the same records as those that
        `__call__` is given, in the same order.
      detect: detections of a batch without suppression.
    """
    self._views, self._how = list(views), views.merging
    self._flips = (False, True) if views.flip else (False,)
    self._batches, self._detect = batches, detect

  def __call__(self, batch: types.Batch) -> types.Detections:
    """What is found in all views, in pixels of the first.

    Args:
      batch: of the first view.
    """
    sizes = [batch, *(next(iterator) for iterator in self._batches)]
    # Asked for all before the first is waited for.
    found = [
        (view, own, flip, self._detect(_mirrored(own) if flip else own))
        for view, own in zip(self._views, sizes, strict=True)
        for flip in self._flips
    ]
    parts = [_in_image(*each) for each in found]
    rows = [
        merging.merge(_concatenated([part[row] for part in parts]), self._how)
        for row in range(len(batch.id))
    ]
    return _padded(rows, np.asarray(batch.scale))


def _mirrored(batch: types.Batch) -> types.Batch:
  """A batch whose images, not their padding, are mirrored."""
  image = np.array(batch.image)
  for row, (height, width) in enumerate(np.asarray(batch.size).tolist()):
    image[row, :height, :width] = image[row, :height, :width][:, ::-1]
  return batch.replace(image=image)


def _in_image(
    view: View,
    batch: types.Batch,
    is_mirrored: bool,
    detections: types.Detections,
) -> list[merging.Found]:
  """Detections of each row that a view may give, in pixels of the original.

  Boxes end at their last pixel, as the original's rules count them.
  """
  scale = np.asarray(batch.scale)[:, None, ::-1]
  boxes = np.array(detections.boxes, np.float32)
  boxes[..., 2:] -= scale
  if is_mirrored:
    width = np.asarray(batch.size, np.float32)[:, None, 1]
    left, right = boxes[..., 0].copy(), boxes[..., 2].copy()
    boxes[..., 0], boxes[..., 2] = width - right - 1, width - left - 1
  area = np.prod(boxes[..., 2:] - boxes[..., :2] + 1, axis=-1)
  low, high = view.limits
  kept = np.asarray(detections.valid) & (area > low**2) & (area < high**2)
  # What is not finite stays: who unpacks it tells.
  kept |= np.asarray(detections.valid) & ~np.isfinite(area)
  boxes /= np.concatenate([scale, scale], axis=-1)
  scores, labels = np.asarray(detections.scores), np.asarray(detections.labels)
  return [
      merging.Found(
          boxes[row][kept[row]], scores[row][kept[row]], labels[row][kept[row]]
      )
      for row in range(len(kept))
  ]


def _concatenated(parts: Sequence[merging.Found]) -> merging.Found:
  return merging.Found(
      np.concatenate([part.boxes for part in parts]),
      np.concatenate([part.scores for part in parts]),
      np.concatenate([part.labels for part in parts]),
  )


def _padded(
    rows: Sequence[merging.Found], scale: np.ndarray
) -> types.Detections:
  """Detections of a batch, best first, in pixels of its images."""
  count = max(len(row.scores) for row in rows)
  boxes = np.zeros((len(rows), count, 4), np.float32)
  scores = np.zeros((len(rows), count), np.float32)
  labels = np.zeros((len(rows), count), np.int32)
  valid = np.zeros((len(rows), count), bool)
  for number, row in enumerate(rows):
    order = np.argsort(-row.scores, kind='stable')
    own = row[order]
    edges = own.boxes.copy()
    edges[:, 2:] += 1
    slots = slice(len(order))
    boxes[number, slots] = edges * np.tile(scale[number, ::-1], 2)
    scores[number, slots], labels[number, slots] = own.scores, own.labels
    valid[number, slots] = True
  return types.Detections(
      boxes=boxes, scores=scores, labels=labels, valid=valid
  )
