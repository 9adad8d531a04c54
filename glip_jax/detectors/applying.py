"""From images and prompts to detections, by a recipe of any family.

Pure functions, which `serving` compiles and `exporting` writes to a file. The
number of images may be a symbol of `jax.export`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from glip_jax import types


def detect(
    recipe: Any,
    params: Any,
    batch: types.Batch,
    thresholds: Mapping[str, Any],
) -> types.Detections:
  """Detections of a batch in which every row has a prompt of its own.

  Args:
    recipe: a `recipe.Recipe`.
    params: its parameters.
    batch: arrays.
    thresholds: those of `recipe.thresholds` that differ.
  """
  return recipe.decode(recipe.forward(params, batch), batch, **thresholds)


def detect_text(
    recipe: Any,
    params: Any,
    batch: types.Batch,
    text: types.Text,
    thresholds: Mapping[str, Any],
) -> types.Detections:
  """Detections of a batch whose rows share one encoded prompt.

  Args:
    recipe: a `recipe.Recipe`.
    params: its parameters.
    batch: arrays.
    text: one row, of the prompt that all rows of the batch have.
    thresholds: those of `recipe.thresholds` that differ.
  """
  features = recipe.encode_image(params, batch.image, batch.size, batch.extent)
  return _ground_rows(recipe, params, features, batch, text, thresholds)


def ground(
    recipe: Any,
    params: Any,
    features: types.Features,
    batch: types.Batch,
    text: types.Text,
    prompt: types.Prompt,
    thresholds: Mapping[str, Any],
) -> types.Detections:
  """Detections in encoded images for one encoded prompt, or one of each.

  Args:
    recipe: a `recipe.Recipe`.
    params: its parameters.
    features: of b images.
    batch: what they were made of; `size` and `scale` are read.
    text: of the prompt, one row or b.
    prompt: one row or b.
    thresholds: those of `recipe.thresholds` that differ.
  """
  num_rows = batch.size.shape[0]
  batch = batch.replace(prompt=_spread(prompt, num_rows))
  return _ground_rows(recipe, params, features, batch, text, thresholds)


def embed(
    recipe: Any, params: Any, features: types.Features, text: types.Text
) -> Any:
  """Embeddings of encoded images with one encoded prompt, or one of each.

  Args:
    recipe: a `recipe.Recipe`.
    params: its parameters.
    features: of b images.
    text: one row or b.
  """
  text = _spread(text, features.size.shape[0])
  return recipe.embed(params, features, text)


def _ground_rows(recipe, params, features, batch, text, thresholds):
  text = _spread(text, batch.size.shape[0])
  outputs = recipe.ground(params, features, text)
  return recipe.decode(outputs, batch, **thresholds)


def _spread(tree: Any, num_rows: Any) -> Any:
  """One row of arrays as many, maybe a symbol; so many stay as they are."""
  return jax.tree.map(
      lambda x: jnp.broadcast_to(x, (num_rows, *x.shape[1:])), tree
  )
