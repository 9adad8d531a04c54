"""Boxes, suppression and assignment as plain numpy loops: what tests trust."""

import numpy as np


def iou(box, other, offset):
  """IoU of two boxes."""
  width = min(box[2], other[2]) - max(box[0], other[0]) + offset
  height = min(box[3], other[3]) - max(box[1], other[1]) + offset
  if width <= 0 or height <= 0:
    return 0.0
  areas = [
      (b[2] - b[0] + offset) * (b[3] - b[1] + offset) for b in (box, other)
  ]
  return width * height / (sum(areas) - width * height)


def non_max_suppression(boxes, scores, labels, valid, threshold):
  """Indices kept by sequential suppression, best first."""
  kept = []
  for i in sorted(np.flatnonzero(valid), key=lambda i: (-scores[i], i)):
    if all(
        labels[i] != labels[j] or iou(boxes[i], boxes[j], 1.0) <= threshold
        for j in kept
    ):
      kept.append(int(i))
  return kept


def assign_atss(anchors, anchor_valid, boxes, box_valid, level_sizes, top_k):
  """Index of the box of each anchor, -1 for none."""
  anchors, boxes = np.asarray(anchors, float), np.asarray(boxes, float)
  centres = (anchors[:, :2] + anchors[:, 2:]) / 2
  owner, owner_iou = np.full(len(anchors), -1), np.zeros(len(anchors))
  for m in np.flatnonzero(box_valid):
    middle = (boxes[m, :2] + boxes[m, 2:]) / 2
    candidates, start = [], 0
    for height, width in level_sizes:
      own = [i for i in range(start, start + height * width) if anchor_valid[i]]
      own.sort(key=lambda i: np.sum((centres[i] - middle) ** 2))
      candidates += own[:top_k]
      start += height * width
    overlaps = [iou(anchors[i], boxes[m], 1.0) for i in candidates]
    threshold = np.mean(overlaps) + np.std(overlaps, ddof=1)
    for i, overlap in zip(candidates, overlaps, strict=True):
      margin = min(*(centres[i] - boxes[m, :2]), *(boxes[m, 2:] - centres[i]))
      if overlap >= threshold and margin > 0.01:
        if owner[i] < 0 or overlap > owner_iou[i]:
          owner[i], owner_iou[i] = m, overlap
  return owner


def random_boxes(rng, shape, height, width):
  """Boxes xyxy, float32, that lie in a picture and are 4 pixels or larger."""
  corners = rng.uniform(0, 0.8, (*shape, 2)) * [width, height]
  sides = 4 + rng.uniform(0, 0.9, (*shape, 2)) * [width, height]
  far = np.minimum(corners + sides, [width - 1, height - 1])
  return np.concatenate([np.minimum(corners, far - 4), far], -1).astype(
      np.float32
  )
