"""Detections of a source with classes, kept by record until they are scored.

Boxes come as xyxy pixels of the input image and leave as xywh pixels of the
original one.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from absl import logging

from glip_jax import types
from glip_jax.data.guard import broken_indices
from glip_jax.data.sources.protocol import DetectionSource, Source, is_detection
from glip_jax.errors import UserError
from glip_jax.evaluators import unpack

T = TypeVar('T')


class Collected:
  """What evaluators of detection have in common."""

  def __init__(self, source: DetectionSource):
    """Takes a source that was checked by `check_source`."""
    self.source = source
    # Rows of each record, None where it was broken.
    self._found: dict[int, list[dict[str, Any]] | None] = {}
    self._scored: Any = None

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
      self._found[index] = None
    for image in unpack.unpack(batch, detections):
      if image.index not in self._found:
        self._found[image.index] = self._rows(image)

  def state(self) -> dict[int, Any]:
    """What was added, by record, for `merge` in another process."""
    return self._found

  def merge(self, state: dict[int, Any]) -> None:
    """Takes what another process's evaluator was given."""
    self._scored = None
    self._found |= state

  def predictions(self) -> list[dict[str, Any]]:
    """What was added, in COCO's result format with the original ids."""
    return [
        row for index in sorted(self._found) for row in self._found[index] or ()
    ]

  def truth(self) -> dict[str, Any]:
    """The truth that `predictions()` are scored against."""
    broken = [i for i, rows in self._found.items() if rows is None]
    return usable_truth(self.source, self._found, broken)

  def once(self, score: Callable[[], T]) -> T:
    """What `score` gives; computed once for what was added.

    Args:
      score: called if anything was added since.
    """
    if self._scored is None:
      self._scored = score()
    return self._scored

  def _rows(self, image: unpack.ImageDetections) -> list[dict[str, Any]]:
    """Result rows of one image."""
    image_id = self.source.image_id(image.index)
    return [
        {
            'image_id': image_id,
            'category_id': self.source.category_id(label),
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


def check_source(source: Source, *, type: str) -> None:
  """Refuses a grounding source where one with classes is needed.

  Args:
    source: any.
    type: of the evaluation, for the message.

  Raises:
    UserError: it is a grounding source.
  """
  if not is_detection(source):
    raise UserError(
        f'type={type!r} needs a source with one list of classes, and this'
        " one has a text for each image: use type='grounding', or data with"
        ' classes'
    )


def usable_truth(
    source: DetectionSource, added: Iterable[int], broken: Iterable[int]
) -> dict[str, Any]:
  """The truth without the images that turned out to be broken.

  Args:
    source: what is evaluated on.
    added: records that were evaluated, broken ones too; a warning tells of
      others, whose objects count as missed.
    broken: records whose image cannot be read.
  """
  truth = source.ground_truth()
  seen = set(map(source.image_id, added))
  num_missing = sum(image['id'] not in seen for image in truth['images'])
  if num_missing:
    logging.warning(
        '%d of %d images were not evaluated: their objects count as missed',
        num_missing,
        len(truth['images']),
    )
  left_out = set(map(source.image_id, broken))
  if not left_out:
    return truth
  images = [row for row in truth['images'] if row['id'] not in left_out]
  annotations = [
      row for row in truth['annotations'] if row['image_id'] not in left_out
  ]
  return truth | dict(images=images, annotations=annotations)
