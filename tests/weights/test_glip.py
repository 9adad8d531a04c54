"""Official names: exactly one rule for each, in every released variant."""

import collections
import functools
import json
import re

import abstract_models
import golden_weights
import jax
import numpy as np
import pytest

from glip_jax.weights import glip, rules
from glip_jax.weights.rules import WeightsError

NANO = ('nanoA', 'nanoB', 'nanoC', 'nanoL')
FULL = ('A', 'B', 'C', 'L')
# Read by no rule into a parameter, and why that is right.
UNUSED = (
    r'.*relative_position_index',  # Computed from the window.
    r'.*cell_anchors\.\d',  # Computed from the strides.
    r'rpn\.head\.cls_logits\.(weight|bias)',  # Multiplied by zero there.
)


def _manifest(folder, name):
  text = (folder / f'{name}.manifest.json').read_text()
  return {key: tuple(shape) for key, shape in json.loads(text).items()}


@functools.cache
def _table(name):
  """(compiled pattern, rule) of all rules that `from_official` uses."""
  config = abstract_models.variants.to_config(name)
  table = glip.glip_rules(
      blocks=config.head.depth,
      text_layers=config.language.depth,
      fused=config.head.fusion is not None,
  )
  return [(re.compile(rule.pattern), rule) for rule in table]


def _match(name, key):
  """The one rule for a key, and its match."""
  found = [
      (r, m) for pattern, r in _table(name) if (m := pattern.fullmatch(key))
  ]
  assert len(found) == 1, (key, [rule.target for rule, _ in found])
  return found[0]


def _shapes(manifest, name):
  """Shape of each parameter that a checkpoint fills; nothing is allocated."""
  places = collections.defaultdict(dict)
  for key, shape in manifest.items():
    rule, match = _match(name, key)
    unused = any(re.fullmatch(pattern, key) for pattern in UNUSED)
    assert (rule.target is None) == unused, key
    if unused:
      continue
    path, _, place = match.expand(rule.target).rstrip(']').partition('[')
    assert place not in places[path], key
    array = np.broadcast_to(np.float32(0), shape)
    places[path][place] = rule.transform(array).shape
  return {path: _stacked(path, pieces) for path, pieces in places.items()}


def _stacked(path, pieces):
  if set(pieces) == {''}:
    return pieces['']
  assert set(pieces) == set(map(str, range(len(pieces)))), path
  (shape,) = set(pieces.values())
  return (len(pieces), *shape)


def _check_complete(folder, name):
  params = rules.flatten(abstract_models.params(name))
  want = {path: leaf.shape for path, leaf in params.items()}
  assert _shapes(_manifest(folder, name), name) == want


@pytest.mark.parametrize('name', NANO)
def test_small_checkpoints_are_complete_both_ways(golden, name):
  _check_complete(golden / 'nano', name)


@pytest.mark.parametrize('name', FULL)
def test_released_checkpoints_are_complete_both_ways(shared, name):
  _check_complete(shared / 'reference' / 'golden' / 'full', name)


@pytest.mark.parametrize('name', NANO)
def test_every_rule_is_undone_by_its_inverse(golden, name):
  for key, shape in _manifest(golden / 'nano', name).items():
    rule, _ = _match(name, key)
    if rule.target is None:
      continue
    array = np.arange(np.prod(shape)).reshape(shape)
    back = rule.inverse(rule.transform(array))
    np.testing.assert_array_equal(back, array, err_msg=key)


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
  glip.from_official(
      state | {key: np.arange(512)[None]}, abstract_models.params('nanoA')
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
  message = str(caught.value)
  assert 'tower/blocks/fusion/image_query/kernel: nothing fills it' in message
  assert 'dyhead_tower.0.offset.weight: 0 rules match' in message


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
