"""Keeps every item of a scene visible while items are laid over each other."""

import math

import numpy as np
from jaxtyping import Bool, Float

from glip_jax.shapes import figures
from glip_jax.shapes.scenes import Item

# By sample points; below the 35 % of the area that no item may exceed.
_MAX_HIDDEN = 0.3


class Layers:
  """Items placed so far, and which sample points of each can be seen.

  Attributes:
    items: the items in drawing order, first drawn first.
  """

  def __init__(self) -> None:
    self.items: list[Item] = []
    self._points: list[np.ndarray] = []
    self._visible: list[np.ndarray] = []

  def add(self, rng: np.random.Generator, item: Item) -> bool:
    """Adds an item on top or at the bottom, if all stays visible.

    Args:
      rng: decides between top and bottom.
      item: the item to add.

    Returns:
      Whether it was added. It is not where it would hide too much of an item,
      or be hidden too much, or touch the box of an item of its own colour.
    """
    on_top = rng.random() < 0.5
    points = _points(item)
    visible = np.ones(points.shape[1], bool)
    seen = list(self._visible)
    for i, placed in enumerate(self.items):
      if not _overlap(item.box, placed.box):
        continue
      if item.kind.colour == placed.kind.colour:
        return False
      if on_top:
        seen[i] = seen[i] & ~_covers(item, self._points[i])
      else:
        visible &= ~_covers(placed, points)
    if any(v.mean() < 1 - _MAX_HIDDEN for v in (*seen, visible)):
      return False
    place = len(self.items) if on_top else 0
    self._visible = seen
    self._visible.insert(place, visible)
    self._points.insert(place, points)
    self.items.insert(place, item)
    return True


def _points(item: Item) -> Float[np.ndarray, '2 s']:
  """Sample points of an item in the image's frame."""
  x, y = figures.samples(item.kind.shape) * (item.size / 2)
  cos, sin = math.cos(item.angle), math.sin(item.angle)
  left, top = item.origin
  return np.stack([left + x * cos - y * sin, top + x * sin + y * cos])


def _covers(
    item: Item, points: Float[np.ndarray, '2 s']
) -> Bool[np.ndarray, 's']:
  x, y = points[0] - item.origin[0], points[1] - item.origin[1]
  scale = 2 / item.size
  cos, sin = math.cos(item.angle) * scale, math.sin(item.angle) * scale
  return figures.inside(item.kind.shape, x * cos + y * sin, y * cos - x * sin)


def _overlap(box: tuple[float, ...], other: tuple[float, ...]) -> bool:
  return (
      box[0] < other[2]
      and other[0] < box[2]
      and box[1] < other[3]
      and other[1] < box[3]
  )
