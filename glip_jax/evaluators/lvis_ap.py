"""Average precision by the protocol of LVIS, whose images are labelled in part.

Of a class only those images count that have a box of it or are known not to
show it; where not all of its objects have a box, what matches none is neither
right nor wrong. pycocotools does the matching, a class at a time over the
images that count for it.

Two limits on detections are in use: the ordinary one keeps the best 300 of an
image; that of *fixed AP* (Dave et al. 2021, arXiv:2102.01066) the best 10,000
of a class over all images, so that classes do not compete. Results of GLIP and
its peers are of fixed AP.
"""

import collections
import contextlib
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from glip_jax.data.sources.federated import ABSENT, NOT_EXHAUSTIVE
from glip_jax.evaluators import coco_ap

FIXED_PER_CLASS, ORDINARY_PER_IMAGE = 10_000, 300
METRICS = (
    'AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf',
    'AR', 'ARs', 'ARm', 'ARl',
)  # fmt: skip


class Rows(NamedTuple):
  """Detections in columns, those of one image together, in any order.

  Attributes:
    image: int[n] position of the image in the truth.
    category: int[n] position of the category in the truth.
    score: float[n].
    bbox: float[n 4] xywh, original pixels.
  """

  image: np.ndarray
  category: np.ndarray
  score: np.ndarray
  bbox: np.ndarray

  def take(self, which: np.ndarray) -> 'Rows':
    """Some of the rows, by index or mask."""
    return Rows(*(column[which] for column in self))


@dataclasses.dataclass(frozen=True)
class ClassScore:
  """What one category reached.

  Attributes:
    name: as the annotation file spells it.
    frequency: 'r', 'c', 'f' or ''.
    AP: mean over IoU 0.50:0.05:0.95, in [0, 1]; -1 without truth.
    AP50: at IoU 0.50; -1 without truth.
    num_truth: annotated boxes.
  """

  name: str
  frequency: str
  AP: float
  AP50: float
  num_truth: int


class LvisScore(NamedTuple):
  """Numbers under one limit.

  Attributes:
    metrics: in [0, 1] under the names in `METRICS`; -1 without truth.
    per_class: one entry a category, in the order of the truth.
  """

  metrics: dict[str, float]
  per_class: tuple[ClassScore, ...]


def rows_of(
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]
) -> Rows:
  """Columns of COCO's result format.

  Raises:
    UserError: a prediction's image or category is not in the truth.
  """
  images, categories = (
      {row['id']: place for place, row in enumerate(ground_truth[key])}
      for key in ('images', 'categories')
  )
  for row in predictions:
    coco_ap.check_known(row, 'image_id', images)
    coco_ap.check_known(row, 'category_id', categories)
  return Rows(
      np.array([images[row['image_id']] for row in predictions], int),
      np.array([categories[row['category_id']] for row in predictions], int),
      np.array([row['score'] for row in predictions], np.float64),
      np.array([row['bbox'] for row in predictions], float).reshape(-1, 4),
  )


def limit(keys: np.ndarray, score: np.ndarray, most: int) -> np.ndarray:
  """True at the best `most` rows of each key; of equal scores, the first."""
  order = np.lexsort((-score, keys))
  ordered = keys[order]
  starts = np.searchsorted(ordered, ordered, side='left')
  kept = np.zeros(len(keys), bool)
  kept[order] = np.arange(len(keys)) - starts < most
  return kept


# Called for each category with its place, what pycocotools matched, and the
# places of its detections and boxes of truth, in the order of their numbers.
Keep = Callable[[int, Sequence[Any], np.ndarray, np.ndarray], None]


def evaluate_lvis(
    ground_truth: Mapping[str, Any], found: Rows, keep: Keep | None = None
) -> LvisScore:
  """Box AP of detections, all of which count.

  Args:
    ground_truth: a COCO annotation file whose images have
      `neg_category_ids` and `not_exhaustive_category_ids`, and categories a
      `frequency`.
    found: see `limit`.
    keep: is told what was matched.
  """
  truth = _Truth.of(ground_truth)
  order = np.argsort(found.category, kind='stable')
  ends = np.searchsorted(
      found.category[order], np.arange(len(truth.categories) + 1)
  )
  precision, recall = [], []
  for place in range(len(truth.categories)):
    own = order[ends[place] : ends[place + 1]]
    scored = _score_class(truth, place, found, own, keep)
    precision.append(scored[0])
    recall.append(scored[1])
  return _summary(truth, np.stack(precision, 2), np.stack(recall, 1))


@dataclasses.dataclass(frozen=True)
class _Truth:
  """The truth by category.

  Attributes:
    categories: rows of the file.
    numbers: running number of each image, by position.
    boxes: annotations of each category.
    places: of them in the file.
    images: numbers of the images that count for each category.
    partial: those of them that lack boxes of it.
  """

  categories: list[Mapping[str, Any]]
  numbers: np.ndarray
  boxes: list[list[dict[str, Any]]]
  places: list[list[int]]
  images: list[set[int]]
  partial: list[set[int]]

  @classmethod
  def of(cls, truth: Mapping[str, Any]) -> '_Truth':
    """Sorts a file by category."""
    numbers = coco_ap.numbers([image['id'] for image in truth['images']])
    places = {row['id']: n for n, row in enumerate(truth['categories'])}
    count = len(places)
    boxes, annotations = ([[] for _ in range(count)] for _ in range(2))
    images, partial = ([set() for _ in range(count)] for _ in range(2))
    for number, row in enumerate(truth['annotations']):
      if row['image_id'] in numbers and row['category_id'] in places:
        place = places[row['category_id']]
        boxes[place].append(coco_ap.annotation(row, numbers, places))
        annotations[place].append(number)
        images[place].add(numbers[row['image_id']])
    for image in truth['images']:
      for key, sets in ((ABSENT, images), (NOT_EXHAUSTIVE, partial)):
        for category in image.get(key, ()):
          if category in places:
            sets[places[category]].add(numbers[image['id']])
    return cls(
        list(truth['categories']),
        np.array([numbers[image['id']] for image in truth['images']], int),
        boxes,
        annotations,
        images,
        partial,
    )


def _score_class(
    truth: _Truth, place: int, found: Rows, own: np.ndarray, keep: Keep | None
) -> tuple[np.ndarray, np.ndarray]:
  """precision[iou, recall, area] and recall[iou, area] of one category."""
  if not truth.boxes[place]:
    return np.full((10, 101, 4), -1.0), np.full((10, 4), -1.0)
  own = own[np.isin(truth.numbers[found.image[own]], list(truth.images[place]))]
  counted = found.take(own)
  rows = [
      {
          'image_id': number,
          'category_id': place,
          'bbox': bbox,
          'area': bbox[2] * bbox[3],
          'iscrowd': 0,
          'score': score,
      }
      for number, bbox, score in zip(
          truth.numbers[counted.image].tolist(),
          counted.bbox.tolist(),
          counted.score.tolist(),
          strict=True,
      )
  ]
  images, library = sorted(truth.images[place]), coco_ap.PYCOCOTOOLS
  with contextlib.redirect_stdout(io.StringIO()):
    run = library.COCOeval(
        coco_ap.index(truth.boxes[place], images, [place]),
        coco_ap.index(rows, images, [place]),
        'bbox',
    )
    run.params.maxDets = [max(len(rows), 1)]
    run.evaluate()
    _ignore_unmatched(run.evalImgs, truth.partial[place])
    run.accumulate()
  if keep is not None:
    keep(place, run.evalImgs, own, np.array(truth.places[place]))
  return run.eval['precision'][:, :, 0, :, 0], run.eval['recall'][:, 0, :, 0]


def _ignore_unmatched(
    matches: Sequence[dict[str, Any] | None], partial: set[int]
) -> None:
  """Ignores what matches nothing where not every object has a box."""
  for row in matches:
    if row is not None and row['image_id'] in partial:
      row['dtIgnore'] = row['dtIgnore'] | (row['dtMatches'] == 0)


def _summary(
    truth: _Truth, precision: np.ndarray, recall: np.ndarray
) -> LvisScore:
  """The numbers of precision[iou, recall, category, area] and its recall."""
  every = precision[..., 0]
  groups = np.array([row.get('frequency', '') for row in truth.categories])
  metrics = {
      'AP': _mean(every),
      'AP50': _mean(every[0]),
      'AP75': _mean(every[5]),
      **{f'AP{x}': _mean(precision[..., i]) for i, x in enumerate('sml', 1)},
      **{f'AP{x}': _mean(every[:, :, groups == x]) for x in 'rcf'},
      'AR': _mean(recall[..., 0]),
      **{f'AR{x}': _mean(recall[..., i]) for i, x in enumerate('sml', 1)},
  }
  counts = collections.Counter(
      row['category_id'] for rows in truth.boxes for row in rows
  )
  per_class = [
      ClassScore(
          name=row['name'],
          frequency=row.get('frequency', ''),
          AP=_mean(every[:, :, place]),
          AP50=_mean(every[0, :, place]),
          num_truth=counts[place],
      )
      for place, row in enumerate(truth.categories)
  ]
  return LvisScore(metrics, tuple(per_class))


def _mean(values: np.ndarray) -> float:
  """The mean of what is defined, -1 if nothing is."""
  defined = values[values > -1]
  return float(defined.mean()) if defined.size else -1.0
