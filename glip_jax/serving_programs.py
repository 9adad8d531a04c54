"""The compiled programs of a detector, and what each computes."""

import functools

import jax
import jax.numpy as jnp

from glip_jax import types
from glip_jax.detectors import applying, class_tokens
from glip_jax.detectors import recipe as recipe_lib
from glip_jax.training import sharding


class Programs:
  """The compiled programs of a recipe on a mesh, by shape."""

  def __init__(self, recipe: recipe_lib.Recipe, mesh: jax.sharding.Mesh):
    """Compiles nothing yet.

    Args:
      recipe: from `detectors.recipe.build`.
      mesh: divides the rows of batches.
    """
    rows, whole = sharding.batch_sharding(mesh), sharding.replicated(mesh)
    by_rows = functools.partial(jax.jit, out_shardings=rows)
    self.detect = by_rows(functools.partial(applying.detect, recipe))
    self.detect_text = by_rows(functools.partial(applying.detect_text, recipe))
    self.encode_image = by_rows(recipe.encode_image)
    self.encode_text = jax.jit(recipe.encode_text, out_shardings=whole)
    self.encode_captions = jax.jit(
        functools.partial(class_tokens.encode, recipe), out_shardings=whole
    )
    self.ground = by_rows(functools.partial(_ground, recipe))
    self.embed = by_rows(functools.partial(_embed, recipe))


def _ground(recipe, params, features, batch, texts, prompt, thresholds):
  """Detections in encoded images for one encoded prompt, or one of each row."""
  text = _joined(texts)
  return applying.ground(
      recipe, params, features, batch, text, prompt, thresholds
  )


def _embed(recipe, params, features, texts):
  """Embeddings of encoded images with one encoded prompt, or one of each."""
  return applying.embed(recipe, params, features, _joined(texts))


def _joined(texts: tuple[types.Text, ...]) -> types.Text:
  """Texts of one row each as one of many."""
  return jax.tree.map(lambda *x: jnp.concatenate(x), *texts)
