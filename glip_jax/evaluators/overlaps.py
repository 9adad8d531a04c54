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
  low = np.maximum(box[:2], boxes[:, :2])
  high = np.minimum(box[2:], boxes[:, 2:])
  inter = np.prod(np.maximum(high - low, 0), -1)
  area = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], -1)
  return inter / np.maximum(area - inter, 1e-9)
