"""Rows of whole models: forward with decoding, training, agreement with CPU."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import flops, inputs, ledger
from glip_jax.detectors import recipe as recipes

SMALLEST = 'smallest'


@functools.cache
def make_recipe(variant: str, dtype: str) -> recipes.Recipe:
  """A model of the table, with matrix products in a type.

  'smallest' is nanoB with one block in each place, which compiles soonest.
  """
  config = recipes.variant('nanoB' if variant == SMALLEST else variant)
  if variant == SMALLEST:
    config = dataclasses.replace(
        config,
        backbone=dataclasses.replace(config.backbone, depths=(1, 1, 1, 1)),
        head=dataclasses.replace(config.head, depth=1),
    )
  return recipes.build(dataclasses.replace(config, dtype=dtype))


@functools.cache
def make_params(variant: str) -> Any:
  """Small random parameters, on the device, of any type's model."""
  recipe = make_recipe(variant, 'float32')
  return inputs.params(recipe.init, inputs.batch((64, 64), 1, 256))


@dataclasses.dataclass(frozen=True)
class Model:
  """What is measured of a model.

  Attributes:
    variant: name of the model.
    size: (h, w) of its images.
    tokens: of its prompts.
    peak_tflops: of the device; 0 leaves utilisation out.
    seconds: about how long to run each row.
  """

  variant: str
  size: tuple[int, int]
  tokens: int
  peak_tflops: float
  seconds: float

  def forward(self, dtype: str, num_images: int) -> ledger.Figures:
    """Forward and decoding; `ms` is of an image.

    Random weights make candidates of all pairs: suppression at its dearest.
    """
    recipe = make_recipe(self.variant, dtype)
    batch = jax.device_put(self._batch(num_images).replace(targets=None))
    params = make_params(self.variant)

    def predict(params, batch):
      return recipe.decode(recipe.forward(params, batch), batch)

    found = ledger.measure(predict, (params, batch), seconds=self.seconds)
    counted = flops.count(recipe.forward, params, batch, platform=_platform())
    found = self._rates(found, num_images, counted)
    for key in ('ms', 'best_ms'):
      found[key] /= num_images
    return found

  def training(
      self, dtype: str, num_images: int, keys: str = 'threefry2x32'
  ) -> ledger.Figures:
    """A step: forward, backward, clipping and AdamW; `ms` is of the step.

    Utilisation counts the model's arithmetic, three times the forward pass;
    what the backward pass computes again is not in it.
    """
    recipe = make_recipe(self.variant, dtype)
    batch = jax.device_put(self._batch(num_images))
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(1e-5, weight_decay=1e-4)
    )

    def loss(params, batch, key):
      outputs = recipe.forward(params, batch, train=True, rngs={'dropout': key})
      return recipe.loss(outputs, batch)[0]

    def step(state, batch):
      params, moments, number = state
      key = jax.random.fold_in(jax.random.key(0, impl=keys), number)
      total, gradients = jax.value_and_grad(loss)(params, batch, key)
      updates, moments = optimizer.update(gradients, moments, params)
      params = optax.apply_updates(params, updates)
      return (params, moments, number + 1), total

    # The step takes its state over.
    params = jax.tree.map(jnp.copy, make_params(self.variant))
    key = jax.random.key(0, impl=keys)
    counted = flops.count(loss, params, batch, key, platform=_platform())
    state = (params, optimizer.init(params), jnp.zeros((), jnp.int32))
    del params
    found = ledger.measure(
        step, (state, batch), seconds=self.seconds, carry=True
    )
    return self._rates(found, num_images, 3 * counted)

  def _batch(self, num_images: int):
    return inputs.batch(self.size, num_images, self.tokens)

  def _rates(
      self, found: ledger.Figures, num_images: int, counted: int
  ) -> ledger.Figures:
    """Adds images a second, operations a second and their share of the peak."""
    seconds = found['ms'] / 1e3
    found['images_per_s'] = num_images / seconds
    found['tflops'] = counted / seconds / 1e12
    found['gflop_per_image'] = counted / num_images / 1e9
    if self.peak_tflops:
      found['mfu'] = found['tflops'] / self.peak_tflops
    return found


def agreement(variant: str, tokens: int, precision: str) -> ledger.Figures:
  """How far the device's float32 answers are from this process's CPU's.

  Two images of different extents in one canvas; weights of noise, with norms
  near one, so that features stay alive and no offset is zero.

  Args:
    variant: name of the model.
    tokens: of the prompts.
    precision: of matrix products: 'highest', or 'default' for the device's.

  Returns:
    Largest differences of logits (of tokens in use) and of boxes (pixels), of
    valid regions, and the largest logit.
  """
  recipe = make_recipe(variant, 'float32')
  batch = inputs.batch((160, 192), 2, tokens)
  batch = batch.replace(
      size=np.array([[160, 192], [100, 150]], np.int32),
      extent=np.array([[160, 192], [128, 160]], np.int32),
  )
  shapes = jax.eval_shape(recipe.init, jax.random.key(0), batch)
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    spread = math.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.05
    noise = spread * rng.standard_normal(leaf.shape, np.float32)
    return noise + (path[-1].key == 'scale')

  params = jax.tree_util.tree_map_with_path(draw, shapes)
  found = []
  for device in (jax.devices('cpu')[0], jax.devices()[0]):
    placed = jax.device_put((params, batch), device)
    with jax.default_matmul_precision(precision):
      found.append(jax.device_get(jax.jit(recipe.forward)(*placed)))
  mine, want = found[1], found[0]
  apart = lambda x, y: float(np.abs(x - y)[want.valid].max())
  # What padding tokens score means nothing and may differ by form.
  used = batch.prompt.mask[:, None]
  return {
      'logits': apart(mine.logits * used, want.logits * used),
      'boxes': apart(mine.boxes, want.boxes),
      'largest_logit': float(np.abs((want.logits * used)[want.valid]).max()),
  }


def _platform() -> str:
  return jax.devices()[0].platform
