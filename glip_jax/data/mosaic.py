"""Four images in one, each in a quarter of it.

It is for lists of names: what a sentence says would not be so of a part. Which
images are others' follows from the generator of a record, so that its prompt
can be planned before any is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from glip_jax.data import transforms
from glip_jax.data.records import Record
from glip_jax.data.sources.protocol import Source, is_detection, is_federated
from glip_jax.errors import UserError

# Where the quarters meet, as parts of the sides.
_LEAST, _MOST = 0.3, 0.7


def check(source: Source, probability: float) -> None:
  """Refuses a source whose images are not to be mixed.

  Raises:
    UserError: it has captions, or images that are labelled in part.
  """
  if not probability or (is_detection(source) and not is_federated(source)):
    return
  reason = 'has a text for each image, which would be false of four'
  if is_detection(source):
    reason = (
        'has images labelled for some classes only, so what is named in one'
        ' may be unlabelled in another'
    )
  raise UserError(
      f'augment.mosaic={probability} is for sets of boxes with classes, and'
      f' this source {reason}: set it to 0 in an augment (on=True) of its own'
  )


def others(
    probability: float, num_records: int, rng: np.random.Generator
) -> tuple[int, ...]:
  """The records beside one in a mosaic: three, or none where it stays alone.

  Args:
    probability: how often it does not.
    num_records: of the source.
    rng: what is drawn by.
  """
  if rng.random() >= probability:
    return ()
  return tuple(rng.integers(num_records, size=3).tolist())


def joined(
    records: Sequence[Record], rng: np.random.Generator, *, fast: bool = False
) -> Record:
  """Puts four records into the image of the first, in random places.

  Each is scaled to cover its quarter and cut at random to it. Boxes are those
  that a `RandomScaleCrop` would leave: clipped, and kept if their centre is in
  the quarter; crowds if any part is.

  Args:
    records: four, of one source; their phrases are those of the first.
    rng: what places and cuts are drawn by.
    fast: as in `transforms.resize`.

  Returns:
    A record of the size, text and index of the first.
  """
  first = records[0]
  height, width = first.image.shape[:2]
  row, column = (
      min(max(round(side * rng.uniform(_LEAST, _MOST)), 1), max(side - 1, 1))
      for side in (height, width)
  )
  places = [
      (top, left, bottom - top, right - left)
      for top, bottom in ((0, row), (row, height))
      for left, right in ((0, column), (column, width))
  ]
  image = np.empty((height, width, 3), np.uint8)
  parts = []
  for number, place in zip(rng.permutation(4), places, strict=True):
    top, left, *size = place
    if not min(size):
      continue  # Of an image of one pixel in height or width.
    part = _covering(records[number], size[0], size[1], rng, fast)
    image[top : top + size[0], left : left + size[1]] = part.image
    shift = np.array([left, top] * 2, np.float32)
    parts.append(dataclasses.replace(part, boxes=part.boxes + shift))
  return dataclasses.replace(
      first,
      image=image,
      boxes=np.concatenate([part.boxes for part in parts]),
      phrase=np.concatenate([part.phrase for part in parts]),
      crowd=np.concatenate([part.crowd for part in parts]),
  )


def _covering(
    record: Record,
    height: int,
    width: int,
    rng: np.random.Generator,
    fast: bool,
) -> Record:
  """A record scaled to cover a window, and cut to it."""
  rows, columns = record.image.shape[:2]
  scale = max(height / rows, width / columns)
  size = max(round(rows * scale), height), max(round(columns * scale), width)
  record = transforms.resize(record, size, fast=fast)
  top, left = (
      int(rng.integers(whole - part + 1))
      for whole, part in zip(size, (height, width), strict=True)
  )
  return transforms.crop(record, top, left, height, width)
