"""The reference's arrays of Grounding DINO, and the models they are of.

Hugging Face's implementation computed them (`golden/query`), with weights that
`dino_weights` makes again. Both stored images are a batch in a canvas that is
as large as the larger sides; `alone` each has a canvas of its own.
"""

import dataclasses
import functools
import json
import pathlib

import dino_weights
import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import types
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.grounding_dino import hugging_face_weights
from glip_jax.models import swin
from parity import reference

SMALL = ('gd_nano', 'mm_nano', 'mms_nano')
FULL = ('gd_full', 'mm_full')
STRIDES = (8, 16, 32, 64)
TOKENS = 14
_VARIANTS = {
    'gd_nano': 'nano_gd',
    'mm_nano': 'nano_mm',
    'mms_nano': 'nano_mms',
    'gd_full': 'grounding_dino_T',
    'mm_full': 'mm_grounding_dino_T',
}


def folder(name: str) -> pathlib.Path:
  """Where the arrays of a model are; full-size ones do not travel along."""
  if name in SMALL:
    return reference.GOLDEN / 'query'
  return reference.shared(name) / 'query'


class Reference(reference.Stored):
  """A model with all that the reference computed of it."""

  def __init__(self, name: str):
    super().__init__(folder(name) / f'{name}.npz')
    self.name = name
    self.inputs = np.load(folder(name) / f'inputs_{name.split("_")[1]}.npz')
    self.summary = self._read('summary')
    self.manifest = self._read('manifest')

  def _read(self, what: str):
    return json.loads(
        (folder(self.name) / f'{self.name}.{what}.json').read_text()
    )

  @property
  def keys(self) -> dict[str, list[int]]:
    """Shapes of all arrays by their names in memory."""
    return self.manifest['keys']

  @property
  def file_keys(self) -> set[str]:
    """Names in a file, which holds no copies."""
    ties = self.manifest['ties']
    return {dino_weights.file_name(k) for k in self.keys if k not in ties}

  @functools.cached_property
  def state(self) -> dict[str, np.ndarray]:
    """Arrays by their names in a file, copies included."""
    family, offset = self.summary['family'], self.summary['seed_offset']
    shared = not self.name.startswith('mm_')
    return {
        dino_weights.file_name(key): dino_weights.weight(
            key, shape, family, offset, shared=shared
        )
        for key, shape in self.keys.items()
    }

  @functools.cached_property
  def names(self) -> dict[str, str]:
    """The name in a file of every array, of a copy that of its original."""
    name = dino_weights.file_name
    ties = self.manifest['ties']
    return {key: name(ties.get(key, key)) for key in self.keys}

  @functools.cached_property
  def recipe(self):
    """The model, with the reference's weights of losses."""
    return self._recipe('float32')

  @functools.cached_property
  def precise(self):
    """The same in float64; `jax.enable_x64` it."""
    return self._recipe('float64')

  def _recipe(self, dtype: str):
    config = recipes.variant(_VARIANTS[self.name])
    loss = dataclasses.replace(config.loss, class_cost=1.0, class_weight=2.0)
    decoder = dataclasses.replace(config.decoder, look_forward_twice=False)
    return recipes.build(
        dataclasses.replace(config, loss=loss, decoder=decoder, dtype=dtype)
    )

  def with_decode(self, **options):
    """The model with other options of `config.model.decode`."""
    config = self.recipe.config
    decode = dataclasses.replace(config.decode, **options)
    return recipes.build(dataclasses.replace(config, decode=decode))

  @functools.cached_property
  def shapes(self):
    batch = self.batch('det')
    return jax.eval_shape(self.recipe.init, jax.random.key(0), batch)

  @functools.cached_property
  def params(self):
    return hugging_face_weights.from_hugging_face(self.state, self.shapes)

  @property
  def sizes(self) -> tuple[tuple[int, int], ...]:
    """(h, w) of both images."""
    return tuple(map(tuple, self.inputs['image_sizes_hw'].tolist()))

  @property
  def whole(self) -> tuple[int, int]:
    """(h, w) of the reference's canvas."""
    return tuple(self.inputs['canvas_hw'].tolist())

  @property
  def canvas(self) -> tuple[int, int]:
    """(h, w) of the smallest canvas of ours that holds it."""
    return tuple(-(-side // 32) * 32 for side in self.whole)

  def batch(
      self,
      prompt: str,
      *,
      alone: bool = False,
      canvas: tuple[int, int] | None = None,
      num_tokens: int = TOKENS,
  ) -> types.Batch:
    """Both images; `alone` as if each had a canvas of its own."""
    size = self.inputs['image_sizes_hw'].astype(np.int32)
    image = np.zeros((2, *(canvas or self.canvas), 3), np.uint8)
    for i, (h, w) in enumerate(size):
      image[i, :h, :w] = self.inputs[f'image{i}_u8']
    whole = np.tile(np.array(self.whole, np.int32), (2, 1))
    pad = ((0, 0), (0, num_tokens - TOKENS))
    ids = np.pad(self.inputs[f'{prompt}_input_ids'], pad)
    mask = self.inputs[f'{prompt}_attention_mask'].astype(bool)
    mask = np.pad(mask, pad)
    spans, targets = np.zeros((2, 3, num_tokens), bool), None
    if prompt == 'train':
      for i in range(2):
        spans[i, :, :TOKENS] = self.arrays[f'train_label_map{i}'] > 0
      targets = _targets(self.inputs, spans, size)
    return jax.tree.map(
        jnp.asarray,
        types.Batch(
            image=image,
            size=size,
            extent=size if alone else whole,
            scale=np.ones((2, 2), np.float32),
            id=np.arange(2, dtype=np.int32),
            prompt=types.Prompt(ids.astype(np.int32), mask, spans),
            targets=targets,
        ),
    )

  def chosen(self, run: str) -> jax.Array:
    """int[2 q] the positions that a run's queries are made of, in our maps."""
    if run != 'alone':
      index = self.arrays[f'{run}_topk_indices']
      return placed(index, self.whole, self.canvas)
    return jnp.concatenate([
        placed(self.arrays[f'alone{i}_topk_indices'], size, self.canvas)
        for i, size in enumerate(self.sizes)
    ])

  @functools.cached_property
  def _apply(self):
    return _forward(self.recipe)

  def run(self, batch, chosen=None, params=None):
    """Outputs and stages.

    Args:
      batch: from `batch`.
      chosen: positions that queries are made of; None for our own choice.
      params: instead of the stored ones.
    """
    with jax.default_matmul_precision('highest'):
      return self._apply(params or self.params, batch, chosen)

  @functools.cached_property
  def _apply_precise(self):
    return _forward(self.precise)

  def run_precise(self, batch, chosen=None, params=None):
    """The same in float64."""
    params = reference.in_float64(params or self.params)
    with jax.enable_x64(True):
      batch = jax.tree.map(jnp.asarray, reference.in_float64(batch))
      return self._apply_precise(params, batch, chosen)

  def compare(self, key, mine, where=True) -> float:
    """Largest error of an array in the reference's layout."""
    return self.error(key, mine, where)[0]


@functools.cache
def stored(name: str) -> Reference:
  """The stored arrays of a model."""
  return Reference(name)


def forget() -> None:
  """Drops all weights and compiled functions: memory."""
  stored.cache_clear()
  jax.clear_caches()


def apply(recipe, params, batch, chosen):
  """Outputs and stages of a model, those of the patches among them."""
  outputs, state = recipe.model.apply(
      {'params': params},
      *recipe._inputs(batch),
      chosen=chosen,
      mutable=['intermediates'],
      capture_intermediates=lambda module, _: isinstance(
          module, swin.PatchEmbed
      ),
  )
  return outputs, state['intermediates']


def encoder_logits(params, tokens, mask) -> jax.Array:
  """What the reference takes for its encoder's: of embeddings of queries.

  Args:
    params: of the model.
    tokens: float[b t d] its text features, before the encoder.
    mask: bool[b t] of the prompt.
  """
  queries = jnp.asarray(params['queries'])
  queries = jnp.broadcast_to(queries, (len(tokens), *queries.shape))
  logits = jnp.einsum(
      'bqd,btd->bqt', queries, tokens, precision=jax.lax.Precision.HIGHEST
  )
  if 'proposal_bias' in params:
    logits = logits * queries.shape[-1] ** -0.5 + params['proposal_bias']
  return jnp.where(mask[:, None], logits, -1e4)


def _forward(recipe):
  """Compiled: params, batch, chosen -> outputs, stages."""
  run = functools.partial(apply, recipe)
  return jax.jit(run, compiler_options=dict(reference.OPTIONS))


def cut(x, extent, canvas):
  """Positions of all levels, those of the extent alone."""
  parts, start = [], 0
  for stride in STRIDES:
    (h, w), (p, q) = (
        [-(-side // stride) for side in sides] for sides in (extent, canvas)
    )
    level = np.asarray(x)[:, start : start + p * q]
    level = level.reshape(level.shape[0], p, q, -1)[:, :h, :w]
    parts.append(level.reshape(level.shape[0], h * w, -1))
    start += p * q
  return np.concatenate(parts, axis=1)


def placed(index, extent, canvas):
  """The reference's positions in the maps of a larger canvas."""
  count = sum(-(-canvas[0] // s) * -(-canvas[1] // s) for s in STRIDES)
  own = cut(np.arange(count)[None, :, None], extent, canvas)[0, :, 0]
  return jnp.asarray(own[index])


def grid(x, extent, stride):
  """A map's own cells, channels first."""
  h, w = (-(-side // stride) for side in extent)
  return np.asarray(x)[:, :h, :w].transpose(0, 3, 1, 2)


def _targets(inputs, spans, size) -> types.Targets:
  """The true boxes of both training images, padded to five."""
  m = 5
  boxes, phrase = np.zeros((2, m, 4), np.float32), np.zeros((2, m), np.int32)
  valid = np.zeros((2, m), bool)
  for i in range(2):
    cx, cy, w, h = inputs[f'train_img{i}_boxes'].T
    edges = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)
    boxes[i, : len(edges)] = edges * np.tile(size[i, ::-1], 2)
    phrase[i, : len(edges)] = inputs[f'train_img{i}_class_labels']
    valid[i, : len(edges)] = True
  tokens = np.take_along_axis(spans, phrase[..., None], axis=1)
  return types.Targets(
      boxes, phrase, tokens & valid[..., None], valid, np.zeros((2, m), bool)
  )
