"""Stages by name: complete, unstacked and in order."""

import functools

import abstract_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import reference

from glip_jax.detectors.glip import stages

reference.compile_quickly()


@functools.cache
def _shapes(name):
  """(outputs, stages) of a model by shape alone."""
  recipe = abstract_models.recipe(name)

  def run(params, batch):
    image = recipe.config.image.normalize(batch.image, batch.size)
    prompt = batch.prompt
    return stages.run(
        recipe.model, params, image, batch.extent, prompt.ids, prompt.mask
    )

  params = abstract_models.params(name)
  return jax.eval_shape(run, params, abstract_models.blank_batch())


def test_stages_come_in_the_order_of_computation():
  _, found = _shapes('nanoL')
  block = [
      *(f'fusion/p{i}' for i in range(3, 8)),
      'fusion/text',
      'text',
      *(f'dyconv/p{i}' for i in range(3, 8)),
  ]
  assert list(found) == [
      *(f'backbone/stage{i}' for i in range(2, 6)),
      *(f'neck/p{i}' for i in range(3, 8)),
      *(f'language/{stage}' for stage in ('embeddings', 0, 1, 'hidden')),
      *(f'tower/{i}/{stage}' for i in range(3) for stage in block),
      *('head/deltas', 'head/projected_text'),
      *('head/region_embeddings', 'head/word_embeddings'),
      *('outputs/anchors', 'outputs/boxes', 'outputs/logits'),
      *('outputs/quality', 'outputs/valid'),
  ]


@pytest.mark.slow
def test_late_fusion_has_stages_of_convolutions_alone():
  _, found = _shapes('nanoA')
  tower = [name for name in found if name.startswith('tower/')]
  assert tower == [
      f'tower/{i}/dyconv/p{p}' for i in (0, 1) for p in range(3, 8)
  ]


@pytest.mark.parametrize('name', ['A', 'L'])
def test_blocks_of_full_models_are_unstacked(name):
  outputs, found = _shapes(name)
  depth = 6 if name == 'A' else 8
  assert f'tower/{depth - 1}/dyconv/p3' in found
  assert f'tower/{depth}/dyconv/p3' not in found
  assert found['tower/0/dyconv/p3'].shape == (1, 8, 8, 256)
  assert found['language/11'].shape == found['language/hidden'].shape
  assert found['outputs/logits'].shape == outputs.logits.shape


@pytest.mark.slow
def test_the_last_layers_are_what_the_next_parts_read():
  _, found = reference.run('nanoB', 'det')
  np.testing.assert_array_equal(found['language/1'], found['language/hidden'])
  assert not np.array_equal(found['language/0'], found['language/1'])
  assert not np.array_equal(
      found['tower/0/dyconv/p3'], found['tower/1/dyconv/p3']
  )


@pytest.mark.slow
def test_what_has_no_row_in_the_table_keeps_its_path():
  zero, one = jnp.zeros(()), jnp.ones(())
  sown = {'neck': {'extra': (zero, one)}, 'odd': {'x': (one,)}}
  outputs = reference.run('nanoB', 'det')[0]
  found = stages.name_stages(sown, outputs)
  assert found['neck/extra/1'] == 1 and found['neck/extra/0'] == 0
  assert found['odd/x'] == 1
