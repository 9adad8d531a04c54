"""Arrays of official checkpoints that are no parameters: computed, not learned.

They are written so that a strict load there finds every key, and checked where
a checkpoint brings them, for one made with others would not work here.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

_STRIDES = (8, 16, 32, 64, 128)
NUM_CLASSES = 80  # Of the official classification branch, which is unused.


def relative_position_index(window: int) -> Int[np.ndarray, 'p p']:
  """Row of Swin's table of biases for every pair of tokens in a window."""
  y, x = np.divmod(np.arange(window * window), window)
  dy = y[:, None] - y[None, :] + window - 1
  dx = x[:, None] - x[None, :] + window - 1
  return (dy * (2 * window - 1) + dx).astype(np.int64)


def wrong_relative_position_index(index: np.ndarray) -> str | None:
  """Says what is wrong with such an index, None if nothing is."""
  window = math.isqrt(math.isqrt(index.size))
  if index.shape != (window**2, window**2):
    return f'shape {index.shape} is that of no square window'
  if not np.array_equal(index, relative_position_index(window)):
    return f'is not the index of Swin version 1 with a window of {window}'
  return None


def cell_anchors(
    level: int, anchor_scale: float = 8.0
) -> Float[np.ndarray, '1 4']:
  """The anchor of the first cell of a level, xyxy in inclusive pixels."""
  stride = _STRIDES[level]
  centre, half = (stride - 1) / 2, (anchor_scale * stride - 1) / 2
  corners = [centre - half, centre - half, centre + half, centre + half]
  return np.array([corners], np.float32)


def wrong_cell_anchors(
    anchors: np.ndarray, level: int, anchor_scale: float = 8.0
) -> str | None:
  """Says what is wrong with anchors of a level, None if nothing is.

  What half precision rounds is not wrong.
  """
  want = cell_anchors(level, anchor_scale)
  whole = anchors.dtype.kind in 'iu'
  rounding = 0.0 if whole else float(jnp.finfo(anchors.dtype).eps)
  close = functools.partial(np.allclose, rtol=rounding, atol=1e-2)
  if anchors.shape != want.shape or not close(anchors.astype('f8'), want):
    found = np.asarray(anchors, np.float64).round(2).tolist()
    return f'anchors {found} are not the {want.tolist()} of this model'
  return None


def cls_logits(num_classes: int, width: int) -> dict[str, np.ndarray]:
  """The official classification branch, which is multiplied by zero there.

  Only its number of channels counts, as the number of scores of an image.

  Args:
    num_classes: channels.
    width: of the tower.

  Returns:
    'weight' of zeros and 'bias' at the official start, -log(99).
  """
  return {
      'weight': np.zeros((num_classes, width, 1, 1), np.float32),
      'bias': np.full(num_classes, -math.log(99.0), np.float32),
  }
