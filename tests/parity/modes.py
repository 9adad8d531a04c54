"""Evaluation of LVIS by chunks of names, of Flickr by phrases, and in views.

All are of a single image, so its extent is its size rounded up to 32.
"""

import dataclasses
import functools
import json
import os
import pathlib

import abstract_models
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from glip_jax import serving, types
from glip_jax.data import pipeline, settings
from glip_jax.data.sources import table
from glip_jax.evaluators import detecting, merging, unpack
from glip_jax.evaluators import views as views_lib
from glip_jax.text import chunks, prompts
from glip_jax.text import tokenizer as tokenizers_lib
from glip_jax.training import sharding
from parity import detections, reference

FOLDER = reference.GOLDEN / 'nano'
# Boxes are of the original image, three times the size of the input.
BOX = 3 * detections.BOX


def lvis() -> dict[str, float]:
  """Share of detections matched one to one in each chunk of names."""
  stored = np.load(FOLDER / 'lvis_mode.npz')
  names = json.loads(str(stored['categories_json']))
  split = chunks.split_names(names, 4)
  found = _detect('nanoB', [text for _, text in split], int(stored['max_dets']))
  shares = {}
  for i, ((first, _), image) in enumerate(zip(split, found, strict=True)):
    want = detections.stored(stored, f'chunk{i}_{{}}', boxes='boxes_orig_px')
    # Labels of the original count from 1.
    mine = (image.boxes, image.scores, first + 1 + image.labels)
    shares[f'chunk {i}'] = detections.matched(want, mine, box=BOX)
  return shares


def flickr() -> dict[str, float]:
  """Share of boxes matched one to one for each phrase of a sentence."""
  stored = json.loads((FOLDER / 'flickr_mode.json').read_text())
  text = prompts.from_caption(stored['caption'], stored['tokens_positive'])
  (image,) = _detect('nanoL', [text], 100)
  shares = {}
  for phrase, (*boxes, empty) in enumerate(stored['out_boxes_orig_px']):
    # The original adds an empty box to every phrase.
    assert empty == [0, 0, 0, 0]
    boxes = reference.to_edges(np.reshape(boxes, (-1, 4)).astype(float))
    want = (boxes, stored['out_scores'][phrase], np.full(len(boxes), phrase))
    own = image.labels == phrase
    mine = (image.boxes[own], image.scores[own], image.labels[own])
    shares[f'phrase {phrase}'] = detections.matched(want, mine, box=BOX)
  return shares


def _detect(
    name: str, texts: list[prompts.TextPrompt], max_detections: int
) -> list[unpack.ImageDetections]:
  """Detections of the stored image with each prompt, original pixels."""
  stored = np.load(FOLDER / 'lvis_mode.npz')
  image = stored['image'].transpose(0, 2, 3, 1)
  image = np.repeat(image, len(texts), axis=0)
  prompt = prompts.stack(
      [prompts.encode(text, tokenizer(), num_phrases=4) for text in texts]
  )
  rows = lambda x: jnp.asarray(np.tile(x, (len(texts), 1)))
  ratio = stored['image_size_hw'] / stored['orig_size_hw']
  recipe = abstract_models.build(
      name, {'decode.max_detections': max_detections}
  )
  _, params = reference.model(name)
  batch = types.Batch(
      image=jnp.zeros(image.shape, jnp.uint8),
      size=rows(stored['image_size_hw']),
      extent=rows(image.shape[1:3]),
      scale=rows(ratio.astype(np.float32)),
      id=jnp.arange(len(texts)),
      prompt=jax.tree.map(jnp.asarray, prompt),
  )

  def detect(params, image, batch):
    outputs = reference.apply(recipe.model, params, image, batch)
    return recipe.decode(outputs, batch)

  detect = jax.jit(detect, compiler_options=reference.OPTIONS)
  with jax.default_matmul_precision('highest'):
    found = detect(params, image, batch)
  return list(unpack.unpack(batch, found))


def multiscale(folder: pathlib.Path) -> dict[str, float]:
  """Share of detections matched one to one over all views, by rule.

  Args:
    folder: where the stored image can be written.
  """
  stored = np.load(reference.GOLDEN / 'extras' / 'multiscale_nanoB.npz')
  how = json.loads(str(stored['config_json']))
  views = views_lib.Views(
      on=True,
      short_sides=tuple(how['scales']),
      long=how['max_size'],
      ranges=tuple(map(tuple, how['ranges'])),
  )
  source = _one_image(folder, stored)
  data = settings.read_data(
      dict(
          tokenizer=str(vocabulary()),
          num_tokens=32,
          num_phrases=4,
          image_size=(how['max_size'], how['max_size']),
          resize=(how['scales'][1], how['max_size']),
      )
  )
  _, params = reference.model('nanoB')
  recipe = abstract_models.build('nanoB', {'decode.max_detections': 5000})
  detector = serving.Detector(recipe, sharding.make_mesh({'data': 1}), params)
  shares = {}
  for key, changes in _MERGINGS.items():
    own = dataclasses.replace(
        views,
        merging=merging.Merging(**changes.get('merging', {})),
        **changes.get('views', {}),
    )
    batches, detect = detecting.look(
        functools.partial(pipeline.eval_batches, source, data, batch_size=1),
        functools.partial(detecting.detect_in, source, data=data, most=None),
        detector,
        own,
    )
    (batch,) = batches
    (image,) = unpack.unpack(batch, detect(batch))
    want = detections.stored(stored, f'merged_{key}_{{}}')
    mine = (image.boxes, image.scores, image.labels + 1)
    shares[key] = detections.matched(want, mine, box=BOX)
  return shares


_MERGINGS = {
    'nms': {},
    'vote': dict(merging=dict(rule='vote')),
    'softvote': dict(merging=dict(rule='soft_vote')),
    'softnms': dict(merging=dict(rule='soft_nms', min_score=0.2)),
    'nms_noflip_noranges': dict(views=dict(flip=False, ranges=())),
}


def _one_image(folder, stored):
  """A source of the stored image, asked for the stored names."""
  Image.fromarray(stored['uint8_rgb']).save(folder / 'image.png')
  names = str(json.loads(str(stored['query_json']))).split('. ')
  content = dict(
      images=[dict(id=1, file_name='image.png')],
      annotations=[],
      categories=[dict(id=i, name=n) for i, n in enumerate(names, 1)],
  )
  path = folder / 'image.json'
  path.write_text(json.dumps(content))
  return table.open_source(dict(annotations=str(path), images=str(folder)))


@functools.cache
def tokenizer():
  """BERT's, whose tokens do not travel with the project."""
  return tokenizers_lib.load_tokenizer(str(vocabulary()))


def vocabulary() -> pathlib.Path:
  """Its file, in the shared folder."""
  shared = pathlib.Path(os.environ['GLIP_JAX_SHARED'])
  return shared / 'data' / 'vocab' / 'bert-base-uncased-vocab.txt'
