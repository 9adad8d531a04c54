"""LVIS: fixed AP, and AP of the best 300 detections of an image.

Detections are kept in columns, and of each class no more than can still count:
a set of 20,000 images and 1203 classes has over a hundred million.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from glip_jax import types
from glip_jax.data.guard import broken_indices
from glip_jax.data.sources.protocol import FederatedSource, is_federated
from glip_jax.errors import UserError
from glip_jax.evaluators import (
    coco_ap,
    collected,
    lvis_ap,
    match_building,
    unpack,
)
from glip_jax.evaluators import matches as matches_lib
from glip_jax.evaluators.coco_ap import percent

# Rows that wait before those that cannot count any more are dropped.
_MOST_WAITING = 4_000_000
_SHOWN = lvis_ap.METRICS[:9]


@dataclasses.dataclass(frozen=True)
class LvisResult:
  """What a set of detections reached.

  Attributes:
    fixed: with the best 10,000 detections of each class.
    ordinary: with the best 300 detections of each image.
    num_images: how many images the numbers are over.
  """

  fixed: lvis_ap.LvisScore
  ordinary: lvis_ap.LvisScore
  num_images: int

  @property
  def metrics(self) -> dict[str, float]:
    """Scalars in [0, 1]; those of 300 an image end in `@300`."""
    ordinary = self.ordinary.metrics.items()
    return self.fixed.metrics | {f'{k}@300': v for k, v in ordinary}

  def to_json(self) -> dict[str, Any]:
    """Plain values for a metrics file; `per_class` is of fixed AP."""
    return {
        **self.metrics,
        'num_images': self.num_images,
        'per_class': [dataclasses.asdict(c) for c in self.fixed.per_class],
    }

  def table(self, *, per_class: bool = False) -> str:
    """Both protocols in percent, and a line a class by fixed AP."""
    lines = [' ' * 12 + '  '.join(f'{name:>5}' for name in _SHOWN)]
    for name, score in (
        ('fixed AP', self.fixed),
        ('300 an image', self.ordinary),
    ):
      numbers = '  '.join(percent(score.metrics[key]) for key in _SHOWN)
      lines.append(f'{name:<12}{numbers}')
    if per_class:
      width = max([len(c.name) for c in self.fixed.per_class] + [len('class')])
      lines += ['', f'{"class":<{width}}         AP   AP50   boxes']
      lines += [
          f'{c.name:<{width}}  {c.frequency or "-"}   {percent(c.AP)}'
          f'  {percent(c.AP50)}  {c.num_truth:>6}'
          for c in self.fixed.per_class
      ]
    return '\n'.join(lines)


class _Found(NamedTuple):
  """Detections in columns.

  Attributes:
    record: int32[n] index in the source.
    rank: int32[n] place in its image, 0 for the best.
    label: int32[n].
    score: float32[n].
    bbox: float64[n 4] xywh, original pixels, rounded.
  """

  record: np.ndarray
  rank: np.ndarray
  label: np.ndarray
  score: np.ndarray
  bbox: np.ndarray

  def take(self, which: np.ndarray) -> '_Found':
    return _Found(*(column[which] for column in self))


class LvisEvaluator:
  """Collects detections of a federated source and scores them."""

  metric_names = (*lvis_ap.METRICS, *(f'{x}@300' for x in lvis_ap.METRICS))
  # All that several prompts give: the limits are this file's.
  detections_per_image = None

  def __init__(self, source: FederatedSource):
    """Binds the evaluator to what it judges.

    Args:
      source: a detection source whose images are labelled for some classes.

    Raises:
      UserError: it is of another kind.
    """
    collected.check_source(source, type='lvis')
    if not is_federated(source):
      raise UserError(
          "type='lvis' needs data that says which classes each image was"
          " searched for, as source='lvis' does: use type='detection'"
      )
    self._source = source
    # Whether each record that was added could be read.
    self._usable: dict[int, bool] = {}
    self._parts: list[_Found] = []
    self._scored: tuple[LvisResult, matches_lib.Matches] | None = None

  def add(self, batch: types.Batch, detections: types.Detections) -> None:
    """Takes the detections of one batch.

    Batch padding and records that were added before are skipped; broken ones
    are noted, for they are no truth either.

    Args:
      batch: what the detections were made of; `id` and `scale` are read.
      detections: boxes xyxy in input pixels.
    """
    self._scored = None
    for index in broken_indices(batch.id):
      self._usable.setdefault(index, False)
    for image in unpack.unpack(batch, detections):
      if image.index not in self._usable:
        self._usable[image.index] = True
        self._parts.append(_columns(image))
    self._drop(_MOST_WAITING)

  def state(self) -> tuple[dict[int, bool], _Found]:
    """What was added, for `merge` in another process."""
    self._drop(0)
    return self._usable, self._found()

  def merge(self, state: tuple[dict[int, bool], _Found]) -> None:
    """Takes what another process's evaluator was given."""
    self._scored = None
    usable, found = state
    new = [index for index in usable if index not in self._usable]
    self._parts.append(found.take(np.isin(found.record, new)))
    self._usable |= {index: usable[index] for index in new}

  def predictions(self) -> list[dict[str, Any]]:
    """The best 300 of each image, in COCO's result format."""
    found = self._found()
    found = found.take(found.rank < lvis_ap.ORDINARY_PER_IMAGE)
    return [
        {
            'image_id': self._source.image_id(record),
            'category_id': self._source.category_id(label),
            'bbox': bbox,
            'score': unpack.to_score(score),
        }
        for record, label, bbox, score in zip(
            found.record.tolist(),
            found.label.tolist(),
            found.bbox.tolist(),
            found.score,
            strict=True,
        )
    ]

  def result(self) -> LvisResult:
    """Scores what was added; images never added count as missed."""
    return self._run()[0]

  def truth(self) -> dict[str, Any]:
    """The truth that `predictions()` are scored against."""
    broken = [index for index, usable in self._usable.items() if not usable]
    return collected.usable_truth(self._source, self._usable, broken)

  def matches(self) -> matches_lib.Matches:
    """What was matched, of which some are among `predictions()`."""
    return self._run()[1]

  def _run(self) -> tuple[LvisResult, matches_lib.Matches]:
    if self._scored is None:
      self._scored = self._score()
    return self._scored

  def _score(self) -> tuple[LvisResult, matches_lib.Matches]:
    truth, found = self.truth(), self._found()
    rows = self._rows(truth, found)
    ordinary = found.rank < lvis_ap.ORDINARY_PER_IMAGE
    best = lvis_ap.limit(found.label, found.score, lvis_ap.FIXED_PER_CLASS)
    made, scores = match_building.Builder(), []
    for limit, counts in enumerate((best, ordinary)):
      chosen = np.flatnonzero(counts)

      def keep(place, matched, own, annotations, limit=limit, chosen=chosen):
        made.add(matched, chosen[own], annotations, category=place, limit=limit)

      scores.append(lvis_ap.evaluate_lvis(truth, rows.take(chosen), keep))
    result = LvisResult(*scores, num_images=len(truth['images']))
    matched = made.build(
        protocol='lvis',
        images=list(coco_ap.numbers([row['id'] for row in truth['images']])),
        categories=truth['categories'],
        limits={'fixed': None, str(lvis_ap.ORDINARY_PER_IMAGE): None},
    )
    places = np.where(ordinary, np.cumsum(ordinary) - 1, -1)
    row = places[matched.row].astype(np.int32)
    return result, dataclasses.replace(matched, row=row)

  def _rows(self, truth: dict[str, Any], found: _Found) -> lvis_ap.Rows:
    """The detections by their places in the truth."""
    images = {row['id']: n for n, row in enumerate(truth['images'])}
    places = np.full(max(self._usable, default=-1) + 1, -1)
    for index, usable in self._usable.items():
      if usable:
        places[index] = images[self._source.image_id(index)]
    ids = [row['id'] for row in truth['categories']]
    labels = range(len(self._source.names))
    category = [ids.index(self._source.category_id(n)) for n in labels]
    return lvis_ap.Rows(
        places[found.record],
        np.array(category, int)[found.label],
        found.score.astype(np.float64),
        found.bbox,
    )

  def _found(self) -> _Found:
    """All that is kept, by record and then best first."""
    parts = [_NOTHING, *self._parts]
    found = _Found(*map(np.concatenate, zip(*parts, strict=True)))
    return found.take(np.lexsort((found.rank, found.record)))

  def _drop(self, waiting: int) -> None:
    """Drops what cannot count any more, where more than so many rows wait."""
    if sum(len(part.record) for part in self._parts[1:]) <= waiting:
      return
    found = self._found()
    best = lvis_ap.limit(found.label, found.score, lvis_ap.FIXED_PER_CLASS)
    self._parts = [found.take(best | (found.rank < lvis_ap.ORDINARY_PER_IMAGE))]


def _columns(image: unpack.ImageDetections) -> _Found:
  """The detections of an image, best first; of equal scores the first."""
  order = np.argsort(-image.scores, kind='stable')
  count, boxes = len(order), image.boxes[order]
  sides = boxes[:, 2:] - boxes[:, :2]
  return _Found(
      np.full(count, image.index, np.int32),
      np.arange(count, dtype=np.int32),
      image.labels[order].astype(np.int32),
      image.scores[order].astype(np.float32),
      np.concatenate([boxes[:, :2], sides], 1).round(unpack.BOX_DECIMALS),
  )


_NOTHING = _columns(
    unpack.ImageDetections(
        -1, np.zeros((0, 4)), np.zeros(0, np.float32), np.zeros(0, np.int32)
    )
)
