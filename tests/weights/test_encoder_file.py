"""Encoders of their own: what is loaded, what is not, what is refused."""

import re

import abstract_models
import golden_weights
import jax
import numpy as np
import pytest

from glip_jax import errors
from glip_jax.detectors.glip import official_weights as glip
from glip_jax.training import initial_params
from glip_jax.weights import encoder_file, formats, params_file, rules


@pytest.fixture(scope='module')
def official(golden):
  return golden_weights.official_state(golden / 'nano', 'nanoB')


@pytest.fixture(scope='module')
def whole(official):
  params = glip.from_official(official, abstract_models.params('nanoB'))
  return rules.flatten(params)


def _authors(official):
  """Swin as its authors publish it: a classifier on the last stage."""
  prefix = 'backbone.body.'
  state = {
      key.removeprefix(prefix): x
      for key, x in official.items()
      if key.startswith(prefix) and not re.match(prefix + r'norm\d', key)
  }
  one = np.ones(3, np.float32)
  masks = {'layers.0.blocks.1.attn_mask': one}
  return state | masks | {'norm.weight': one, 'head.weight': one}


def _timm(official):
  """timm's: merging leads a stage, the head has another name."""
  named = {}
  for key, value in _authors(official).items():
    if 'relative_position_index' in key or 'mask' in key:
      continue
    match = re.match(r'layers\.(\d)\.downsample(.*)', key)
    key = f'layers.{int(match[1]) + 1}.downsample{match[2]}' if match else key
    named[key.replace('head.', 'head.fc.')] = value
  return named


def _hugging_face(official):
  """Its files: own names, and queries, keys and values apart."""
  names = (
      ('patch_embed.proj', 'embeddings.patch_embeddings.projection'),
      ('patch_embed.norm', 'embeddings.norm'),
      ('layers.', 'encoder.layers.'),
      ('attn.proj', 'attention.output.dense'),
      ('attn.rel', 'attention.self.rel'),
      ('norm1.', 'layernorm_before.'),
      ('norm2.', 'layernorm_after.'),
      ('mlp.fc1', 'intermediate.dense'),
      ('mlp.fc2', 'output.dense'),
      ('norm.weight', 'layernorm.weight'),
  )
  named = {}
  for key, value in _authors(official).items():
    if 'mask' in key:
      continue
    if key == 'head.weight':
      named['classifier.weight'] = value
      continue
    if '.attn.qkv.' in key:
      start, end = ('encoder.' + key).split('.attn.qkv.')
      for part, piece in zip(
          ('query', 'key', 'value'), np.split(value, 3), strict=True
      ):
        named[f'swin.{start}.attention.self.{part}.{end}'] = piece
      continue
    for ours, theirs in names:
      whole_norm = ours == 'norm.weight'
      if (key == ours) if whole_norm else (ours in key):
        key = key.replace(ours, theirs)
    named['swin.' + key] = value
  return named


@pytest.mark.parametrize('form', [_authors, _timm, _hugging_face])
def test_a_swin_fills_the_backbone_but_the_norms_of_its_outputs(
    official, whole, form
):
  state = form(official)
  assert encoder_file.is_encoder(state)
  encoder = encoder_file.read_encoder(state, abstract_models.params('nanoB'))
  want = {
      path
      for path in whole
      if path.startswith('backbone/') and not re.match(r'backbone/norm\d', path)
  }
  assert encoder.params.keys() == want
  for path in want:
    np.testing.assert_array_equal(
        encoder.params[path], whole[path], err_msg=path
    )
  assert any('head' in x or 'classifier' in x for x in encoder.unused)


@pytest.mark.parametrize('prefix', ['', 'bert.'])
@pytest.mark.parametrize('old', [True, False])
def test_a_bert_fills_the_language_backbone(official, whole, prefix, old):
  start = 'language_backbone.body.model.'
  state = {}
  for key, value in official.items():
    if key.startswith(start):
      key = prefix + key.removeprefix(start)
      if old:
        key = key.replace('LayerNorm.weight', 'LayerNorm.gamma')
        key = key.replace('LayerNorm.bias', 'LayerNorm.beta')
      state[key] = value
  state[prefix + 'pooler.dense.bias'] = np.ones(3)
  state['cls.predictions.bias'] = np.ones(3)
  encoder = encoder_file.read_encoder(state, abstract_models.params('nanoB'))
  want = {path for path in whole if path.startswith('language/')}
  assert encoder.params.keys() == want
  for path in want:
    np.testing.assert_array_equal(
        encoder.params[path], whole[path], err_msg=path
    )
  assert encoder.unused == ('pooler.dense.bias', 'cls.predictions.bias')


def test_windows_of_another_size_are_refused_in_words(official):
  with pytest.raises(
      errors.UserError, match=r'windows of \[7\], the .* has 12'
  ):
    encoder_file.read_encoder(
        _authors(official), abstract_models.params('nanoL')
    )


def test_what_no_detector_knows_is_a_fault(official):
  state = _timm(official) | {'layers.0.more': np.ones(2)}
  del state['patch_embed.norm.bias']
  with pytest.raises(rules.WeightsError) as caught:
    encoder_file.read_encoder(state, abstract_models.params('nanoB'))
  assert len(caught.value.faults) == 2
  state = _hugging_face(official)
  del state['swin.encoder.layers.0.blocks.0.attention.self.key.bias']
  with pytest.raises(rules.WeightsError, match='its key is missing'):
    encoder_file.read_encoder(state, abstract_models.params('nanoB'))


def test_a_model_starts_from_a_file_and_says_what_is_not_in_it(
    official, whole, tmp_path
):
  path = tmp_path / 'swin.pth'
  formats.write(path, _authors(official))
  recipe = abstract_models.recipe('nanoB')
  fresh = jax.tree.map(
      lambda x: jax.numpy.full(x.shape, 7.0), abstract_models.params('nanoB')
  )
  arrays, unused = params_file.read_start(path, fresh, recipe)
  params, report = initial_params.from_arrays(path, fresh, arrays, unused)
  flat = rules.flatten(params)
  for name in report.loaded:
    np.testing.assert_array_equal(flat[name], whole[name])
  for name in report.missing:
    assert (flat[name] == 7).all(), name
  assert 'backbone/norm1/scale' in report.missing
  assert set(report.loaded) | set(report.missing) == flat.keys()
  assert set(report.unused) == {
      'layers.0.blocks.1.attn_mask',
      'norm.weight',
      'head.weight',
  }
  formats.write(path, official)
  arrays, unused = params_file.read_start(path, fresh, recipe)
  _, report = initial_params.from_arrays(path, fresh, arrays, unused)
  assert not report.missing and not report.unused
