"""Average precision of a list of detections by the COCO protocol.

pycocotools does the matching, or hotcoco where it is installed, which gives the
same numbers to the last digit in a fraction of the time. This file feeds them:
they want small integer ids and an area at every annotation, and print as they
go.
"""

import collections
import contextlib
import dataclasses
import functools
import io
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import coco, cocoeval

from glip_jax.errors import UserError
from glip_jax.evaluators import match_building
from glip_jax.evaluators import matches as matches_lib

METRICS = (
    'AP', 'AP50', 'AP75', 'APs', 'APm', 'APl',
    'AR1', 'AR10', 'AR100', 'ARs', 'ARm', 'ARl',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ClassResult:
  """What one category reached.

  Attributes:
    name: as the annotation file spells it.
    AP: mean over IoU 0.50:0.05:0.95, in [0, 1]; -1 without truth.
    AP50: at IoU 0.50; -1 without truth.
    num_truth: annotated boxes, crowd regions not counted.
  """

  name: str
  AP: float
  AP50: float
  num_truth: int


@dataclasses.dataclass(frozen=True)
class CocoResult:
  """What a set of detections reached.

  Attributes:
    metrics: the 12 COCO numbers under the names in `METRICS`, in [0, 1]; -1
      where there is no truth (of that size).
    per_class: one entry per category, in the order of the annotation file.
    num_images: how many images the numbers are over.
  """

  metrics: dict[str, float]
  per_class: tuple[ClassResult, ...]
  num_images: int

  def to_json(self) -> dict[str, Any]:
    """Plain values for a metrics file."""
    return {
        **self.metrics,
        'num_images': self.num_images,
        'per_class': [dataclasses.asdict(c) for c in self.per_class],
    }

  def table(self, *, per_class: bool = False) -> str:
    """Text for a terminal, of several classes with a line for each."""
    return format_table(self, per_class=per_class)


def evaluate_coco(
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]
) -> CocoResult:
  """The result of `run_coco`."""
  return run_coco(ground_truth, predictions)[0]


def run_coco(
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]
) -> tuple[CocoResult, Callable[[], matches_lib.Matches]]:
  """Box AP and AR of `predictions` as pycocotools computes them.

  Args:
    ground_truth: a COCO annotation file: `images`, `annotations` (bbox xywh;
      a missing `area` is w * h, a missing `iscrowd` is 0) and `categories`.
      Ids may be integers of any size or strings. Annotations of images or
      categories that the file does not list are ignored.
    predictions: rows with `image_id`, `category_id`, `bbox` (xywh) and
      `score`; may be empty.

  Returns:
    The 12 numbers, and AP and AP50 of each category, -1 without truth; and
    what gives the matches.

  Raises:
    UserError: a prediction's image or category is not in the truth.
  """
  images = numbers([image['id'] for image in ground_truth['images']])
  categories = numbers([c['id'] for c in ground_truth['categories']])
  for row in predictions:
    check_known(row, 'image_id', images)
    check_known(row, 'category_id', categories)
  places = [
      place
      for place, row in enumerate(ground_truth['annotations'])
      if row['image_id'] in images and row['category_id'] in categories
  ]
  truth = [
      annotation(ground_truth['annotations'][place], images, categories)
      for place in places
  ]
  found = [
      # The area of a detection is its box's, whatever a file says.
      annotation({**row, 'area': None}, images, categories)
      for row in predictions
  ]
  matched = ()
  if not truth:
    stats = np.full(len(METRICS), -1.0)
    precision = np.full((10, 101, len(categories)), -1.0)
  else:
    stats, precision, matched = _run_cocoeval(
        truth, found, list(images.values()), list(categories.values())
    )
  counts = collections.Counter(
      row['category_id'] for row in truth if not row['iscrowd']
  )
  per_class = []
  for category in ground_truth['categories']:
    number = categories[category['id']]
    ap, ap50 = _average_precision(precision[..., number - 1])
    per_class.append(ClassResult(category['name'], ap, ap50, counts[number]))
  metrics = dict(zip(METRICS, map(float, stats), strict=True))

  matches = functools.partial(
      match_building.of_coco,
      matched,
      places,
      images=list(images),
      categories=ground_truth['categories'],
  )
  return CocoResult(metrics, tuple(per_class), len(images)), matches


def format_table(result: CocoResult, per_class: bool = False) -> str:
  """An aligned table in percent, `-` where there is no truth.

  Args:
    result: of `evaluate_coco`.
    per_class: whether a line per category follows, in the file's order.
  """
  lines = []
  for names in (METRICS[:6], METRICS[6:]):
    lines.append('  '.join(f'{name:>5}' for name in names))
    lines.append('  '.join(percent(result.metrics[name]) for name in names))
  if per_class:
    width = max([len(c.name) for c in result.per_class] + [len('class')])
    lines += ['', f'{"class":<{width}}     AP   AP50   boxes']
    lines += [
        f'{c.name:<{width}}  {percent(c.AP)}  {percent(c.AP50)}'
        f'  {c.num_truth:>6}'
        for c in result.per_class
    ]
  return '\n'.join(lines)


def percent(value: float) -> str:
  """A share in percent, five wide; `-` where there is no truth."""
  return f'{"-":>5}' if value < 0 else f'{100 * value:5.1f}'


def numbers(ids: Sequence[Hashable]) -> dict[Hashable, int]:
  """Running numbers from 1 that keep the order of integer ids.

  pycocotools breaks ties between equal scores by the order of image ids.
  """
  if all(isinstance(i, int) for i in ids):
    ids = sorted(ids)
  return {key: number for number, key in enumerate(dict.fromkeys(ids), 1)}


def check_known(
    row: Mapping[str, Any], key: str, known: Collection[Hashable]
) -> None:
  """Refuses a prediction whose image or category the truth does not have.

  Args:
    row: of predictions.
    key: `image_id` or `category_id`.
    known: ids of the truth.
  """
  if row[key] not in known:
    raise UserError(
        f'prediction with {key}={row[key]!r}: the ground truth has no such id;'
        f' its {len(known)} ids begin with {list(known)[:3]!r}'
    )


def annotation(
    row: Mapping[str, Any],
    images: Mapping[Hashable, int],
    categories: Mapping[Hashable, int],
) -> dict[str, Any]:
  """The part of a row that COCOeval reads, with running numbers as ids."""
  area = row.get('area')
  return {
      'image_id': images[row['image_id']],
      'category_id': categories[row['category_id']],
      'bbox': list(row['bbox']),
      'area': row['bbox'][2] * row['bbox'][3] if area is None else area,
      'iscrowd': int(row.get('iscrowd') or 0),
      'score': row.get('score', 0.0),
  }


def _run_cocoeval(
    truth: list[dict[str, Any]],
    found: list[dict[str, Any]],
    images: list[int],
    categories: list[int],
) -> tuple[np.ndarray, np.ndarray, Sequence[Any]]:
  """The 12 numbers, precision[iou, recall, category], and what was matched."""
  library = matcher()
  with contextlib.redirect_stdout(io.StringIO()):
    run = library.COCOeval(
        index(truth, images, categories, library.COCO),
        index(found, images, categories, library.COCO),
        'bbox',
    )
    run.evaluate()
    run.accumulate()
    run.summarize()
  precision = np.asarray(run.eval['precision'])[:, :, :, 0, 2]
  return np.asarray(run.stats), precision, run.evalImgs


class Matcher(NamedTuple):
  """A library that matches detections with truth as pycocotools does.

  Attributes:
    COCO: its index of annotations.
    COCOeval: its evaluation.
  """

  COCO: Any
  COCOeval: Any


PYCOCOTOOLS = Matcher(coco.COCO, cocoeval.COCOeval)


def matcher() -> Matcher:
  """hotcoco where it is installed, else pycocotools."""
  try:
    import hotcoco
  except ImportError:
    return PYCOCOTOOLS
  return Matcher(hotcoco.COCO, hotcoco.COCOeval)


def index(
    rows: list[dict[str, Any]],
    images: list[int],
    categories: list[int],
    make: Any = coco.COCO,
) -> Any:
  """An index of annotations, without a file or its printing.

  Args:
    rows: from `annotation`.
    images: running numbers of all images.
    categories: running numbers of all categories.
    make: the class of the index.
  """
  made = make()
  made.dataset = {
      'images': [{'id': i} for i in images],
      'categories': [{'id': i, 'name': str(i)} for i in categories],
      # From 1: COCOeval takes a match with annotation 0 for no match.
      'annotations': [row | {'id': i} for i, row in enumerate(rows, 1)],
  }
  made.createIndex()
  return made


def _average_precision(precision: np.ndarray) -> tuple[float, float]:
  """AP and AP50 of precision[iou, recall]; -1 where it is not defined."""
  if (precision < 0).all():
    return -1.0, -1.0
  return float(precision.mean()), float(precision[0].mean())
