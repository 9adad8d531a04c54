"""A long vocabulary: images encoded once against once for each prompt.

  python -m benchmarks.vocabulary --images=FOLDER --tokenizer=vocab.txt
      [--variant=T] [--count=3] [--chunk_names=40,20] [--chunks=0]

The first images of a folder are asked for the 1203 names of LVIS v1, as
tensorflow-datasets has them, in the canvases and prompts of `configs/lvis.py`.
Weights are random. Both ways take turns, prompt by prompt, and must find the
same. `bound` is what the times of the parts allow. With `--chunks` only so many
prompts are asked for, and the time of all is reckoned from them.
"""

import json
import pathlib
import resource
import tempfile
import time

import jax
import numpy as np
import tensorflow_datasets
from absl import flags
from PIL import Image

from benchmarks import inputs, timing
from configs import lvis as lvis_config
from glip_jax import configuring, serving, types
from glip_jax.data import pipeline, settings, vocabularies
from glip_jax.data.sources.coco import CocoSource
from glip_jax.detectors import recipe as recipes
from glip_jax.evaluators import chunked
from glip_jax.training import sharding, state

VARIANT = flags.DEFINE_string('variant', 'T', 'Name of a model.')
IMAGES = flags.DEFINE_string('images', None, 'Folder of JPEGs.', required=True)
TOKENIZER = flags.DEFINE_string('tokenizer', 'bert-base-uncased', 'Of text.')
COUNT = flags.DEFINE_integer('count', 3, 'Images of the batch.')
CHUNK_NAMES = flags.DEFINE_list('chunk_names', ['40'], 'Names in a prompt.')
CHUNKS = flags.DEFINE_integer('chunks', 0, 'Prompts that are timed; 0: all.')


def main(_):
  timing.start()
  config = lvis_config.get_config(VARIANT.value)
  with tempfile.TemporaryDirectory() as folder:
    source = _source(pathlib.Path(IMAGES.value), pathlib.Path(folder))
    detector = None
    for size in map(int, CHUNK_NAMES.value):
      data = settings.read_data(
          config.data.to_dict()
          | dict(tokenizer=TOKENIZER.value, chunk_names=size, num_workers=0)
      )
      detector = detector or _detector(config, data)
      _compare(detector, source, data)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  print(f'most memory of the process: {peak / 1e6:.2f} GB')


def _source(images: pathlib.Path, folder: pathlib.Path) -> CocoSource:
  """The first images of one orientation, under the names of LVIS."""
  package = pathlib.Path(tensorflow_datasets.__file__).parent
  names = (package / 'datasets/lvis/classes.txt').read_text().split('\n')
  entries = []
  for path in sorted(images.glob('*.jpg')):
    with Image.open(path) as image:
      width, height = image.size
    if (width, height) == (640, 480) and len(entries) < COUNT.value:
      entries.append(
          dict(id=len(entries), file_name=path.name, height=480, width=640)
      )
  content = dict(
      images=entries,
      annotations=[
          dict(id=i + 1, image_id=i, category_id=1, bbox=[9, 9, 99, 99])
          for i in range(len(entries))
      ],
      categories=[dict(id=i, name=n) for i, n in enumerate(names, 1)],
  )
  (folder / 'names.json').write_text(json.dumps(content))
  return CocoSource(annotations=folder / 'names.json', images=images)


def _detector(config, data: settings.Data) -> serving.Detector:
  recipe = recipes.build(config.model)
  params = inputs.params(recipe.init, state.blank_batch(data))
  return serving.Detector(recipe, sharding.make_mesh({'data': 1}), params)


def _compare(
    detector: serving.Detector, source: CocoSource, data: settings.Data
) -> None:
  """Times both ways, and prints a row of the table."""
  chunks = vocabularies.split(source, data)
  (batch,) = pipeline.eval_batches(source, data, batch_size=COUNT.value)
  element = settings.to_element(data)
  prompts = [
      (chunk.first, chunked.row(element.encode(chunk.text)))
      for chunk in chunks[: CHUNKS.value or None]
  ]
  _way_of_each(detector, batch, prompts[0][1])  # Compiled.
  features = jax.block_until_ready(detector.encode_image(batch))
  _ground(detector, features, batch, prompts[0][1])
  features, image_seconds = _timed(detector.encode_image, batch)
  _, text = _timed(lambda: [detector.encode_text(p) for _, p in prompts])
  once, each, found = [], [], []
  for first, prompt in prompts:
    rows, seconds = _timed(_ground, detector, features, batch, prompt)
    once.append(seconds)
    others, seconds = _timed(_way_of_each, detector, batch, prompt)
    each.append(seconds)
    found.append((first, rows, others))
  _check_same(found)
  _, again = _timed(detector.encode_image, batch)
  image = min(image_seconds, again)
  share = len(chunks) / len(prompts)
  total_once = image + share * (text + sum(once))
  total_each = share * (text + sum(each))
  size = sum(x.nbytes for x in jax.tree.leaves(features))
  print(
      f'{VARIANT.value}, {COUNT.value} images of {batch.image.shape[1]} x'
      f' {batch.image.shape[2]}, {data.chunk_names} names:'
      f' {len(chunks)} prompts, {len(prompts)} timed\n'
      f'  images {image:.2f} s, kept as {size / 1e6:.0f} MB; text'
      f' {share * text:.2f} s; a prompt {np.median(once):.2f} s, with its'
      f' images {np.median(each):.2f} s\n'
      f'  once {total_once:.1f} s, for each prompt {total_each:.1f} s,'
      f' ratio {total_once / total_each:.3f}, bound'
      f' {1 - image * (len(chunks) - 1) / total_each:.3f}',
      flush=True,
  )


def _ground(detector, features, batch, prompt) -> types.Detections:
  return jax.device_get(detector.ground(features, batch, prompt))


def _way_of_each(detector, batch, prompt) -> types.Detections:
  """A whole pass for one prompt, as of an evaluation that has no other."""
  prompts = jax.tree.map(
      lambda x: np.broadcast_to(x, (len(batch.id), *x.shape[1:])), prompt
  )
  whole = batch.replace(prompt=prompts)
  return jax.device_get(detector.detect(whole, same_prompt=True))


def _check_same(found) -> None:
  """Both ways must find the same, to float rounding."""
  once = chunked.join([(first, rows) for first, rows, _ in found])
  each = chunked.join([(first, rows) for first, _, rows in found])
  np.testing.assert_array_equal(once.valid, each.valid)
  np.testing.assert_allclose(once.scores, each.scores, atol=1e-5)
  same = np.mean(np.where(once.valid, once.labels == each.labels, True))
  moved = np.abs(once.boxes - each.boxes)[once.labels == each.labels].max()
  print(
      f'found {int(once.valid.sum())} by both; scores differ by'
      f' {np.abs(once.scores - each.scores).max():.1e}, boxes of the same rank'
      f' by {moved:.1e} pixels; {same:.2%} of ranks have the same label'
  )


def _timed(run, *arguments):
  start = time.perf_counter()
  result = jax.block_until_ready(run(*arguments))
  return result, time.perf_counter() - start


if __name__ == '__main__':
  configuring.run(main)
