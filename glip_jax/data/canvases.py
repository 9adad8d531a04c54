"""How much padding canvases leave on images of some sizes, and better ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from glip_jax.data import fitting, settings

Size = tuple[int, int]
# How often each (h, w) of images is met.
Sizes = Mapping[Size, float]

_MULTIPLE = 32
# Shapes that are told apart where images fill their canvas.
_SHAPES = 256
_ROUNDS = 10


class Wasted(NamedTuple):
  """What canvases waste.

  Attributes:
    padding: share of their pixels that hold no image.
    smaller: share of images that are made smaller than `resize` says, as no
      canvas has room for them.
  """

  padding: float
  smaller: float


def wasted(data: settings.Data, sizes: Sizes) -> Wasted:
  """What the canvases of `config.data.buckets` waste.

  A record goes to the canvas that wastes least, as in training; that its text
  may need another is not looked at.
  """
  fits = fitting.fits(data)
  used = made = smaller = 0.0
  for size, count in _resized_by(data, sizes).items():
    (height, width), short = size
    fit = fits[fitting.best(fits, (height, width), 0, short)]
    resized = fit.resize_to(short).size(height, width)
    used += count * resized[0] * resized[1]
    made += count * fit.bucket.num_pixels
    if data.resize and resized != _wanted(data, height, width, short):
      smaller += count
  if not made:
    return Wasted(0.0, 0.0)
  return Wasted(1 - used / made, smaller / sum(sizes.values()))


def suggest(data: settings.Data, sizes: Sizes, count: int) -> tuple[Size, ...]:
  """Canvases, in multiples of 32, that leave little padding.

  With `resize` each image keeps its size; without, a canvas has about as many
  pixels as `image_size`. They are found by adding the best canvas to those
  there are, from one for all images or two for wide and high ones, and then
  exchanging one at a time; others may be better still.

  Args:
    data: `config.data`, of which `resize` and `image_size` count.
    sizes: of images.
    count: of canvases at most.

  Returns:
    (h, w) of each, the largest last.
  """
  canvases, cost = _costs(data, sizes)
  chosen = min(
      (_grown(start, cost, count) for start in _starts(canvases, cost, count)),
      key=lambda each: cost[each].min(axis=0).sum(),
  )
  found = {canvases[n] for n in chosen}
  return tuple(sorted(found, key=lambda size: (size[0] * size[1], size)))


def with_canvases(
    data: settings.Data, canvases: Sequence[Size]
) -> settings.Data:
  """A config with other buckets, of prompts of any length."""
  buckets = tuple((*canvas, data.num_tokens) for canvas in canvases)
  return dataclasses.replace(data, buckets=buckets)


def _starts(
    canvases: Sequence[Size], cost: Float[np.ndarray, 'k n'], count: int
) -> list[list[int]]:
  """Canvases to begin with: one for all, and one each for wide and high."""
  starts = [[int(np.argmin(cost.sum(axis=1)))]]
  tightest = np.array(canvases)[cost.argmin(axis=0)]
  is_wide = tightest[:, 1] >= tightest[:, 0]
  if count > 1 and is_wide.any() and not is_wide.all():
    halves = cost[:, is_wide], cost[:, ~is_wide]
    starts.append([int(np.argmin(half.sum(axis=1))) for half in halves])
  return starts


def _grown(
    chosen: list[int], cost: Float[np.ndarray, 'k n'], count: int
) -> list[int]:
  """Adds the best canvas, and exchanges, until there are so many."""
  while len(chosen) < count:
    totals = np.minimum(cost, cost[chosen].min(axis=0)).sum(axis=1)
    chosen.append(int(np.argmin(totals)))
    _exchange(chosen, cost)
  return chosen


def _exchange(chosen: list[int], cost: Float[np.ndarray, 'k n']) -> None:
  """Exchanges one canvas at a time while that helps."""
  best = cost[chosen].min(axis=0).sum()
  for _ in range(_ROUNDS):
    before = best
    for place in range(len(chosen)):
      others = chosen[:place] + chosen[place + 1 :]
      rest = cost[others].min(axis=0) if others else np.inf
      totals = np.minimum(cost, rest).sum(axis=1)
      other = int(np.argmin(totals))
      if totals[other] < best:
        chosen[place], best = other, totals[other]
    if best == before:
      return


def _costs(
    data: settings.Data, sizes: Sizes
) -> tuple[list[Size], Float[np.ndarray, 'k n']]:
  """Canvases, and what each costs on each kind of image; at most infinite."""
  if data.resize:
    return _keeping_sizes(data, sizes)
  return _filling(data, sizes)


def _keeping_sizes(
    data: settings.Data, sizes: Sizes
) -> tuple[list[Size], Float[np.ndarray, 'k n']]:
  """Pixels of each canvas that images fit into as `resize` makes them."""
  needed: dict[Size, float] = {}
  for ((height, width), short), count in _resized_by(data, sizes).items():
    wanted = _wanted(data, height, width, short)
    canvas = tuple(map(_rounded_up, wanted))
    needed[canvas] = needed.get(canvas, 0) + count
  images = np.array(list(needed))
  canvases = [
      (int(height), int(width))
      for height in np.unique(images[:, 0])
      for width in np.unique(images[:, 1])
  ]
  each = np.array(canvases)
  holds = (each[:, None] >= images).all(axis=-1)
  # More than all together: what does not fit is left out of no canvas.
  pixels = np.where(holds, each.prod(axis=1)[:, None], 1e12)
  return canvases, pixels * np.array(list(needed.values()))


def _filling(
    data: settings.Data, sizes: Sizes
) -> tuple[list[Size], Float[np.ndarray, 'k n']]:
  """Share of each canvas of about one area that images leave empty."""
  counts: dict[int, float] = {}
  for (height, width), count in sizes.items():
    # Shapes by the logarithm of their aspect, from 1:16 to 16:1.
    part = np.clip(np.log2(height / width) / 8 + 0.5, 0, 1)
    shape = round(float(part) * _SHAPES)
    counts[shape] = counts.get(shape, 0) + count
  aspects = 2.0 ** ((np.array(list(counts)) / _SHAPES - 0.5) * 8)
  area = data.image_size[0] * data.image_size[1]
  longest = 4 * max(data.image_size)
  canvases = []
  for height in range(_MULTIPLE, longest + 1, _MULTIPLE):
    width = area // height // _MULTIPLE * _MULTIPLE
    if width and height * width > 0.9 * area:
      canvases.append((height, width))
  if data.image_size not in canvases:
    canvases.append(data.image_size)
  each = np.array(canvases)
  shapes = each[:, :1] / each[:, 1:]
  used = np.minimum(shapes / aspects, aspects / shapes)
  return canvases, (1 - used) * np.array(list(counts.values()))


def _resized_by(
    data: settings.Data, sizes: Sizes
) -> dict[tuple[Size, int], float]:
  """How often each size is met with each short side that may be drawn."""
  augment = data.augment
  sides = (augment.on and data.resize and augment.short_sides) or (0,)
  return {
      (size, short): count / len(sides)
      for size, count in sizes.items()
      for short in sides
  }


def _wanted(data: settings.Data, height: int, width: int, short: int) -> Size:
  """The size of an image that any canvas has room for."""
  return settings.resizing(data, (2**15, 2**15), short).size(height, width)


def _rounded_up(side: int) -> int:
  return -(-side // _MULTIPLE) * _MULTIPLE
