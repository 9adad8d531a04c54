"""Every config builds, and its model, data and optimizer fit together."""

import json
import re

import jax
import pytest

from configs import coco, finetune, glip, grounding_dino, query, shapes
from glip_jax import errors, run
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.glip import official_weights as glip_names
from glip_jax.training import optimizer, sharding, state, tables
from glip_jax.weights.rules import matches

CONFIGS = {
    'shapes': shapes.get_config,
    'shapes:long,late': lambda: shapes.get_config('long,late'),
    'finetune': finetune.get_config,
    'finetune:query': lambda: finetune.get_config('query'),
    'glip:T': glip.get_config,
    'glip:L': lambda: glip.get_config('L'),
    'query:textbook': query.get_config,
    'query:shapes': lambda: query.get_config('shapes'),
    'grounding_dino:shapes': lambda: grounding_dino.get_config('shapes'),
    'grounding_dino:mm_T': grounding_dino.get_config,
    'grounding_dino:finetune_mm_L': lambda: grounding_dino.get_config(
        'finetune_mm_L'
    ),
}


@pytest.mark.parametrize('name', CONFIGS)
def test_parameters_optimizer_and_shardings_fit_the_config(name):
  config = CONFIGS[name]()
  recipe = recipes.build(config.model)
  blank = state.blank_batch(config.data)
  params = state.abstract_params(state.make_init_params(recipe, blank, 0))
  tx = optimizer.make_optimizer(config.optimizer, params, config.steps)
  mesh = sharding.make_mesh(config.mesh.to_dict())
  shardings = sharding.param_shardings(params, mesh, config.sharding)
  assert jax.tree.structure(shardings) == jax.tree.structure(params)
  abstract = state.abstract_state(params, tx, ema=True)
  assert jax.tree.structure(abstract.ema) == jax.tree.structure(params)


@pytest.mark.parametrize(
    'name, variant',
    [
        ('glip:T', 'T'),
        ('query:textbook', 'textbook'),
        ('grounding_dino:mm_T', 'mm_grounding_dino_T'),
    ],
)
def test_models_are_trained_on_what_they_are_tested_on(name, variant):
  trained, tested = CONFIGS[name](), run.tested(variant)
  for key in recipes.family_of(recipes.variant(variant)).data:
    assert trained.data[key] == tested.data[key], key


def test_any_variant_is_evaluated_on_a_coco_folder():
  config = run.read(coco.get_config('mm_grounding_dino_B'))
  assert config.model['family'] == 'grounding_dino'
  assert config.data.prompt_end == '.'
  assert config.evals['val'].data.source == 'coco'
  with pytest.raises(errors.UserError, match="'mm_B' is unknown: choose one"):
    coco.get_config('mm_B')
  with pytest.raises(
      errors.UserError, match="option 'view': give T or T,views"
  ):
    coco.get_config('T,view')
  views = run.read(coco.get_config('T,views')).evals['val'].views
  assert views.on and len(views.short_sides) == len(views.ranges) == 12


def test_late_fusion_has_no_fusion_and_no_text_layers():
  config = shapes.get_config('late')
  recipe = recipes.build(config.model)
  blank = state.blank_batch(config.data)
  params = state.abstract_params(state.make_init_params(recipe, blank, 0))
  assert set(params['tower']['blocks']) == {'dyconv'}


def test_an_unknown_option_is_named():
  with pytest.raises(errors.UserError, match="'longer'.*long"):
    shapes.get_config('longer')
  with pytest.raises(errors.UserError, match='give fine,chunks'):
    shapes.get_config('chunks')
  with pytest.raises(errors.UserError, match="'T2'.*nanoA"):
    glip.get_config('T2')
  with pytest.raises(errors.UserError, match="'T'.*shapes.*textbook"):
    query.get_config('T')
  with pytest.raises(errors.UserError, match="'textbook'.*query"):
    finetune.get_config('textbook')


def _own_name(official, rules):
  """Path of the parameter that an official one becomes, None if none does."""
  ((_, ((_, target),)),) = matches(rules, [official])
  return target and re.sub(r'\[\d+\]$', '', target)


@pytest.mark.parametrize(
    'solver, variant', [('A', 'nanoA'), ('C', 'nanoB'), ('L', 'nanoL')]
)
def test_rates_decays_and_frozen_parameters_are_the_official_ones(
    golden, solver, variant
):
  official = json.loads((golden / 'parts' / 'solver.json').read_text())[solver]
  config = glip.get_config(variant)
  head, settings = config.model.head, config.optimizer
  rules = glip_names.glip_rules(
      blocks=head.depth,
      text_layers=config.model.language.depth,
      fused=head.fusion.on,
  )
  for name, lr, decay in official['groups_name_lr_wd']:
    own = _own_name(name, rules)
    if own is not None:
      scale = tables.lookup(settings.lr_scales, own, 1.0)
      assert settings.lr * scale == pytest.approx(lr), name
      scale = tables.lookup(settings.decay_scales, own, 1.0)
      assert settings.weight_decay * scale == pytest.approx(decay), name
      assert not any(re.search(regex, own) for regex in settings.frozen), name
  frozen = filter(None, (_own_name(n, rules) for n in official['not_trained']))
  for own in frozen:
    assert any(re.search(regex, own) for regex in settings.frozen), own
  drops = [share * official['wds_ratio'] for share in official['steps']]
  expected = drops if official['weight_decay_schedule'] else []
  assert list(settings.decay_boundaries) == pytest.approx(expected)
