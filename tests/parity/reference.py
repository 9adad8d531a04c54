"""The stored reference arrays, and the models that they were computed with.

Reference arrays of nano and full models are batches of two in which the whole
canvas counts as image, so `extent` is the canvas for both.
"""

import functools
import json
import os
import pathlib
import zlib

import abstract_models
import compiling
import golden_weights
import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import types
from glip_jax.detectors.glip import official_weights
from glip_jax.detectors.glip import stages as stages_lib

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
SMALL = ('nanoA', 'nanoB', 'nanoC', 'nanoL')
FULL = ('A', 'B', 'C', 'L')


def folder(name: str) -> pathlib.Path:
  """Where the arrays of a model are; full-size ones do not travel along."""
  if name in SMALL:
    return GOLDEN / 'nano'
  if name not in FULL:
    raise SystemExit(f'{name!r} is unknown: choose of {SMALL + FULL}')
  return shared(name) / 'full'


def shared(name: str) -> pathlib.Path:
  """Where those of a full-size model are that do not travel along."""
  folder = os.environ.get('GLIP_JAX_SHARED')
  if not folder:
    raise SystemExit(
        f'{name}: set GLIP_JAX_SHARED to the folder that holds reference/golden'
    )
  return pathlib.Path(folder) / 'reference' / 'golden'


def sample(key: str, value: np.ndarray, count: int) -> np.ndarray:
  """The entries of a big array that the reference stores under a key."""
  rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
  return value.reshape(-1)[rng.integers(0, value.size, size=count)]


class Stored:
  """The stored arrays of one model; big ones are stored as samples."""

  def __init__(self, path: pathlib.Path):
    self.arrays = np.load(path)

  def __contains__(self, key: str) -> bool:
    return key in self.arrays.files or f'{key}__shape' in self.arrays.files

  def __getitem__(self, key: str) -> np.ndarray:
    return self.arrays[key]

  def error(
      self, key: str, value: np.ndarray, own: np.ndarray | bool = True
  ) -> tuple[float, float]:
    """(largest absolute error, largest absolute value) of a stage.

    Args:
      key: of the stage.
      value: ours.
      own: where it means something, of a shape that broadcasts. What is not
        finite in the reference means nothing.
    """
    apart, want = self.apart(key, value, own)
    return float(apart.max()), float(np.abs(want).max())

  def apart(
      self, key: str, value: np.ndarray, own: np.ndarray | bool = True
  ) -> tuple[np.ndarray, np.ndarray]:
    """(absolute errors, values) of the stored entries that mean something."""
    value = np.asarray(value, np.float64)
    own = np.broadcast_to(own, value.shape)
    if key in self.arrays.files:
      want = self.arrays[key]
      assert want.shape == value.shape, (key, want.shape, value.shape)
    else:
      assert tuple(self.arrays[f'{key}__shape']) == value.shape, key
      want = self.arrays[f'{key}__sample']
      value, own = (sample(key, x, want.size) for x in (value, own))
    own = own & np.isfinite(want)
    assert own.any(), key
    return np.abs(want[own] - value[own]), want[own]


class Reference(Stored):
  """The stored arrays of a GLIP."""

  def __init__(self, name: str):
    super().__init__(folder(name) / f'{name}.npz')
    self.name = name
    self.fused = not name.endswith('A')


@functools.cache
def stored(name: str) -> Reference:
  """The stored arrays of a model."""
  return Reference(name)


@functools.cache
def model(name: str):
  """(recipe, params) with the weights that the rule makes."""
  state = golden_weights.official_state(folder(name), name)
  params = official_weights.from_official(state, abstract_models.params(name))
  return abstract_models.recipe(name), params


@functools.cache
def precise(name: str):
  """The recipe of the same model in float64; `jax.enable_x64` it."""
  return abstract_models.build(name, {'dtype': 'float64'})


def apply(model, params, pixels, batch: types.Batch) -> types.Outputs:
  """Outputs of a module on normalised images; `batch.image` is not read."""
  prompt = batch.prompt
  return model.apply(
      {'params': params}, pixels, batch.extent, prompt.ids, prompt.mask
  )


def in_float64(tree):
  """The same arrays, those of float32 in float64."""
  widen = lambda x: np.asarray(x, 'f8') if x.dtype == np.float32 else x
  return jax.tree.map(widen, tree)


# Rounding matters here: wide vectors have more partial sums, and XLA's products
# of matrices then round about as much as torch's do; with its usual 256 bits
# they round twice as much.
OPTIONS: dict[str, object] = {'xla_cpu_prefer_vector_width': 512}


def compile_quickly() -> None:
  """Halves the time to compile, for tests; what is compiled is slow."""
  OPTIONS.clear()
  OPTIONS.update(compiling.OPTIONS)


@functools.cache
def forward(name: str):
  """Compiled: params, inputs -> (outputs, stages)."""
  recipe, _ = model(name)
  run = functools.partial(stages_lib.run, recipe.model)
  return jax.jit(run, compiler_options=OPTIONS)


@functools.cache
def run(name: str, prefix: str):
  """(outputs, stages) on the stored images and a stored prompt."""
  with jax.default_matmul_precision('highest'):
    outputs = forward(name)(model(name)[1], *inputs(name, prefix))
  return jax.tree.map(np.asarray, outputs)


def forget() -> None:
  """Drops all weights, results and compiled functions: memory."""
  for cached in (stored, model, precise, forward, run, image):
    cached.cache_clear()
  jax.clear_caches()


@functools.cache
def image(name: str) -> np.ndarray:
  """The stored normalised images, channels last."""
  images = np.load(folder(name) / 'inputs.npz')['images']
  return images.transpose(0, 2, 3, 1)


def inputs(name: str, prefix: str) -> tuple[jax.Array, ...]:
  """image, extent, ids and mask of a stored prompt: 'det', 'grd', 'train'."""
  arrays, pixels = stored(name), image(name)
  return (
      jnp.asarray(pixels),
      jnp.array([pixels.shape[1:3]] * 2),
      jnp.asarray(arrays[f'{prefix}_input_ids'], jnp.int32),
      jnp.asarray(arrays[f'{prefix}_attention_mask'] > 0),
  )


def prompt_batch(name: str, prefix: str, spans: np.ndarray) -> types.Batch:
  """The stored images with a prompt, without targets."""
  pixels, extent, ids, mask = inputs(name, prefix)
  sizes = np.load(folder(name) / 'inputs.npz')['image_sizes_hw']
  return types.Batch(
      image=jnp.zeros(pixels.shape, jnp.uint8),
      size=jnp.asarray(sizes, jnp.int32),
      extent=extent,
      scale=jnp.ones((2, 2)),
      id=jnp.arange(2),
      prompt=types.Prompt(ids, mask, jnp.asarray(spans)),
  )


def to_edges(boxes: np.ndarray) -> np.ndarray:
  """Stored boxes, which end at their last pixel, from edge to edge."""
  return boxes + np.array([0, 0, 1, 1], boxes.dtype)


def training_batch(name: str) -> types.Batch:
  """The stored training batch: three and two boxes."""
  arrays = stored(name)
  batch = prompt_batch(name, 'train', np.zeros((2, 1, 256), bool))
  count = [len(arrays[f'train_img{i}_boxes']) for i in range(2)]
  boxes = np.zeros((2, max(count), 4), np.float32)
  tokens = np.zeros((2, max(count), 256), bool)
  rows = np.split(arrays['train_positive_map'] > 0, [count[0]])
  for i in range(2):
    boxes[i, : count[i]] = to_edges(arrays[f'train_img{i}_boxes'])
    tokens[i, : count[i]] = rows[i]
  valid = np.arange(max(count)) < np.array(count)[:, None]
  targets = types.Targets(
      boxes, np.zeros(valid.shape, int), tokens, valid, np.zeros_like(valid)
  )
  return batch.replace(targets=jax.tree.map(jnp.asarray, targets))


def positive_map(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(bool[c 256] spans, the label of each) of a stored positive map."""
  tokens = json.loads(str(text))
  spans = np.zeros((len(tokens), 256), bool)
  for row, positions in enumerate(tokens.values()):
    spans[row, positions] = True
  return spans, np.array([int(label) for label in tokens])
