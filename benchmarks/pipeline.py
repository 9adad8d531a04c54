"""Images per second and core of the input pipeline, by stage.

  python -m benchmarks.pipeline [--images=200]

JPEGs of 640 x 480 are read, decoded, mirrored, resized to 800 x 1067, given a
prompt, padded, made batches of eight and moved to the device, by one thread,
exactly and fast in turns. `all` is a stream as training has it, with the
threads of one process.
"""

import argparse
import itertools
import json
import pathlib
import tempfile
import time

import jax
import numpy as np
from PIL import Image

from glip_jax.data import fitting, images, settings, stream, transforms
from glip_jax.data.training_sources import open_training
from glip_jax.training import sharding

_SIZE = (480, 640)
_BUCKET = (800, 1088, 256)
_BATCH = 8


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--images', type=int, default=200)
  count = parser.parse_args().images
  with tempfile.TemporaryDirectory() as folder:
    _write(pathlib.Path(folder), count)
    rows = {}
    for _ in range(2):  # In turns: the machine may change its mind.
      for fast in (False, True):
        for stage, seconds in _stages(folder, count, fast=fast).items():
          key = stage, fast
          rows[key] = min(rows.get(key, np.inf), seconds)
  print(f'{"stage":10} {"exact ms":>9} {"fast ms":>9} {"ratio":>6}')
  for stage in dict.fromkeys(stage for stage, _ in rows):
    exact, fast = rows[stage, False], rows[stage, True]
    print(
        f'{stage:10} {1e3 * exact:9.2f} {1e3 * fast:9.2f} {exact / fast:6.2f}'
    )
  exact, fast = rows['all', False], rows['all', True]
  print(f'images/s: exact {1 / exact:.0f}, fast {1 / fast:.0f}')


def _write(folder: pathlib.Path, count: int):
  """Pictures with detail at every scale, as photographs have."""
  rng = np.random.default_rng(0)
  entries, boxes = [], []
  for number in range(count):
    pixels = np.zeros((*_SIZE, 3))
    for side in (4, 16, 64, 256):
      noise = rng.normal(0, 40, (side * 3 // 4, side, 3))
      layer = Image.fromarray(np.clip(128 + noise, 0, 255).astype(np.uint8))
      pixels += np.asarray(layer.resize(_SIZE[::-1], Image.BICUBIC)) / 4.0
    name = f'{number}.jpg'
    Image.fromarray(pixels.astype(np.uint8)).save(folder / name, quality=90)
    entries.append(
        dict(id=number, file_name=name, height=_SIZE[0], width=_SIZE[1])
    )
    for _ in range(7):
      boxes.append(
          dict(
              id=len(boxes) + 1,
              image_id=number,
              category_id=int(rng.integers(1, 7)),
              bbox=[50, 60, 100, 120],
          )
      )
  names = ('red', 'green', 'blue', 'circle', 'star', 'square')
  content = dict(
      images=entries,
      annotations=boxes,
      categories=[dict(id=i, name=n) for i, n in enumerate(names, 1)],
  )
  (folder / 'train.json').write_text(json.dumps(content))


def _stages(folder: str, count: int, *, fast: bool) -> dict[str, float]:
  """Seconds of one image in each stage."""
  data = settings.read_data(
      dict(
          train=dict(annotations=f'{folder}/train.json', images=folder),
          tokenizer='shapes',
          num_phrases=8,
          image_size=(1344, 1344),
          resize=(800, 1333),
          buckets=(_BUCKET,),
          augment=dict(flip=0.5),
          draw_names=dict(on=True),
          fast_images=fast,
      )
  )
  sources = open_training(data)
  source = sources.train[0].source
  (fit,) = fitting.fits(data)
  flip = transforms.Flip(1.0)
  rng, mesh = np.random.default_rng(0), sharding.make_mesh({'data': 1})
  stages = 'read decode flip resize tokenise element batch move'.split()
  spent = {stage: [] for stage in stages}
  elements = []
  for number in range(count):
    clock = _Clock(spent)
    file = pathlib.Path(folder, f'{number}.jpg').read_bytes()
    clock.lap('read')
    with fit.decoding():
      image, _ = images.read_moderate(file)
    clock.lap('decode')
    record = source.truth(number).of(image, number)
    clock.skip()
    record = flip.random_map(record, rng)
    clock.lap('flip')
    record = fit.resize.map(record)
    clock.lap('resize')
    fit.element.encode(record.text)
    clock.lap('tokenise')
    elements.append(fit.element.map(record))
    clock.lap('element')
    if len(elements) == _BATCH:
      batch = jax.tree.map(lambda *rows: np.stack(rows), *elements)
      clock.lap('batch')
      jax.block_until_ready(sharding.put_batch(batch, mesh))
      clock.lap('move')
      elements = []
  # The middle of all images: others may use the machine at times.
  times = {stage: float(np.median(each)) for stage, each in spent.items()}
  for stage in ('batch', 'move'):
    times[stage] /= _BATCH
  batches = stream.train_stream(sources, data, batch_size=_BATCH, seed=0)
  next(batches)
  began = time.perf_counter()
  done = sum(
      len(batch.id)
      for batch in itertools.islice(batches, max(count // _BATCH, 1))
  )
  times['all'] = (time.perf_counter() - began) / done
  batches.close()
  return times


class _Clock:
  """Adds the time since the last lap to a stage."""

  def __init__(self, spent: dict[str, list[float]]):
    self._spent = spent
    self.skip()

  def skip(self):
    """Counts what was done since the last lap for nothing."""
    self._last = time.perf_counter()

  def lap(self, stage: str):
    """Counts it for a stage."""
    now = time.perf_counter()
    self._spent[stage].append(now - self._last)
    self._last = now


if __name__ == '__main__':
  main()
