"""Images to look at: what is there beside what was found."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from glip_jax import draw, types
from glip_jax.data import pipeline, settings
from glip_jax.data.sources import protocol
from glip_jax.evaluators import unpack

MIN_SCORE = 0.3
_MOST_BOXES = 20  # More hide the image.
_LONG_SIDE = 640  # Pixels; photographs of many megapixels are drawn smaller.


def prediction_sheet(
    source: protocol.Source,
    detect: Callable[[types.Batch], types.Detections],
    *,
    data: settings.Config,
    batch_size: int,
    num_images: int = 8,
    min_score: float = MIN_SCORE,
) -> Image.Image:
  """The first images of an evaluation, truth beside predictions.

  Args:
    source: what is evaluated on.
    detect: detections of a batch, boxes in input pixels.
    data: `config.data`: canvas and tokens of the pipeline.
    batch_size: records in a batch of this process.
    num_images: how many; fewer if there are not so many.
    min_score: detections below it are not drawn, nor is any that a better one
      of whatever label overlaps.
  """
  # A few images are read before workers would have started.
  data = dataclasses.replace(settings.read_data(data), num_workers=0)
  batches = pipeline.eval_batches(source, data, batch_size=batch_size)
  drawn = _draw(source, detect, batches, min_score)
  return draw.sheet(list(itertools.islice(drawn, num_images)), columns=2)


def best_per_place(
    boxes: Float[np.ndarray, 'k 4'],
    scores: Float[np.ndarray, 'k'],
    *,
    max_iou: float = 0.5,
) -> list[int]:
  """Indices of the detections that no better one of any label overlaps.

  AP wants every label of an object with its score; an image with all of them
  cannot be read.

  Args:
    boxes: xyxy.
    scores: of each box.
    max_iou: overlap above which only the better of two boxes stays.

  Returns:
    Indices, best first.
  """
  area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
  kept: list[int] = []
  for i in np.argsort(-scores, kind='stable'):
    low = np.maximum(boxes[i, :2], boxes[kept, :2])
    high = np.minimum(boxes[i, 2:], boxes[kept, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    if not (shared > max_iou * (area[i] + area[kept] - shared)).any():
      kept.append(int(i))
  return kept


def _draw(
    source: protocol.Source,
    detect: Callable[[types.Batch], types.Detections],
    batches: Iterable[types.Batch],
    min_score: float,
) -> Iterator[Image.Image]:
  for batch in batches:
    for found in unpack.unpack(batch, detect(batch), unknown=True):
      record = source[found.index]
      name = record.text.name
      chosen = [
          i
          for i in best_per_place(found.boxes, found.scores)[:_MOST_BOXES]
          if found.scores[i] >= min_score
      ]
      image, factor = _shrink(record.image)
      yield draw.truth_beside_predictions(
          image,
          (record.boxes * factor, [name(i) for i in record.phrase]),
          (
              found.boxes[chosen] * factor,
              [name(i) for i in found.labels[chosen]],
              found.scores[chosen].tolist(),
          ),
          caption=record.text.caption,
      )


def _shrink(
    image: UInt8[np.ndarray, 'h w 3'],
) -> tuple[Image.Image, float]:
  """The image at no more than `_LONG_SIDE`, and the factor."""
  drawn = Image.fromarray(image)
  factor = min(_LONG_SIDE / max(drawn.size), 1.0)
  if factor < 1:
    size = [max(round(side * factor), 1) for side in drawn.size]
    drawn = drawn.resize(size, Image.Resampling.BILINEAR)
  return drawn, factor
