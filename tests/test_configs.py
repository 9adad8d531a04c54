"""Every config builds, and its model, data and optimizer fit together."""

import jax
import pytest

from configs import finetune, glip, shapes
from glip_jax import errors
from glip_jax.models import build
from glip_jax.training import optimizer, sharding, state

CONFIGS = {
    'shapes': shapes.get_config,
    'shapes:long,late': lambda: shapes.get_config('long,late'),
    'finetune': finetune.get_config,
    'glip:A': lambda: glip.get_config('A'),
    'glip:T': glip.get_config,
    'glip:L': lambda: glip.get_config('L'),
}


@pytest.mark.parametrize('name', CONFIGS)
def test_parameters_optimizer_and_shardings_fit_the_config(name):
  config = CONFIGS[name]()
  recipe = build.build(config.model)
  blank = state.blank_batch(config.data)
  params = state.abstract_params(state.make_init_params(recipe, blank, 0))
  tx = optimizer.make_optimizer(config.optimizer, params, config.steps)
  mesh = sharding.make_mesh(config.mesh)
  shardings = sharding.param_shardings(params, mesh, config.sharding)
  assert jax.tree.structure(shardings) == jax.tree.structure(params)
  abstract = state.abstract_state(params, tx, ema=True)
  assert jax.tree.structure(abstract.ema) == jax.tree.structure(params)


def test_late_fusion_has_no_fusion_and_no_text_layers():
  config = shapes.get_config('late')
  recipe = build.build(config.model)
  blank = state.blank_batch(config.data)
  params = state.abstract_params(state.make_init_params(recipe, blank, 0))
  assert set(params['tower']['blocks']) == {'dyconv'}


def test_an_unknown_option_is_named():
  with pytest.raises(errors.UserError, match="'longer'.*long"):
    shapes.get_config('longer')
  with pytest.raises(errors.UserError, match="'T2'.*nanoA"):
    glip.get_config('T2')
