"""Overlap of boxes, in float64 and continuous coordinates."""

import numpy as np
from jaxtyping import Float


def iou(
    box: Float[np.ndarray, '4'], boxes: Float[np.ndarray, 'k 4']
) -> Float[np.ndarray, 'k']:
  """Intersection over union of one box with each of some.

  Args:
    box: xyxy.
    boxes: xyxy, in the same pixels.
  """
  return pairwise(box[None], boxes)[0]


def pairwise(
    boxes: Float[np.ndarray, 'k 4'], others: Float[np.ndarray, 'm 4']
) -> Float[np.ndarray, 'k m']:
  """Intersection over union of each box with each other.

  Args:
    boxes: xyxy.
    others: xyxy, in the same pixels.
  """
  low = np.maximum(boxes[:, None, :2], others[:, :2])
  high = np.minimum(boxes[:, None, 2:], others[:, 2:])
  inter = np.prod(np.maximum(high - low, 0), -1)
  area, other = (np.prod(x[:, 2:] - x[:, :2], -1) for x in (boxes, others))
  return inter / np.maximum(area[:, None] + other - inter, 1e-9)
