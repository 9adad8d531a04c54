"""Average precision by the COCO protocol.

Boxes come as xyxy pixels of the input image and leave as xywh pixels of the
original one. pycocotools does the matching; this file feeds it: it wants small
integer ids and an area at every annotation, and prints as it goes.
"""

import collections
import contextlib
import dataclasses
import io
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from pycocotools import coco, cocoeval

from glip_jax import types
from glip_jax.data.guard import broken_indices
from glip_jax.data.sources.protocol import DetectionSource, is_detection
from glip_jax.errors import UserError
from glip_jax.evaluators import unpack

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


class DetectionEvaluator:
  """Collects detections of a source and scores them against its truth."""

  def __init__(self, source: DetectionSource):
    """Binds the evaluator to what it judges.

    Args:
      source: a detection source; detections are labelled with its vocabulary.

    Raises:
      UserError: it is a grounding source.
    """
    if not is_detection(source):
      raise UserError(
          "type='detection' needs a source with one list of classes, and this"
          " one has a text for each image: use type='grounding', or data with"
          ' classes'
      )
    self._source = source
    # Rows of each record, None where it was broken.
    self._found: dict[int, list[dict[str, Any]] | None] = {}

  def add(self, batch: types.Batch, detections: types.Detections) -> None:
    """Takes the detections of one batch.

    Batch padding and records that were added before are skipped; broken ones
    are noted, for they are no truth either.

    Args:
      batch: what the detections were made of; `id` and `scale` are read.
      detections: boxes xyxy in input pixels.
    """
    for index in broken_indices(batch.id):
      self._found[index] = None
    for image in unpack.unpack(batch, detections):
      if image.index not in self._found:
        self._found[image.index] = self._rows(image)

  def state(self) -> dict[int, Any]:
    """What was added, by record, for `merge` in another process."""
    return self._found

  def merge(self, state: dict[int, Any]) -> None:
    """Takes what another process's evaluator was given."""
    self._found |= state

  def predictions(self) -> list[dict[str, Any]]:
    """What was added, in COCO's result format with the original ids."""
    return [
        row for index in sorted(self._found) for row in self._found[index] or ()
    ]

  def result(self) -> CocoResult:
    """Scores what was added; images never added count as missed.

    The scored boxes are the rounded ones of `predictions()`, so that the
    written file gives the same numbers in any other tool.
    """
    truth = self._truth()
    seen = {self._source.image_id(index) for index in self._found}
    num_missing = sum(image['id'] not in seen for image in truth['images'])
    if num_missing:
      logging.warning(
          '%d of %d images were not evaluated: their objects count as missed',
          num_missing,
          len(truth['images']),
      )
    return evaluate_coco(truth, self.predictions())

  def _truth(self) -> dict[str, Any]:
    """The ground truth without the images that turned out to be broken."""
    truth = self._source.ground_truth()
    broken = {
        self._source.image_id(index)
        for index, rows in self._found.items()
        if rows is None
    }
    if not broken:
      return truth
    images = [row for row in truth['images'] if row['id'] not in broken]
    annotations = [
        row for row in truth['annotations'] if row['image_id'] not in broken
    ]
    return truth | dict(images=images, annotations=annotations)

  def _rows(self, image: unpack.ImageDetections) -> list[dict[str, Any]]:
    """Result rows of one image."""
    image_id = self._source.image_id(image.index)
    return [
        {
            'image_id': image_id,
            'category_id': self._source.category_id(label),
            'bbox': box,
            'score': unpack.to_score(score),
        }
        for box, score, label in zip(
            unpack.to_xywh(image.boxes),
            image.scores,
            image.labels.tolist(),
            strict=True,
        )
    ]


def evaluate_coco(
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]
) -> CocoResult:
  """Box AP and AR of `predictions` as pycocotools computes them.

  Args:
    ground_truth: a COCO annotation file: `images`, `annotations` (bbox xywh;
      a missing `area` is w * h, a missing `iscrowd` is 0) and `categories`.
      Ids may be integers of any size or strings. Annotations of images or
      categories that the file does not list are ignored.
    predictions: rows with `image_id`, `category_id`, `bbox` (xywh) and
      `score`; may be empty.

  Returns:
    The 12 numbers, and AP and AP50 of each category; -1 without truth.

  Raises:
    UserError: a prediction's image or category is not in the truth.
  """
  images = _numbers([image['id'] for image in ground_truth['images']])
  categories = _numbers([c['id'] for c in ground_truth['categories']])
  for row in predictions:
    _check_known(row, 'image_id', images)
    _check_known(row, 'category_id', categories)
  truth = [
      _annotation(row, images, categories)
      for row in ground_truth['annotations']
      if row['image_id'] in images and row['category_id'] in categories
  ]
  found = [
      # The area of a detection is its box's, whatever a file says.
      _annotation({**row, 'area': None}, images, categories)
      for row in predictions
  ]
  if not truth:
    stats = np.full(len(METRICS), -1.0)
    precision = np.full((10, 101, len(categories)), -1.0)
  else:
    stats, precision = _run_cocoeval(
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
  return CocoResult(metrics, tuple(per_class), len(images))


def format_table(result: CocoResult, per_class: bool = False) -> str:
  """An aligned table in percent, `-` where there is no truth.

  Args:
    result: of `evaluate_coco`.
    per_class: whether a line per category follows, in the file's order.
  """
  lines = []
  for names in (METRICS[:6], METRICS[6:]):
    lines.append('  '.join(f'{name:>5}' for name in names))
    lines.append('  '.join(_percent(result.metrics[name]) for name in names))
  if per_class:
    width = max([len(c.name) for c in result.per_class] + [len('class')])
    lines += ['', f'{"class":<{width}}     AP   AP50   boxes']
    lines += [
        f'{c.name:<{width}}  {_percent(c.AP)}  {_percent(c.AP50)}'
        f'  {c.num_truth:>6}'
        for c in result.per_class
    ]
  return '\n'.join(lines)


def _percent(value: float) -> str:
  return f'{"-":>5}' if value < 0 else f'{100 * value:5.1f}'


def _numbers(ids: Sequence[Hashable]) -> dict[Hashable, int]:
  """Running numbers from 1 that keep the order of integer ids.

  pycocotools breaks ties between equal scores by the order of image ids.
  """
  if all(isinstance(i, int) for i in ids):
    ids = sorted(ids)
  return {key: number for number, key in enumerate(dict.fromkeys(ids), 1)}


def _check_known(
    row: Mapping[str, Any], key: str, known: Collection[Hashable]
) -> None:
  if row[key] not in known:
    raise UserError(
        f'prediction with {key}={row[key]!r}: the ground truth has no such id;'
        f' its {len(known)} ids begin with {list(known)[:3]!r}'
    )


def _annotation(
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
) -> tuple[np.ndarray, np.ndarray]:
  """The 12 numbers, and precision[iou, recall, category] at 100 detections."""
  with contextlib.redirect_stdout(io.StringIO()):
    run = cocoeval.COCOeval(
        _index(truth, images, categories),
        _index(found, images, categories),
        'bbox',
    )
    run.evaluate()
    run.accumulate()
    run.summarize()
  return run.stats, run.eval['precision'][:, :, :, 0, 2]


def _index(
    rows: list[dict[str, Any]], images: list[int], categories: list[int]
) -> coco.COCO:
  """pycocotools' index of annotations, without a file or its printing."""
  index = coco.COCO()
  index.dataset = {
      'images': [{'id': i} for i in images],
      'categories': [{'id': i} for i in categories],
      # From 1: COCOeval takes a match with annotation 0 for no match.
      'annotations': [row | {'id': i} for i, row in enumerate(rows, 1)],
  }
  index.createIndex()
  return index


def _average_precision(precision: np.ndarray) -> tuple[float, float]:
  """AP and AP50 of precision[iou, recall]; -1 where it is not defined."""
  if (precision < 0).all():
    return -1.0, -1.0
  return float(precision.mean()), float(precision[0].mean())
