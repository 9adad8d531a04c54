"""Classes as captions of their own: each is one token of the text.

The stored captions are given as they stand, for the original's own making of
them falls back to bare names where it meets its bug (docs/prompts.md). The last
one, of nothing, is the original's "no object": a padding class here.
"""

import functools
import json
from typing import NamedTuple

import jax
import numpy as np

from glip_jax import types
from glip_jax.data import class_captions, settings
from glip_jax.detectors import class_tokens
from glip_jax.text import lists
from parity import detections, modes, reference, stages

VARIANTS = 'first_wiki', 'mean_wiki', 'first_both_3', 'mean_both_3'


class Compared(NamedTuple):
  """What was compared of one variant.

  Attributes:
    rows: stages of the network.
    share: of detections matched one to one.
    equal_ids: whether captions have the tokens of the reference.
  """

  rows: list[stages.Row]
  share: float
  equal_ids: bool


def compared(name: str) -> dict[str, Compared]:
  """Every variant of nanoA or nanoB."""
  path = reference.GOLDEN / 'extras' / f'knowledge_{name}.npz'
  arrays = reference.Stored(path)
  recipe, params = reference.model(name)
  batch = _batch(arrays)
  jit = functools.partial(jax.jit, compiler_options=reference.OPTIONS)
  encode_image = jit(recipe.encode_image)
  encode_text = jit(functools.partial(class_tokens.encode, recipe))
  ground = jit(functools.partial(_ground, recipe))
  found = {}
  with jax.default_matmul_precision('highest'):
    features = encode_image(params, batch.image, batch.size, batch.extent)
    for variant in VARIANTS:
      captions = _captions(arrays, variant)
      stored = arrays[f'{variant}_input_ids']
      mask = arrays[f'{variant}_attention_mask'] > 0
      ids = captions.ids[:, : stored.shape[1]]
      equal = (captions.mask.sum(1) == mask.sum(1)).all()
      equal &= (ids == stored)[mask].all()
      text = encode_text(params, captions)
      prompt = class_tokens.as_prompt(captions)
      outputs, deltas, answer = ground(
          params, features, text, batch.replace(prompt=prompt)
      )
      rows = [
          stages.measured(arrays, f'{variant}_{key}', value, None, **said)
          for key, value, said in _stages(text, outputs, deltas, name)
      ]
      want = detections.stored(arrays, f'{variant}_dets_img0_{{}}')
      # Labels of the original count from 1.
      mine = detections.labelled(answer, 0, np.arange(1, 99))
      share = detections.matched(want, mine)
      found[variant] = Compared(rows, share, bool(equal))
  return found


def _stages(text, outputs, deltas, name):
  """(key in the reference, value, what a row says) of each stage."""
  bound = stages.LOGITS[name]
  yield 'lang_hidden', text.tokens, dict(stage='token', family='bert')
  yield 'lang_embedded', text.tokens, dict(stage='embedded', family='bert')
  yield 'bbox_reg', deltas, dict(stage='deltas', family='head')
  quality = outputs.quality[..., None]
  yield 'centerness', quality, dict(stage='quality', family='head')
  logits = outputs.logits
  said = dict(stage='logits', family='logits', bound=bound)
  # The class of no object is no part of the prompt.
  own = np.arange(logits.shape[-1]) < logits.shape[-1] - 1
  yield 'dot_product_logits_valid', logits, said | dict(own=own)


def _ground(recipe, params, features, text, batch):
  """The outputs, the deltas of boxes on the way to them, and detections."""
  outputs, state = recipe.model.apply(
      {'params': params},
      features.levels,
      text,
      features.extent,
      method='ground',
      mutable='intermediates',
  )
  deltas = state['intermediates']['head']['deltas'][0]
  return outputs, deltas, recipe.decode(outputs, batch)


def _captions(arrays, variant) -> types.ClassCaptions:
  """The stored captions, encoded; the empty one at the end is padding."""
  *captions, nothing = json.loads(str(arrays[f'{variant}_captions_json']))
  assert nothing == ''
  names = json.loads(str(arrays['classes_json']))
  text = lists.joined([
      lists.Piece(name, caption, ((0, len(caption)),))
      for name, caption in zip(names, captions, strict=True)
  ])
  data = settings.read_data(
      dict(
          tokenizer=str(modes.vocabulary()),
          class_captions=variant.split('_')[0],
      )
  )
  made = class_captions.to_captions(text, data, len(captions) + 1)
  return made.encode(text)


def _batch(arrays) -> types.Batch:
  """The stored image on the canvas that it was padded to, all of it extent."""
  image = arrays['uint8_rgb']
  canvas = tuple(arrays['padded_hw'].tolist())
  pixels = np.zeros((1, *canvas, 3), np.uint8)
  pixels[0, : image.shape[0], : image.shape[1]] = image
  return types.Batch(
      image=pixels,
      size=np.array([image.shape[:2]], np.int32),
      extent=np.array([canvas], np.int32),
      scale=np.ones((1, 2), np.float32),
      id=np.zeros(1, np.int32),
      prompt=None,
  )
