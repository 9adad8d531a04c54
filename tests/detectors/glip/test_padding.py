"""An image's answer depends neither on its canvas nor on its batch."""

import abstract_models
import compiling
import jax
import numpy as np
import pytest
import tiny_config
from parity import alone as alone_lib
from parity import draws


# Fewer tokens than the official 256 too: the prompt has 24.
@pytest.mark.slow
@pytest.mark.parametrize(
    'name, num_tokens', [('nanoA', 32), ('nanoB', 64), ('nanoL', 128)]
)
def test_images_in_a_batch_get_the_official_answers_of_each_alone(
    name, num_tokens
):
  alone = alone_lib.Alone(name)
  batch = alone.batch((256, 288), [3, 0, 5, 4, 1, 2], num_tokens=num_tokens)
  for errors in alone.errors(batch):
    assert errors['dot_product_logits_valid'] <= 2e-4
    assert errors['bbox_reg'] <= 1e-4
    assert errors['centerness'] <= 1e-4
    assert errors['detections'] == 1.0


@pytest.mark.slow
def test_a_program_that_leaves_tokens_out_gives_the_official_answers():
  """Of 128 tokens 24 are in use; stages, which show them all, are not kept."""
  alone = alone_lib.Alone('nanoB')
  batch = alone.batch((256, 288), [3, 0], num_tokens=128)
  with jax.default_matmul_precision('highest'):
    outputs = compiling.quick_jit(alone.recipe.forward)(alone.params, batch)
  for row, i in enumerate(batch.id):
    want = alone.arrays[f'img{i}_dot_product_logits_valid'][0]
    mine = np.asarray(outputs.logits)[row, np.asarray(outputs.valid)[row]]
    np.testing.assert_allclose(mine[:, : want.shape[1]], want, atol=2e-4)


@pytest.mark.slow
def test_random_images_are_equal_alone_and_among_others():
  config = tiny_config.get_config().model
  # A window that divides neither extent nor canvas, and two blocks a stage:
  # one shifted.
  config.backbone.update(depths=(2, 1, 1, 1), window=5)
  init = abstract_models.build(config).init
  shapes = jax.eval_shape(
      init, jax.random.key(0), abstract_models.blank_batch()
  )
  rng = np.random.default_rng(0)
  params = jax.tree.map(
      lambda x: 0.3 * rng.standard_normal(x.shape, np.float32), shapes
  )
  comparison = draws.Comparison(config, params, compiling.quick_jit)
  buckets = dict(alone=[(128, 128)], among=[(96, 160)])
  draws.run_draws(comparison, 10, **buckets)
  assert comparison.worst['logits'] > 0
