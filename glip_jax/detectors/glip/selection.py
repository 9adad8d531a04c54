"""From scores of all regions to the few detections of an image.

Static in shape; ties go to the region that comes first.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from glip_jax.ops import nms
from glip_jax.types import Detections


def select(
    scores: Float[Array, 'r c'],
    boxes: Float[Array, 'r 4'],
    *,
    level_sizes: tuple[tuple[int, int], ...],
    pre_nms_top_k: int,
    nms_threshold: float | Float[Array, ''],
    max_detections: int,
) -> Detections:
  """The best detections of one image after suppression, best first.

  Args:
    scores: of each region and phrase, before the root; below 0 where the pair
      is no candidate.
    boxes: xyxy, up to their last pixel.
    level_sizes: (h, w) of each pyramid level.
    pre_nms_top_k: candidates per level.
    nms_threshold: IoU above which the worse of two boxes goes.
    max_detections: size k of the result.

  Returns:
    Detections without batch axis, their boxes as given and of any value where
    not valid.
  """
  found, start = [], 0
  for height, width in level_sizes:
    level = lax.slice_in_dim(scores, start, start + height * width)
    best, region, label = _best_pairs(level, pre_nms_top_k)
    found.append((best, region + start, label))
    start += height * width
  best, region, label = (jnp.concatenate(x) for x in zip(*found, strict=True))
  candidate, best = best >= 0, jnp.sqrt(jnp.maximum(best, 0.0))
  kept = nms.non_max_suppression(
      boxes[region],
      best,
      label,
      candidate,
      threshold=nms_threshold,
      max_outputs=max_detections,
  )
  valid = kept >= 0
  return Detections(
      boxes=boxes[region[kept]],
      scores=jnp.where(valid, best[kept], 0.0),
      labels=jnp.where(valid, label[kept], 0),
      valid=valid,
  )


def _best_pairs(
    scores: Float[Array, 'r c'], top_k: int
) -> tuple[Float[Array, 'k'], Int[Array, 'k'], Int[Array, 'k']]:
  """(score, region, phrase) of the best entries, ties in order of the regions.

  The best k entries lie in the k regions whose own best entries are best, so
  a short top-k over regions spares a long one over all entries; regions stay
  in order, which keeps ties as they would be without this step.
  """
  regions, num_phrases = jnp.arange(scores.shape[0]), scores.shape[1]
  if regions.size > top_k:
    regions = jnp.sort(lax.top_k(jnp.max(scores, axis=1), top_k)[1])
    scores = scores[regions]
  best, index = lax.top_k(scores.reshape(-1), min(top_k, scores.size))
  return best, regions[index // num_phrases], index % num_phrases
