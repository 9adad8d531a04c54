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
from typing import Any, NamedTuple

import numpy as np

from glip_jax.evaluators import coco_ap, overlaps
from glip_jax.evaluators import matches as matches_lib


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


class VocRun(NamedTuple):
  """An evaluation.

  Attributes:
    result: its numbers.
    matches: what the detections were matched with.
  """

  result: VocResult
  matches: matches_lib.Matches


def evaluate_voc(
    ground_truth: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    *,
    min_iou: float = 0.5,
) -> VocResult:
  """The result of `run_voc`."""
  return run_voc(ground_truth, predictions, min_iou=min_iou).result


def run_voc(
    ground_truth: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    *,
    min_iou: float = 0.5,
) -> VocRun:
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
  classes = {c['id']: n for n, c in enumerate(ground_truth['categories'])}
  for row in predictions:
    coco_ap.check_known(row, 'image_id', images)
    coco_ap.check_known(row, 'category_id', classes)
  truth = [
      _Box(
          images[row['image_id']],
          classes[row['category_id']],
          place,
          not row.get('iscrowd'),
          _corners(row),
      )
      for place, row in enumerate(ground_truth['annotations'])
      if row['image_id'] in images and row['category_id'] in classes
  ]
  # Best first; of equal scores the image that comes first.
  order = sorted(
      range(len(predictions)),
      key=lambda n: (
          classes[predictions[n]['category_id']],
          -predictions[n]['score'],
          images[predictions[n]['image_id']],
      ),
  )
  found = [
      _Box(
          images[predictions[n]['image_id']],
          classes[predictions[n]['category_id']],
          n,
          True,
          _corners(predictions[n]),
      )
      for n in order
  ]
  owners = _match(found, truth, min_iou)
  scores = [predictions[n]['score'] for n in order]
  return VocRun(
      _result(ground_truth, found, truth, owners),
      _matches(ground_truth, found, truth, owners, scores, min_iou),
  )


class _Box(NamedTuple):
  """A detection, or a box of truth.

  Attributes:
    image: place of its image.
    category: place of its class.
    place: its place in the predictions or annotations.
    counted: False for a difficult box.
    corners: xyxy.
  """

  image: int
  category: int
  place: int
  counted: bool
  corners: np.ndarray


class _Owner(NamedTuple):
  """What becomes of a detection; it is ignored where it is neither.

  Attributes:
    right: whether it is the best of a box that counts.
    wrong: whether it has no box, or one that is taken.
    box: number of the box that it is the best of, -1 for none.
  """

  right: bool
  wrong: bool
  box: int


def _match(
    found: Sequence[_Box], truth: Sequence[_Box], min_iou: float
) -> list[_Owner]:
  """What becomes of each detection, given best first."""
  own = collections.defaultdict(list)
  for number, box in enumerate(truth):
    own[box.image, box.category].append(number)
  taken, owners = set(), []
  for row in found:
    numbers = own.get((row.image, row.category), ())
    boxes = np.array([truth[n].corners for n in numbers]).reshape(-1, 4)
    overlap = overlaps.pairwise(row.corners[None], boxes)[0]
    best = int(overlap.argmax()) if overlap.size else -1
    if best < 0 or overlap[best] < min_iou:
      owners.append(_Owner(False, True, -1))
    elif not truth[numbers[best]].counted:
      owners.append(_Owner(False, False, -1))
    else:
      is_first = numbers[best] not in taken
      taken.add(numbers[best])
      box = numbers[best] if is_first else -1
      owners.append(_Owner(is_first, not is_first, box))
  return owners


def _result(
    ground_truth: Mapping[str, Any],
    found: Sequence[_Box],
    truth: Sequence[_Box],
    owners: Sequence[_Owner],
) -> VocResult:
  counts = collections.Counter(box.category for box in truth if box.counted)
  right = collections.defaultdict(list)
  for row, owner in zip(found, owners, strict=True):
    if owner.right or owner.wrong:
      right[row.category].append(owner.right)
  per_class = []
  for place, category in enumerate(ground_truth['categories']):
    n = counts[place]
    both = _averages(np.array(right[place], bool), n) if n else (-1.0, -1.0)
    per_class.append(ClassScore(category['name'], *both, n))
  scored = [c for c in per_class if c.num_truth]
  mean = lambda values: float(np.mean(values)) if scored else -1.0
  metrics = mean([c.AP for c in scored]), mean([c.AP_11 for c in scored])
  return VocResult(
      dict(zip(METRICS, metrics, strict=True)),
      tuple(per_class),
      len(ground_truth['images']),
  )


def _matches(
    ground_truth: Mapping[str, Any],
    found: Sequence[_Box],
    truth: Sequence[_Box],
    owners: Sequence[_Owner],
    scores: Sequence[float],
    min_iou: float,
) -> matches_lib.Matches:
  best = {owner.box: score for owner, score in zip(owners, scores, strict=True)}
  flags = lambda values: np.array(values, bool).reshape(-1, 1, 1)
  numbers = lambda values: np.array(values, np.int32)
  return matches_lib.Matches(
      protocol='voc',
      images=tuple(image['id'] for image in ground_truth['images']),
      names=tuple(row['name'] for row in ground_truth['categories']),
      frequency=(),
      ious=(min_iou,),
      areas=matches_lib.AREAS[:1],
      limits=('any number',),
      image=numbers([row.image for row in found]),
      category=numbers([row.category for row in found]),
      score=np.array(scores, np.float64),
      row=numbers([row.place for row in found]),
      within=np.ones((len(found), 1), bool),
      right=flags([owner.right for owner in owners]),
      wrong=flags([owner.wrong for owner in owners]),
      truth_image=numbers([box.image for box in truth]),
      truth_category=numbers([box.category for box in truth]),
      annotation=numbers([box.place for box in truth]),
      counted=np.array([[box.counted] for box in truth], bool).reshape(-1, 1),
      best=np.array([best.get(n, -1) for n in range(len(truth))], np.float32),
  )


def _corners(row: Mapping[str, Any]) -> np.ndarray:
  x, y, width, height = row['bbox']
  return np.array([x, y, x + width, y + height], np.float64)


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
