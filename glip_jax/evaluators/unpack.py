"""From a padded batch of detections to the detections of each image."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from absl import logging

from glip_jax import types

BOX_DECIMALS = 3


class ImageDetections(NamedTuple):
  """What was found in one image, in any order.

  Attributes:
    index: the record in its source.
    boxes: float64[k 4] xyxy, pixels of the original image.
    scores: float32[k].
    labels: int[k] 0-based phrase index; -1 as in `types.Detections`.
    tokens: bool[k t] or None as in `types.Detections`.
  """

  index: int
  boxes: np.ndarray
  scores: np.ndarray
  labels: np.ndarray
  tokens: np.ndarray | None = None


def unpack(
    batch: types.Batch,
    detections: types.Detections,
    *,
    unknown: bool = False,
) -> Iterator[ImageDetections]:
  """Undoes batching, padding and resizing.

  Rows of batch padding are left out. So are detections that are not finite,
  with a warning: they come from a model that has diverged.

  Args:
    batch: what the detections were made of; `id` and `scale` are read.
    detections: boxes xyxy in input pixels, on the host or a device.
    unknown: True keeps objects that no phrase names.

  Yields:
    The detections of one image.
  """
  boxes = np.asarray(detections.boxes, np.float64)
  scores = np.asarray(detections.scores, np.float32)
  labels = np.asarray(detections.labels)
  valid = np.asarray(detections.valid)
  tokens = detections.tokens
  boxes = boxes / np.asarray(batch.scale, np.float64)[:, None, [1, 0, 1, 0]]
  finite = np.isfinite(boxes).all(-1) & np.isfinite(scores)
  keep = valid & finite & (unknown | (labels >= 0))
  for row, index in enumerate(np.asarray(batch.id).tolist()):
    if index < 0:
      continue
    if (valid[row] & ~finite[row]).any():
      logging.warning(
          'record %d: %d detections are not finite and are left out',
          index,
          (valid[row] & ~finite[row]).sum(),
      )
    chosen = keep[row]
    yield ImageDetections(
        index,
        boxes[row][chosen],
        scores[row][chosen],
        labels[row][chosen],
        None if tokens is None else np.asarray(tokens[row])[chosen],
    )


def to_xywh(boxes: np.ndarray) -> list[list[float]]:
  """Rows [x, y, width, height] for a file, rounded, of xyxy boxes."""
  rows = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], -1)
  return rows.round(BOX_DECIMALS).tolist()


def to_score(score: np.float32) -> float:
  """The shortest decimal that still is this float32.

  Rounding further would make ties, and with them another order.
  """
  return float(str(np.float32(score)))
