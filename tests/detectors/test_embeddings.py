"""Logits of every family are products of what its heads say they are."""

import abstract_models
import jax
import numpy as np
import pytest

VARIANTS = ('nanoA', 'nanoB', 'nano_gd', 'nano_mm', 'textbook')


def _embed(recipe, params, batch):
  features = recipe.encode_image(params, batch.image, batch.size, batch.extent)
  text = recipe.encode_text(params, batch.prompt)
  return recipe.embed(params, features, text)


@pytest.mark.parametrize('name', VARIANTS)
def test_there_is_one_for_each_region_and_token(name):
  recipe, params = abstract_models.recipe(name), abstract_models.params(name)
  batch = abstract_models.blank_batch((64, 96), rows=2)
  found = jax.eval_shape(lambda *args: _embed(recipe, *args), params, batch)
  rows, regions, tokens = found.outputs.logits.shape
  assert found.regions.shape[:2] == (rows, regions)
  assert found.words.shape[:2] == (rows, tokens)
  assert found.regions.shape[2] == found.words.shape[2] > 1


@pytest.mark.slow
@pytest.mark.parametrize('name', ['nano_gd', 'nano_mm'])
def test_products_are_the_logits_of_queries(name):
  recipe = abstract_models.recipe(name)
  params = abstract_models.random_params(recipe)
  rng = np.random.default_rng(0)
  batch = abstract_models.blank_batch((64, 64))
  prompt = batch.prompt.replace(
      ids=rng.integers(5, 100, batch.prompt.ids.shape).astype(np.int32),
      mask=np.arange(8)[None] < 6,
  )
  pixels = rng.integers(0, 256, batch.image.shape, np.uint8)
  batch = batch.replace(image=pixels, prompt=prompt)
  found = jax.jit(lambda *args: _embed(recipe, *args))(params, batch)
  logits = np.asarray(found.outputs.logits)[..., :6]
  products = np.einsum('brd,btd->brt', found.regions, found.words)[..., :6]
  # But for a scale and a bias they have in common.
  scale, bias = np.polyfit(products.ravel(), logits.ravel(), 1)
  np.testing.assert_allclose(scale * products + bias, logits, atol=1e-3)
  assert scale > 0.05 and np.ptp(logits) > 0.1
