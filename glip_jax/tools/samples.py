"""A sheet of samples of a source, as they reach the model."""

import dataclasses
import itertools
import os
from collections.abc import Iterator

import grain
from absl import logging
from PIL import Image

from glip_jax import draw, errors, types
from glip_jax.data import pipeline, settings, vocabularies
from glip_jax.data.reading import Reader
from glip_jax.data.training_sources import Opened, TrainingSources
from glip_jax.text.tokenizer import load_tokenizer

# Of the longer side, pixels: canvases of training may be larger.
_LONG_SIDE = 720


def write(
    path: str | os.PathLike[str],
    opened: Opened,
    data: settings.Data,
    count: int,
    *,
    trains: bool,
) -> bool:
  """Draws the first samples of a stream: canvas, boxes, phrases, prompt.

  Args:
    path: of the image that is written.
    opened: a source and how it is used.
    data: `config.data`.
    count: of samples.
    trains: as training changes and names them; else as evaluation reads them.

  Returns:
    Whether there is a sheet: without a sample that can be read there is none.
  """
  tokenizer = load_tokenizer(data.tokenizer)
  tiles = []
  try:
    batches = _trained(opened, data) if trains else _evaluated(opened, data)
    for batch in itertools.islice(batches, count):
      tile = draw.input_sheet(batch, tokenizer)
      tile.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.LANCZOS)
      tiles.append(tile)
  except errors.UserError as error:
    logging.warning('%s has fewer samples: %s', path, error)
  if tiles:
    draw.sheet(tiles).save(path)
  return bool(tiles)


def _trained(opened: Opened, data: settings.Data) -> Iterator[types.Batch]:
  """Batches of one, as a training stream of this source alone has them."""
  data = dataclasses.replace(data, bad_records='skip')
  drawn = settings.drawn(data, opened.spec)
  if drawn.on:
    vocabulary = vocabularies.read(opened.source, data, drawn)
    opened = dataclasses.replace(opened, vocabulary=vocabulary)
  sources = TrainingSources(train=(opened,), curriculum=())
  reader = Reader(sources, data, seed=0)
  for position in itertools.count():
    element = reader.read(position, reader.choose(position))
    yield grain.MapDataset.source([element]).batch(1)[0]


def _evaluated(opened: Opened, data: settings.Data) -> Iterator[types.Batch]:
  """Batches of one, as an evaluation has them; broken records left out."""
  data = dataclasses.replace(data, bad_records='skip', num_workers=0)
  for batch in pipeline.eval_batches(opened.source, data, batch_size=1):
    if batch.id[0] >= 0:
      yield batch
