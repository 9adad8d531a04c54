"""Full-size models by shape alone: nothing is computed or allocated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import types
from glip_jax.detectors import recipe as recipes


@functools.cache
def recipe(name):
  """The recipe of a variant."""
  return recipes.build(recipes.variant(name))


@functools.cache
def params(name):
  """Shapes of the parameters of a variant."""
  return jax.eval_shape(recipe(name).init, jax.random.key(0), blank_batch())


def blank_batch(size=(64, 64), *, num_tokens=8, num_phrases=2, rows=1):
  """A batch of black pictures that fill the canvas, with an empty prompt."""
  prompt = types.Prompt(
      ids=np.zeros((rows, num_tokens), np.int32),
      mask=np.zeros((rows, num_tokens), bool),
      spans=np.zeros((rows, num_phrases, num_tokens), bool),
  )
  return types.Batch(
      image=np.zeros((rows, *size, 3), np.uint8),
      size=np.array([size] * rows, np.int32),
      extent=np.array([size] * rows, np.int32),
      scale=np.ones((rows, 2), np.float32),
      id=np.arange(rows, dtype=np.int32),
      prompt=prompt,
  )


def random_params(recipe):
  """Random weights without compiling an initialisation; norms start as is."""
  shapes = jax.eval_shape(recipe.init, jax.random.key(0), blank_batch())
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    if path[-1].key == 'scale':
      return jnp.ones(leaf.shape)
    return jnp.asarray(0.1 * rng.standard_normal(leaf.shape, np.float32))

  return jax.tree_util.tree_map_with_path(draw, shapes)
