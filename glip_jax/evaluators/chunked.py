"""Detection by a vocabulary that takes several prompts.

Images are encoded once, each prompt once for all images; every prompt is asked
for in all of them, and what is found is joined by its score.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from glip_jax import types
from glip_jax.data.class_captions import ToCaptions
from glip_jax.data.element import ToElement
from glip_jax.text.chunks import Chunk

# Of an image, over all prompts, where an evaluator says nothing else.
MOST = 300


class Chunked:
  """Detections of batches by several prompts."""

  def __init__(
      self,
      detector: Any,
      chunks: Sequence[Chunk],
      element: ToElement | ToCaptions,
      *,
      most: int | None = MOST,
  ):
    """Encodes the prompts.

    Args:
      detector: a `protocols.Detector`.
      chunks: from `vocabularies.split`.
      element: what encodes them: of the length of batches, or as captions.
      most: detections of an image that are kept; None keeps all that the
        prompts give.
    """
    self._detector, self._most = detector, most
    self._chunks = [
        (chunk.first, row(element.encode(chunk.text))) for chunk in chunks
    ]

  def __call__(self, batch: types.Batch) -> types.Detections:
    """The best detections of all prompts, labelled by the whole vocabulary.

    Args:
      batch: its prompt is not read.
    """
    features = self._detector.encode_image(batch)
    # Asked for all before the first is waited for.
    found = [
        (first, self._detector.ground(features, batch, prompt))
        for first, prompt in self._chunks
    ]
    return join(found, self._most)


def join(
    found: Sequence[tuple[int, types.Detections]], most: int | None = MOST
) -> types.Detections:
  """The best of the detections of several prompts for the same images.

  Args:
    found: label of the first name of each prompt, and what was found by it.
    most: as for `Chunked`.

  Returns:
    At most `most` of each image, best first, as numpy arrays.
  """
  boxes = np.concatenate([np.asarray(d.boxes) for _, d in found], axis=1)
  valid = np.concatenate([np.asarray(d.valid) for _, d in found], axis=1)
  scores = np.concatenate([np.asarray(d.scores) for _, d in found], axis=1)
  labels = np.concatenate(
      [
          np.where(np.asarray(d.labels) < 0, -1, np.asarray(d.labels) + first)
          for first, d in found
      ],
      axis=1,
  )
  # Stable: of equal scores the prompt that came first.
  order = np.argsort(np.where(valid, -scores, np.inf), axis=1, kind='stable')
  order = order[:, :most]
  pick = lambda array: np.take_along_axis(array, order, axis=1)
  return types.Detections(
      boxes=np.take_along_axis(boxes, order[..., None], axis=1),
      scores=pick(scores),
      labels=pick(labels),
      valid=pick(valid),
  )


def row(
    prompt: types.Prompt | types.ClassCaptions,
) -> types.Prompt | types.ClassCaptions:
  """What a detector is given for an encoded prompt: captions, or one row."""
  if isinstance(prompt, types.ClassCaptions):
    return prompt
  return types.Prompt(
      ids=prompt.ids[None], mask=prompt.mask[None], spans=prompt.spans[None]
  )
