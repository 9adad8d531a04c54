"""Pictures to look at: what is there beside what was found."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from glip_jax import draw, types
from glip_jax.data import pipeline, sources
from glip_jax.evaluators import unpack

MIN_SCORE = 0.3
_MOST_BOXES = 20  # More hide the picture.


def prediction_sheet(
    spec: Mapping[str, Any],
    predict: Callable[[types.Batch], types.Detections],
    *,
    data: Mapping[str, Any],
    num_pictures: int = 8,
    min_score: float = MIN_SCORE,
) -> Image.Image:
  """The first pictures of an evaluation, truth beside predictions.

  Args:
    spec: an entry of `config.evals`: `data` (a source spec), `batch_size`.
    predict: detections of a batch, boxes in input pixels.
    data: `config.data`: canvas and tokens of the pipeline.
    num_pictures: how many; fewer if there are not so many.
    min_score: detections below it are not drawn.
  """
  pictures = []
  for picture in _pictures(spec, predict, data, min_score):
    pictures.append(picture)
    if len(pictures) == num_pictures:
      break
  return draw.sheet(pictures, columns=2)


def _pictures(
    spec: Mapping[str, Any],
    predict: Callable[[types.Batch], types.Detections],
    data: Mapping[str, Any],
    min_score: float,
) -> Iterator[Image.Image]:
  bad_records = data.get('bad_records', 'skip')
  source = sources.build_source(spec['data'], bad_records=bad_records)
  batches = pipeline.eval_batches(source, data, batch_size=spec['batch_size'])
  for batch in batches:
    for found in unpack.unpack(batch, predict(batch)):
      record = source[found.index]
      names = record.text.phrases
      order = np.argsort(-found.scores, kind='stable')[:_MOST_BOXES]
      chosen = [i for i in order if found.scores[i] >= min_score]
      yield draw.truth_beside_predictions(
          record.image,
          (record.boxes, [names[i] for i in record.phrase]),
          (
              found.boxes[chosen],
              [names[i] for i in found.labels[chosen]],
              found.scores[chosen].tolist(),
          ),
          caption=record.text.caption,
      )
