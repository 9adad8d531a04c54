"""A file becomes parameters, whoever named its arrays."""

import abstract_models
import golden_weights
import jax
import numpy as np
import pytest

from glip_jax import errors
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.glip import mmdet_weights as mmdet
from glip_jax.detectors.glip import official_weights as glip
from glip_jax.tools import convert
from glip_jax.weights import formats, params_file, rules


@pytest.fixture(scope='module')
def params(golden):
  state = golden_weights.official_state(golden / 'nano', 'nanoB')
  return glip.from_official(state, abstract_models.params('nanoB'))


def _read(path, name='nanoB', **options):
  recipe = abstract_models.recipe(name)
  return params_file.read(path, abstract_models.params(name), recipe, **options)


def _equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
@pytest.mark.parametrize('official', [True, False])
def test_what_is_written_is_read_again(tmp_path, params, ending, official):
  path = tmp_path / f'a{ending}'
  params_file.write(
      path, params, abstract_models.recipe('nanoB'), official=official
  )
  assert ('rpn.head.bias0' in formats.read(path)) == official
  _equal(_read(path), params)


def test_files_of_mmdetection_are_read(tmp_path, params):
  path = tmp_path / 'a.pth'
  formats.write(path, rules.invert(params, mmdet.mmdet_rules(params)))
  _equal(_read(path), params)


def test_official_wrappers_and_older_keys_are_read(tmp_path, params):
  state = glip.to_official(params, num_classes=365)
  key = 'language_backbone.body.model.embeddings.position_ids'
  state[key] = np.arange(512)[None]
  path = tmp_path / 'a.pth'
  formats.write(path, {f'module.{key}': x for key, x in state.items()})
  _equal(_read(path), params)


def test_the_file_of_another_model_is_named_with_what_is_amiss(
    tmp_path, params
):
  path = tmp_path / 'a.pth'
  params_file.write(
      path, params, abstract_models.recipe('nanoB'), official=True
  )
  with pytest.raises(
      errors.UserError, match=r'faults in .*a\.pth \(if .*0 rules'
  ):
    _read(path, 'nanoA')
  formats.write(path, {'fc.weight': np.ones(3)})
  with pytest.raises(
      errors.UserError, match=r'no model of this family.*fc\.weight'
  ):
    _read(path)


def test_files_are_converted_to_our_names_and_back(tmp_path, params):
  there, ours, back = (
      tmp_path / name for name in ('a.pth', 'b.safetensors', 'c.pth')
  )
  config = recipes.variant('nanoB')
  params_file.write(
      there, params, abstract_models.recipe('nanoB'), official=True
  )
  count = convert.convert(config, ours, weights=there)
  assert count == sum(x.size for x in jax.tree.leaves(params))
  assert 'head/bias0' in formats.read(ours)
  convert.convert(config, back, weights=ours, official=True)
  assert there.read_bytes() == back.read_bytes()


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_files_of_half_precision_are_read(tmp_path, params, dtype):
  """Though bfloat16 has no room for all numbers of the stored anchors."""
  state = glip.to_official(params)
  half = {
      key: x.astype(dtype) if x.dtype == np.float32 else x
      for key, x in state.items()
  }
  path = tmp_path / 'half.pth'
  formats.write(path, half)
  read = _read(path)
  want = jax.tree.map(lambda x: x.astype(dtype).astype(np.float32), params)
  _equal(read, want)
