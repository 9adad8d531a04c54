"""Which variant a file looks like, whoever named its arrays."""

import abstract_models
import jax
import numpy as np
import pytest

from glip_jax import errors, loading
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.glip import mmdet_weights
from glip_jax.weights import formats, params_file, rules, variants

_RELEASED = dict(variants._VARIANTS)
# Small variants, their family, and whether they have its telling part.
SMALL = {
    'nanoA': ('glip', False),
    'nanoB': ('glip', True),
    'nanoL': ('glip', True),
    'nano_gd': ('grounding_dino', False),
    'nano_mm': ('grounding_dino', True),
}


def _facts(name):
  swin = recipes.variant(name).backbone
  return (*SMALL[name], swin.embed_dim, swin.depths[2])


@pytest.fixture(autouse=True)
def small(monkeypatch):
  """The table, of small variants."""
  known = {_facts(name): name for name in SMALL}
  assert len(known) == len(SMALL)
  monkeypatch.setattr(variants, '_VARIANTS', known)


def _params(name):
  shapes = abstract_models.params(name)
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def _named(name):
  """The arrays of a variant, by the names of everybody."""
  params, recipe = _params(name), abstract_models.recipe(name)
  yield 'ours', rules.flatten(params)
  yield 'official', recipe.write_weights(params)
  if SMALL[name][0] == 'glip':
    table = mmdet_weights.mmdet_rules(params)
    yield 'mmdet', rules.invert(params, table)


@pytest.mark.parametrize('name', SMALL)
def test_a_variant_is_known_by_anybody_s_names(name):
  for who, state in _named(name):
    assert variants.look(state) == (SMALL[name][0], name), who


def test_names_of_mmdetection_s_grounding_dino_are_known():
  names = {
      'backbone.patch_embed.projection.bias': np.zeros(96),
      'backbone.stages.2.blocks.5.norm1.weight': np.zeros(384),
      'bbox_head.reg_branches.0.0.weight': np.zeros((256, 256)),
      'bbox_head.cls_branches.0.bias': np.zeros(1),
  }
  known = {('grounding_dino', True, 96, 6): 'mm_T'}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(variants, '_VARIANTS', known)
    assert variants.look(names) == ('grounding_dino', 'mm_T')


def test_the_table_says_what_the_configs_say():
  released = {row.variant for row in loading.released.RELEASED.values()}
  assert set(_RELEASED.values()) == released - {'B', 'C'}
  for (family, part, width, depth), name in _RELEASED.items():
    config = recipes.variant(name)
    assert config.family == family
    assert config.backbone.embed_dim == width
    assert config.backbone.depths[2] == depth
    has = config.head.fusion.on if family == 'glip' else 'mm_' in name
    assert has == part


def _write(tmp_path, name):
  path = tmp_path / f'{name}.safetensors'
  recipe = abstract_models.recipe(name)
  params_file.write(path, _params(name), recipe, official=True)
  return path


def _read_as_nano_b(path):
  shapes = abstract_models.params('nanoB')
  return loading.find(path).read(shapes, abstract_models.recipe('nanoB'))


def test_a_file_of_another_variant_says_which(tmp_path):
  path = _write(tmp_path, 'nanoL')
  recipe = abstract_models.recipe('nanoB')
  shapes = abstract_models.params('nanoB')
  said = "; the file looks like variant 'nanoL' of glip: give "
  with pytest.raises(rules.WeightsError) as caught:
    loading.find(path, remedy='--variant={}').read(shapes, recipe)
  assert str(caught.value).endswith(said + '--variant=nanoL')
  assert len(caught.value.faults) > 20
  with pytest.raises(rules.WeightsError) as caught:
    loading.find(path).read(shapes, recipe)
  assert str(caught.value).endswith(said + "variant='nanoL' (--variant=nanoL)")
  with pytest.raises(rules.WeightsError) as caught:
    params_file.read_start(path, shapes, recipe, remedy='a --config of it')
  assert str(caught.value).endswith(said + 'a --config of it')


def test_a_file_of_another_family_says_which(tmp_path):
  path = _write(tmp_path, 'nano_mm')
  with pytest.raises(errors.UserError, match='no model of this family') as got:
    _read_as_nano_b(path)
  assert "looks like variant 'nano_mm' of grounding_dino: give" in str(
      got.value
  )
  ours = {'query_of_token/kernel': np.zeros((2, 2)), 'backbone/x': np.ones(1)}
  formats.write(path, ours)
  with pytest.raises(errors.UserError) as got:
    _read_as_nano_b(path)
  assert str(got.value).endswith(
      'the file looks like a model of family query: give the --config that it'
      ' was trained with'
  )


def test_a_damaged_file_of_the_right_variant_gets_no_hint(tmp_path):
  path = _write(tmp_path, 'nanoB')
  state = dict(formats.read(path))
  state.pop('rpn.head.bias0')
  formats.write(path, state)
  with pytest.raises(rules.WeightsError) as caught:
    _read_as_nano_b(path)
  assert 'looks like' not in str(caught.value)
