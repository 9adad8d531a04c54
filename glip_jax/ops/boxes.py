"""Box arithmetic: areas, overlaps, clipping and the box coder.

Boxes are xyxy in pixels, in any float dtype but best float32. GLIP inherits
from early detectors the inclusive-pixel convention, in which x2 is the last
pixel *inside* the box and a width is x2 - x1 + 1. `offset=1.0` selects it;
`offset=0.0` treats boxes as continuous. Anchors and the coder always use it.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glip_jax.ops import precision

# Weights of (dx, dy, dw, dh), and the largest log ratio of sizes that the
# coder emits: both as in Faster R-CNN and in GLIP's coder.
_CENTRE_WEIGHT = 10.0
_SIZE_WEIGHT = 5.0
_MAX_LOG_RATIO = math.log(1000.0 / 16.0)


def box_sizes(
    boxes: Float[Array, '*n 4'], *, offset: float = 0.0
) -> Float[Array, '*n 2']:
  """Returns (width, height) of boxes; `offset` is added to both."""
  return boxes[..., 2:] - boxes[..., :2] + offset


def box_centres(boxes: Float[Array, '*n 4']) -> Float[Array, '*n 2']:
  """Returns (x, y) of the midpoints between the corners."""
  return (boxes[..., :2] + boxes[..., 2:]) / 2


def box_area(
    boxes: Float[Array, '*n 4'], *, offset: float = 0.0
) -> Float[Array, '*n']:
  """Returns areas in square pixels; `offset` is added to both sides."""
  return jnp.prod(box_sizes(boxes, offset=offset), axis=-1)


def pairwise_iou(
    boxes: Float[Array, '*b n 4'],
    others: Float[Array, '*b m 4'],
    *,
    offset: float = 0.0,
) -> Float[Array, '*b n m']:
  """Intersection over union of every box with every other.

  Args:
    boxes: xyxy.
    others: xyxy.
    offset: 1.0 for the inclusive-pixel convention of GLIP's assignment and
      suppression, 0.0 for continuous boxes.

  Returns:
    Overlaps in [0, 1]; 0 where both boxes are empty.
  """
  top_left = jnp.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
  bottom_right = jnp.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
  sides = jnp.maximum(bottom_right - top_left + offset, 0.0)
  intersection = sides[..., 0] * sides[..., 1]
  areas = box_area(boxes, offset=offset)[..., :, None]
  union = areas + box_area(others, offset=offset)[..., None, :] - intersection
  # Two empty boxes have no union: answer 0, not 0 / 0.
  safe_union = jnp.where(union > 0, union, 1.0)
  return jnp.where(union > 0, intersection / safe_union, 0.0)


def generalized_iou(
    boxes: Float[Array, '*#n 4'],
    others: Float[Array, '*#n 4'],
    *,
    epsilon: float = 1e-7,
) -> Float[Array, '*#n']:
  """Generalised IoU of boxes with others, elementwise with broadcasting.

  Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630, on continuous
  boxes. As in GLIP's loss, `boxes` whose corners are crossed count as empty
  at their top-left corner, and `epsilon` joins both denominators.

  Args:
    boxes: xyxy predictions; their corners may be crossed.
    others: xyxy, not crossed.
    epsilon: guard of the denominators, in square pixels.

  Returns:
    Values in (-1, 1].
  """
  top_left = boxes[..., :2]
  bottom_right = jnp.maximum(top_left, boxes[..., 2:])
  sides = jnp.minimum(bottom_right, others[..., 2:]) - jnp.maximum(
      top_left, others[..., :2]
  )
  intersection = jnp.prod(jnp.maximum(sides, 0.0), axis=-1)
  hull = jnp.maximum(bottom_right, others[..., 2:]) - jnp.minimum(
      top_left, others[..., :2]
  )
  hull_area = jnp.prod(hull, axis=-1) + epsilon
  area = jnp.prod(bottom_right - top_left, axis=-1)
  union = area + box_area(others) - intersection + epsilon
  return intersection / union - (hull_area - union) / hull_area


def pairwise_generalized_iou(
    boxes: Float[Array, '*b n 4'],
    others: Float[Array, '*b m 4'],
) -> Float[Array, '*b n m']:
  """Generalised IoU of every box with every other; see `generalized_iou`."""
  return generalized_iou(boxes[..., :, None, :], others[..., None, :, :])


def to_centre(boxes: Float[Array, '*n 4']) -> Float[Array, '*n 4']:
  """Turns edges x1, y1, x2, y2 into centre and sides, in the same unit."""
  return jnp.concatenate([box_centres(boxes), box_sizes(boxes)], axis=-1)


def from_centre(boxes: Float[Array, '*n 4']) -> Float[Array, '*n 4']:
  """Turns centre and sides x, y, w, h into edges: undoes `to_centre`."""
  centres, halves = boxes[..., :2], boxes[..., 2:] / 2
  return jnp.concatenate([centres - halves, centres + halves], axis=-1)


def to_relative(
    boxes: Float[Array, 'b n 4'], size: Int[Array, 'b 2']
) -> Float[Array, 'b n 4']:
  """Turns edges in pixels into (cx, cy, w, h) in [0, 1] of each image.

  Args:
    boxes: xyxy.
    size: (h, w) of each image; 0 counts as 1.
  """
  return to_centre(boxes / _image_sides(boxes, size))


def from_relative(
    boxes: Float[Array, 'b n 4'], size: Int[Array, 'b 2']
) -> Float[Array, 'b n 4']:
  """Turns (cx, cy, w, h) in [0, 1] into edges: undoes `to_relative`."""
  return from_centre(boxes) * _image_sides(boxes, size)


def _image_sides(
    boxes: Float[Array, 'b n 4'], size: Int[Array, 'b 2']
) -> Float[Array, 'b 1 4']:
  """(w, h, w, h) of each image."""
  sides = jnp.tile(jnp.maximum(size, 1)[:, None, ::-1], 2)
  return sides.astype(boxes.dtype)


def clip_boxes(
    boxes: Float[Array, 'b k 4'], size: Int[Array, 'b 2']
) -> Float[Array, 'b k 4']:
  """Clips boxes to the pixels of their image.

  Args:
    boxes: xyxy.
    size: (h, w) of each image.

  Returns:
    Boxes with corners in [0, w - 1] and [0, h - 1], as GLIP clips them.
  """
  last = (size[:, ::-1] - 1).astype(boxes.dtype)
  limit = jnp.concatenate([last, last], axis=-1)[:, None, :]
  return jnp.clip(boxes, 0.0, limit)


def encode_boxes(
    boxes: Float[Array, '*n 4'], anchors: Float[Array, '*n 4']
) -> Float[Array, '*n 4']:
  """Expresses boxes relative to anchors: the inverse of `decode_boxes`.

  Args:
    boxes: xyxy of positive inclusive width and height.
    anchors: xyxy in the inclusive-pixel convention.

  Returns:
    Weighted (dx, dy, dw, dh), without unit.
  """
  anchor_sizes = box_sizes(anchors, offset=1.0)
  shift = (box_centres(boxes) - box_centres(anchors)) / anchor_sizes
  ratio = box_sizes(boxes, offset=1.0) / anchor_sizes
  return jnp.concatenate(
      [_CENTRE_WEIGHT * shift, _SIZE_WEIGHT * jnp.log(ratio)], axis=-1
  )


def decode_boxes(
    deltas: Float[Array, '*#n 4'], anchors: Float[Array, '*#n 4']
) -> Float[Array, '*#n 4']:
  """Turns regressed deltas into boxes; computed in float32.

  The coder of GLIP: centres move by `delta / 10` anchor sizes, sizes are
  scaled by `exp(delta / 5)` and by at most 62.5.

  Args:
    deltas: (dx, dy, dw, dh), in any float dtype.
    anchors: xyxy in the inclusive-pixel convention; broadcast against deltas.

  Returns:
    float32 boxes, xyxy in the inclusive-pixel convention, not clipped.
  """
  deltas = precision.widen(deltas)
  anchor_sizes = box_sizes(anchors, offset=1.0)
  shift = deltas[..., :2] / _CENTRE_WEIGHT
  log_ratio = jnp.minimum(deltas[..., 2:] / _SIZE_WEIGHT, _MAX_LOG_RATIO)
  centres = shift * anchor_sizes + box_centres(anchors)
  half_sizes = 0.5 * (jnp.exp(log_ratio) * anchor_sizes - 1.0)
  return jnp.concatenate([centres - half_sizes, centres + half_sizes], axis=-1)
