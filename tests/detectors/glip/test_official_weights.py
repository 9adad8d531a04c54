"""Official names: exactly one rule for each, in every released variant."""

import json
import math
import re
import zlib

import abstract_models
import golden_weights
import jax
import numpy as np
import pytest

from glip_jax.detectors.glip import official_weights as glip
from glip_jax.models import swin
from glip_jax.weights import buffers, rules
from glip_jax.weights.rules import WeightsError

NANO = ('nanoA', 'nanoB', 'nanoC', 'nanoL')
# In the official state, but no parameter.
COMPUTED = ('relative_position_index', 'cell_anchors', 'cls_logits')


def _manifest(folder, name):
  text = (folder / f'{name}.manifest.json').read_text()
  return {key: tuple(shape) for key, shape in json.loads(text).items()}


def _ramps(manifest):
  """Arrays in which every place differs from its neighbours, by key."""
  state = {}
  for key, shape in manifest.items():
    if 'index' in key or 'anchors' in key:
      state[key] = golden_weights.computed(key, shape)
    else:
      start = zlib.crc32(key.encode()) % 32768
      ramp = np.arange(start, start + math.prod(shape), dtype=np.int32)
      state[key] = ramp.astype(np.int16).reshape(shape)
  return state


def _check_round_trip(folder, name):
  """In, out and in again, in 16 bits, so that L takes little memory."""
  manifest = _manifest(folder, name)
  state = _ramps(manifest)
  params = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, np.int16),
      abstract_models.params(name),
  )
  once = glip.from_official(state, params)
  back = glip.to_official(once)
  assert {key: x.shape for key, x in back.items()} == manifest
  for key, want in state.items():
    if 'cls_logits' not in key:
      assert back[key].dtype == want.dtype, key
      np.testing.assert_array_equal(back[key], want, err_msg=key)
  again = glip.from_official(back, params)
  jax.tree.map(np.testing.assert_array_equal, once, again)


@pytest.mark.parametrize('name', NANO)
def test_small_checkpoints_come_out_as_they_went_in(golden, name):
  _check_round_trip(golden / 'nano', name)


@pytest.mark.parametrize(
    'name',
    ['A', 'B', *(pytest.param(n, marks=pytest.mark.large) for n in 'CL')],
)
def test_released_checkpoints_come_out_as_they_went_in(shared, name):
  _check_round_trip(shared / 'reference' / 'golden' / 'full', name)


@pytest.mark.parametrize('name', NANO)
def test_only_what_is_computed_has_no_parameter(golden, name):
  manifest = _manifest(golden / 'nano', name)
  table = glip.rules_of(abstract_models.params(name), 8.0)
  for key, found in rules.matches(table, list(manifest)):
    ((_, target),) = found
    assert (target is None) == any(part in key for part in COMPUTED), key


def test_the_unused_classifier_has_as_many_classes_as_asked(golden):
  state = golden_weights.official_state(golden / 'nano', 'nanoB')
  params = glip.from_official(state, abstract_models.params('nanoB'))
  back = glip.to_official(params, num_classes=365)
  assert back['rpn.head.cls_logits.weight'].shape == (365, 64, 1, 1)
  assert back['rpn.head.cls_logits.bias'].shape == (365,)
  # And a file with so many classes is read.
  again = glip.from_official(back, abstract_models.params('nanoB'))
  jax.tree.map(np.testing.assert_array_equal, params, again)


def test_the_anchors_that_are_written_are_the_official_ones(golden):
  official = np.load(golden / 'parts' / 'boxes_ops.npz')
  for level in range(5):
    np.testing.assert_array_equal(
        buffers.cell_anchors(level), official[f'cell_anchors_l{level}']
    )


@pytest.mark.parametrize('window', [7, 12])
def test_the_index_of_windows_is_the_one_the_model_uses(window):
  ours = swin._relative_index(window)
  written = buffers.relative_position_index(window)
  np.testing.assert_array_equal(written, ours)
  assert written.dtype == np.int64
  # Tokens apart by the same step share a row, and every row has a pair.
  assert np.unique(written).size == (2 * window - 1) ** 2
  assert np.unique(np.diag(written)).size == 1


@pytest.mark.parametrize(
    'key, array, fault',
    [
        (
            'backbone.body.layers.0.blocks.0.attn.relative_position_index',
            np.zeros((49, 49), np.int64),
            'is not the index of Swin version 1 with a window of 7',
        ),
        (
            'backbone.body.layers.0.blocks.0.attn.relative_position_index',
            np.zeros((50, 49), np.int64),
            'shape (50, 49) is that of no square window',
        ),
        (
            'rpn.anchor_generator.cell_anchors.0',
            np.array([[-16, -16, 23, 23]]),
            (
                'anchors [[-16.0, -16.0, 23.0, 23.0]] are not the'
                ' [[-28.0, -28.0, 35.0, 35.0]] of this model'
            ),
        ),
    ],
)
def test_computed_arrays_that_the_model_would_compute_otherwise_are_refused(
    golden, key, array, fault
):
  state = golden_weights.official_state(golden / 'nano', 'nanoA')
  with pytest.raises(WeightsError) as caught:
    glip.from_official(state | {key: array}, abstract_models.params('nanoA'))
  assert str(caught.value) == f'1 fault in the weights: {key}: {fault}'


def test_smaller_anchors_are_written_and_read_again():
  params = jax.tree.map(
      lambda x: np.zeros(x.shape, x.dtype), abstract_models.params('shapes')
  )
  state = glip.to_official(params, anchor_scale=2.5)
  np.testing.assert_array_equal(
      state['rpn.anchor_generator.cell_anchors.0'], [[-6, -6, 13, 13]]
  )
  glip.from_official(state, params, anchor_scale=2.5)
  with pytest.raises(WeightsError, match='5 faults'):
    glip.from_official(state, params)


def test_parameters_of_another_model_are_not_written(golden):
  state = golden_weights.official_state(golden / 'nano', 'nanoA')
  params = glip.from_official(state, abstract_models.params('nanoA'))
  del params['head']['bias0']
  params['head']['more'] = np.zeros(3)
  with pytest.raises(WeightsError) as caught:
    glip.to_official(params)
  assert str(caught.value) == (
      '2 faults in the weights: head/more: no rule gives it a name;'
      ' rpn.head.bias0: no parameter fills it'
  )
  del params['tower']
  with pytest.raises(WeightsError, match='tower/.*: missing'):
    glip.to_official(params)


@pytest.mark.parametrize('name', NANO)
def test_a_converted_checkpoint_has_the_form_of_the_model(golden, name):
  state = golden_weights.official_state(golden / 'nano', name)
  params = abstract_models.params(name)
  converted = glip.from_official(state, params)
  form = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  assert form(converted) == form(params)


def test_blocks_go_to_their_place_in_the_stack(golden):
  state = golden_weights.official_state(golden / 'nano', 'nanoL')
  params = glip.from_official(state, abstract_models.params('nanoL'))
  tower = params['tower']['blocks']
  for block in range(3):
    np.testing.assert_array_equal(
        tower['fusion']['image_scale'][block],
        state[f'rpn.head.dyhead_tower.{3 * block}.b_attn.gamma_v'],
    )
    np.testing.assert_array_equal(
        tower['dyconv']['offset']['bias'][block],
        state[f'rpn.head.dyhead_tower.{3 * block + 2}.offset.bias'],
    )
  np.testing.assert_array_equal(
      params['head']['scales'],
      [state[f'rpn.head.scales.{i}.scale'][0] for i in range(5)],
  )


def test_position_ids_of_older_checkpoints_are_accepted(golden):
  state = golden_weights.official_state(golden / 'nano', 'nanoA')
  key = 'language_backbone.body.model.embeddings.position_ids'
  shapes = abstract_models.params('nanoA')
  mine = glip.from_official(state | {key: np.arange(512)[None]}, shapes)
  jax.tree.map(
      np.testing.assert_array_equal, mine, glip.from_official(state, shapes)
  )


def test_everything_amiss_is_in_one_error(golden):
  state = golden_weights.official_state(golden / 'nano', 'nanoA')
  state['module.rpn.head.bias0'] = state.pop('rpn.head.bias0')
  state['backbone.fpn.fpn_inner2.bias'] = np.zeros(3)
  with pytest.raises(WeightsError) as caught:
    glip.from_official(state, abstract_models.params('nanoA'))
  assert str(caught.value) == (
      '3 faults in the weights: head/bias0: nothing fills it;'
      ' module.rpn.head.bias0: 0 rules match;'
      ' neck/inner3/bias: shape (3,), wanted (64,)'
  )


def test_a_checkpoint_without_fusion_does_not_pass_for_one_with_it(golden):
  state = golden_weights.official_state(golden / 'nano', 'nanoA')
  with pytest.raises(WeightsError) as caught:
    glip.from_official(state, abstract_models.params('nanoB'))
  faults = caught.value.faults
  assert 'tower/blocks/fusion/image_query/kernel: nothing fills it' in faults
  assert 'rpn.head.dyhead_tower.0.offset.weight: 0 rules match' in faults
  # Both sides are seen in the message, however many faults either has.
  assert '0 rules match' in str(caught.value)
  assert 'nothing fills it' in str(caught.value)


@pytest.mark.parametrize('name', NANO)
def test_rule_made_weights_have_the_stored_checksums(golden, name):
  text = (golden / 'nano' / f'{name}.weights_checksum.json').read_text()
  stored = json.loads(text)
  manifest = _manifest(golden / 'nano', name)
  assert stored['checksums_sum_abssum'].keys() == manifest.keys()
  checked = 0
  for key, want in stored['checksums_sum_abssum'].items():
    weight = golden_weights.make_weight(
        key, manifest[key], stored['seed_offset']
    )
    if weight is None:
      continue
    weight = weight.astype(np.float64)
    got = [weight.sum(), np.abs(weight).sum()]
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9, err_msg=key)
    checked += 1
  kept = [key for key in manifest if re.search('index|cell_anchors', key)]
  assert checked == len(manifest) - len(kept)


def test_flattened_paths_read_like_the_architecture():
  paths = rules.flatten(abstract_models.params('B'))
  assert 'tower/blocks/fusion/image_query/kernel' in paths
  assert 'backbone/stage2_block5/attention/qkv/kernel' in paths
