"""Encoders of their own: what is loaded, what is not, what is refused."""

import re

import abstract_models
import golden_weights
import jax
import jax.numpy as jnp
import named_weights
import numpy as np
import pytest

from glip_jax import errors
from glip_jax.detectors.glip import official_weights as glip
from glip_jax.models import bert, resnet
from glip_jax.training import initial_params
from glip_jax.weights import (
    encoder_file,
    encoder_names,
    formats,
    params_file,
    rules,
)


@pytest.fixture(scope='module')
def official(golden):
  return golden_weights.official_state(golden / 'nano', 'nanoB')


@pytest.fixture(scope='module')
def whole(official):
  params = glip.from_official(official, abstract_models.params('nanoB'))
  return rules.flatten(params)


@pytest.fixture(scope='module')
def bottlenecks(golden):
  """A resnet50 of torchvision with its classifier, as published."""
  state = named_weights.official_state(golden / 'resnet' / 'resnet50.json')
  count = {
      key.replace('running_mean', 'num_batches_tracked'): np.array(7)
      for key in state
      if key.endswith('running_mean')
  }
  return state | count


def _resnet(**sizes):
  """Shapes of a model whose backbone is a ResNet."""
  args = (jax.random.key(0), jnp.zeros((1, 32, 32, 3)), jnp.array([[32, 32]]))
  shapes = jax.eval_shape(resnet.ResNet(**sizes).init, *args)['params']
  return {'backbone': shapes, 'head': {'bias': jax.ShapeDtypeStruct((3,), 'f')}}


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


def test_a_resnet_fills_the_backbone_but_not_with_its_classifier(
    bottlenecks, tmp_path
):
  params = _resnet()
  path = tmp_path / 'resnet50.pth'
  formats.write(path, bottlenecks)
  arrays, unused = params_file.read_start(path, params, recipe=None)
  assert set(unused) == {'fc.weight', 'fc.bias'}
  want = {p for p in rules.flatten(params) if p.startswith('backbone/')}
  assert arrays.keys() == want
  for own, theirs in {
      'conv1/kernel': 'conv1.weight',
      'frozen_norm1/variance': 'bn1.running_var',
      'stage0_block0/frozen_norm_project/mean': (
          'layer1.0.downsample.1.running_mean'
      ),
      'stage2_block5/conv2/kernel': 'layer3.5.conv2.weight',
      'stage3_block0/project/kernel': 'layer4.0.downsample.0.weight',
      'stage3_block2/frozen_norm3/scale': 'layer4.2.bn3.weight',
      'stage3_block2/frozen_norm3/bias': 'layer4.2.bn3.bias',
  }.items():
    value = bottlenecks[theirs]
    value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
    np.testing.assert_array_equal(arrays[f'backbone/{own}'], value, err_msg=own)


def test_a_resnet_goes_back_to_the_names_that_it_came_from(bottlenecks):
  encoder = encoder_file.read_encoder(bottlenecks, _resnet())
  back = rules.invert(encoder.params, encoder_names.resnet(''))
  known = {
      key: x
      for key, x in bottlenecks.items()
      if not re.match(r'fc|.*num_batches_tracked', key)
  }
  assert back.keys() == known.keys()
  for key, value in known.items():
    np.testing.assert_array_equal(back[key], value, err_msg=key)


def test_a_resnet_that_does_not_fit_is_refused_name_by_name(bottlenecks):
  state = bottlenecks | {'layer1.0.se.weight': np.ones(2)}
  del state['layer2.0.bn2.running_var']
  with pytest.raises(rules.WeightsError) as caught:
    encoder_file.read_encoder(state, _resnet())
  assert caught.value.faults == (
      'layer1.0.se.weight: 0 rules match',
      'backbone/stage1_block0/frozen_norm2/variance: nothing fills it',
  )
  with pytest.raises(rules.WeightsError) as caught:
    encoder_file.read_encoder(bottlenecks, _resnet(depths=(3, 4, 6)))
  assert all('stage3_' in fault for fault in caught.value.faults)


def test_a_backbone_of_another_architecture_is_refused_in_words(
    official, bottlenecks
):
  with pytest.raises(errors.UserError, match='a ResNet, but the backbone'):
    encoder_file.read_encoder(bottlenecks, abstract_models.params('nanoB'))
  with pytest.raises(errors.UserError, match='a Swin, but the backbone'):
    encoder_file.read_encoder(_authors(official), _resnet())


def test_a_bert_without_a_pooler_does_not_fill_one(golden):
  state = named_weights.official_state(golden / 'bert' / 'pooler.json')
  model = bert.Bert(50, 16, 2, 2, 32, 12, pooler=True)
  shapes = jax.eval_shape(
      model.init,
      jax.random.key(0),
      jnp.zeros((1, 4), int),
      jnp.ones((1, 4), bool),
  )['params']
  del state['pooler.dense.weight']
  with pytest.raises(rules.WeightsError, match='pooler/kernel: nothing fills'):
    encoder_file.read_encoder(state, {'language': shapes})


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
