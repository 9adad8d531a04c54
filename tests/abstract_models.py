"""Models by name or config, and full-size ones by shape alone.

The one place where tests build a detector. Of shapes nothing is computed or
allocated.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import run, types
from glip_jax.detectors import recipe as recipes


def build(
    model: Any,
    changes: Mapping[str, Any] | None = None,
) -> recipes.Recipe:
  """The recipe of a variant or of a config.

  Args:
    model: a variant's name, or what stands in a config's `model`, which is
      left as it is.
    changes: of fields, by path: `{'decode.max_detections': 300}`.
  """
  if isinstance(model, str):
    model = recipes.variant(model)
  config = run.config(model=recipes.read_config(model)).model
  config.update_from_flattened_dict(dict(changes or {}))
  return recipes.build(config)


@functools.cache
def recipe(name: str) -> recipes.Recipe:
  """The recipe of a variant."""
  return build(name)


@functools.cache
def params(name: str) -> Any:
  """Shapes of the parameters of a variant."""
  return jax.eval_shape(recipe(name).init, jax.random.key(0), blank_batch())


def blank_batch(
    size: tuple[int, int] = (64, 64),
    *,
    num_tokens: int = 8,
    num_phrases: int = 2,
    rows: int = 1,
) -> types.Batch:
  """A batch of black images that fill the canvas, with an empty prompt."""
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


def random_params(recipe: recipes.Recipe) -> Any:
  """Random weights without compiling an initialisation; norms start as is."""
  shapes = jax.eval_shape(recipe.init, jax.random.key(0), blank_batch())
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    if path[-1].key in ('scale', 'variance'):
      return jnp.ones(leaf.shape)
    return jnp.asarray(0.1 * rng.standard_normal(leaf.shape, np.float32))

  return jax.tree_util.tree_map_with_path(draw, shapes)
