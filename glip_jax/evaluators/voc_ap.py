"""Average precision by the protocol of Pascal VOC.

Detections of a class are gone through best first over all images. Each belongs
to the box that it overlaps most, whether that is taken or not: it is right if
the overlap is `min_iou` or more and no better one has taken the box, wrong
otherwise, and counts for nothing where the box is difficult. VOC's devkit
counts pixels, the last of a box included; that is the area from edge to edge
here, so overlaps are the devkit's where its boxes have been read as edges.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glip_jax.evaluators import coco_ap, overlaps


@dataclasses.dataclass(frozen=True)
class ClassScore:
  """What one category reached.

  Attributes:
    name: as the annotations spell it.
    AP: area below the precision at each recall (VOC 2010 and later), in
      [0, 1]; -1 without truth.
    AP_11: mean of the precision at recalls 0, 0.1, ..., 1 (VOC 2007).
    num_truth: boxes that are not difficult.
  """

  name: str
  AP: float
  AP_11: float
  num_truth: int


@dataclasses.dataclass(frozen=True)
class VocResult:
  """What a set of detections reached.

  Attributes:
    metrics: means over the classes that have truth, in [0, 1]; -1 where none
      has.
    per_class: one entry a category, in the order of the truth.
    num_images: how many images the numbers are over.
  """

  metrics: dict[str, float]
  per_class: tuple[ClassScore, ...]
  num_images: int

  def to_json(self) -> dict[str, Any]:
    """Plain values for a metrics file."""
    return {
        **self.metrics,
        'num_images': self.num_images,
        'per_class': [dataclasses.asdict(c) for c in self.per_class],
    }

  def table(self, *, per_class: bool = False) -> str:
    """The numbers in percent; of several classes with a line for each."""
    lines = ['            AP50   11 points']
    lines.append(
        'mean       '
        + '       '.join(coco_ap.percent(x) for x in self.metrics.values())
    )
    if per_class:
      width = max([len(c.name) for c in self.per_class] + [len('class')])
      lines += ['', f'{"class":<{width}}   AP50   11 points   boxes']
      lines += [
          f'{c.name:<{width}}  {coco_ap.percent(c.AP)}'
          f'       {coco_ap.percent(c.AP_11)}  {c.num_truth:>6}'
          for c in self.per_class
      ]
    return '\n'.join(lines)


METRICS = 'AP50', 'AP50_11_points'


def evaluate_voc(
    ground_truth: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    *,
    min_iou: float = 0.5,
) -> VocResult:
  """Average precision of `predictions` at one overlap.

  Args:
    ground_truth: a COCO annotation file; `iscrowd` marks difficult boxes.
    predictions: rows with `image_id`, `category_id`, `bbox` (xywh, from edge
      to edge) and `score`; may be empty.
    min_iou: overlap in (0, 1] from which a box may be right.

  Raises:
    UserError: a prediction's image or category is not in the truth.
  """
  images = {image['id']: n for n, image in enumerate(ground_truth['images'])}
  categories = {c['id'] for c in ground_truth['categories']}
  truth, found = collections.defaultdict(list), collections.defaultdict(list)
  for row in predictions:
    coco_ap.check_known(row, 'image_id', images)
    coco_ap.check_known(row, 'category_id', categories)
    found[row['category_id']].append(row)
  for row in ground_truth['annotations']:
    truth[row['category_id'], row['image_id']].append(row)
  per_class = []
  for category in ground_truth['categories']:
    own = {image: truth[category['id'], image] for image in images}
    # Of equal scores the image that comes first.
    rows = sorted(
        found[category['id']], key=lambda row: images[row['image_id']]
    )
    per_class.append(_score_class(category['name'], own, rows, min_iou))
  scored = [c for c in per_class if c.num_truth]
  mean = lambda values: float(np.mean(values)) if scored else -1.0
  metrics = mean([c.AP for c in scored]), mean([c.AP_11 for c in scored])
  return VocResult(
      dict(zip(METRICS, metrics, strict=True)), tuple(per_class), len(images)
  )


def _score_class(
    name: str,
    truth: Mapping[Any, Sequence[Mapping[str, Any]]],
    rows: Sequence[Mapping[str, Any]],
    min_iou: float,
) -> ClassScore:
  """Both averages of one class."""
  boxes = {image: _corners(own) for image, own in truth.items()}
  difficult = {
      image: [bool(row.get('iscrowd')) for row in own]
      for image, own in truth.items()
  }
  num_truth = sum(not x for own in difficult.values() for x in own)
  if not num_truth:
    return ClassScore(name, -1.0, -1.0, 0)
  taken, right = set(), []
  for row in sorted(rows, key=lambda row: -row['score']):
    image = row['image_id']
    overlap = overlaps.pairwise(_corners([row]), boxes[image])[0]
    best = int(overlap.argmax()) if overlap.size else -1
    if best < 0 or overlap[best] < min_iou:
      right.append(False)
    elif not difficult[image][best]:
      right.append((image, best) not in taken)
      taken.add((image, best))
  return ClassScore(
      name, *_averages(np.array(right, bool), num_truth), num_truth
  )


def _corners(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
  xywh = np.array([row['bbox'] for row in rows], np.float64).reshape(-1, 4)
  return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def _averages(right: np.ndarray, n: int) -> tuple[float, float]:
  """Area below the best precision at each recall or more, and at 11 recalls."""
  found = np.cumsum(right)
  precision = found / np.arange(1, len(right) + 1)
  best = np.maximum.accumulate(precision[::-1])[::-1]
  points = [
      best[place] if (place := np.searchsorted(found, k * n / 10)) < len(found)
      else 0.0
      for k in range(11)
  ]  # fmt: skip
  return float(np.sum(best[right]) / n), float(np.mean(points))
