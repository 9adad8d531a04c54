"""What a look at the records of a source finds: faults and statistics."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, NamedTuple

import numpy as np

# Sides of squares in pixels; COCO's borders of small, medium and large boxes.
_BORDERS = 32, 96
_SIZES = 'small', 'medium', 'large'


class Fault(NamedTuple):
  """Something that is left out, or stops a run.

  Attributes:
    kind: what is wrong, in a few words.
    record: which record, class or box it is; '' where it is all of the source.
    remedy: what to do.
    count: how often; more than one only where the records are not known.
  """

  kind: str
  record: str
  remedy: str
  count: int = 1


@dataclasses.dataclass
class Findings:
  """What was found in some records; two can be added.

  Attributes:
    faults: in the order of the records.
    sizes: (h, w) of images, and how many have it.
    num_boxes: how many images have so many boxes.
    areas: boxes by COCO's sizes.
    tokens: how many prompts have so many tokens.
    boxes_of: boxes by class, or by phrase.
    images_of: images by class, or by phrase.
  """

  faults: list[Fault] = dataclasses.field(default_factory=list)
  sizes: collections.Counter = dataclasses.field(
      default_factory=collections.Counter
  )
  num_boxes: collections.Counter = dataclasses.field(
      default_factory=collections.Counter
  )
  areas: collections.Counter = dataclasses.field(
      default_factory=collections.Counter
  )
  tokens: collections.Counter = dataclasses.field(
      default_factory=collections.Counter
  )
  boxes_of: collections.Counter = dataclasses.field(
      default_factory=collections.Counter
  )
  images_of: collections.Counter = dataclasses.field(
      default_factory=collections.Counter
  )

  def add(self, other: Findings) -> None:
    """Takes what was found in other records."""
    for field in dataclasses.fields(Findings):
      if field.name == 'faults':
        self.faults += other.faults
      else:
        getattr(self, field.name).update(getattr(other, field.name))

  def add_boxes(self, boxes: np.ndarray, names: list[str]) -> None:
    """Takes the boxes of an image.

    Args:
      boxes: float[n 4] xyxy, pixels of the image.
      names: of each, '' where nothing names it.
    """
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    kinds = np.searchsorted(_BORDERS, sides, side='right')
    self.num_boxes[len(boxes)] += 1
    self.areas.update(_SIZES[kind] for kind in kinds.tolist())
    self.boxes_of.update(names)
    self.images_of.update(set(names))

  def statistics(self, vocabulary: tuple[str, ...] = ()) -> dict[str, Any]:
    """Numbers in plain values.

    Args:
      vocabulary: names of all classes; those without a box count too.
    """
    heights, widths = collections.Counter(), collections.Counter()
    for (height, width), count in self.sizes.items():
      heights[height] += count
      widths[width] += count
    images = self.num_boxes.total()
    names = dict.fromkeys(vocabulary) | self.boxes_of
    ordered = sorted(names, key=lambda name: -self.boxes_of[name])
    return {
        'images': images,
        'boxes': sum(n * count for n, count in self.num_boxes.items()),
        'boxes_of_an_image': _spread(self.num_boxes),
        'images_without_boxes': self.num_boxes[0] / images if images else 0.0,
        'box_sizes': {
            kind: self.areas[kind] / max(self.areas.total(), 1)
            for kind in _SIZES
        },
        'image_heights': _spread(heights),
        'image_widths': _spread(widths),
        'tokens_of_a_prompt': _spread(self.tokens),
        'classes': {
            name: {'boxes': self.boxes_of[name], 'images': self.images_of[name]}
            for name in ordered
        },
    }


def _spread(counts: collections.Counter) -> dict[str, float]:
  """Least, mean, median, 95 % and most of numbers that are counted."""
  if not counts:
    return {}
  values, times = zip(*sorted(counts.items()), strict=True)
  ends = np.cumsum(times)
  at = lambda share: values[int(np.searchsorted(ends, share * ends[-1]))]
  return {
      'least': values[0],
      'mean': float(np.average(values, weights=times)),
      'median': at(0.5),
      'of_20_19_have_at_most': at(0.95),
      'most': values[-1],
  }
