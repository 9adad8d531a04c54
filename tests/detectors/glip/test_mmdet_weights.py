"""mmdetection's names and layouts: everything goes to its place."""

import abstract_models
import golden_weights
import jax
import numpy as np
import pytest

from glip_jax.detectors.glip import mmdet_weights as mmdet
from glip_jax.detectors.glip import official_weights as glip
from glip_jax.weights import rules

# Names as its public source gives them, one of each kind.
_KNOWN = {
    'backbone.body.patch_embed.proj.bias': (
        'backbone.patch_embed.projection.bias'
    ),
    'backbone.body.patch_embed.norm.bias': 'backbone.patch_embed.norm.bias',
    'backbone.body.norm2.weight': 'backbone.norm2.weight',
    'backbone.body.layers.1.blocks.0.norm1.bias': (
        'backbone.stages.1.blocks.0.norm1.bias'
    ),
    'backbone.body.layers.1.blocks.0.attn.qkv.bias': (
        'backbone.stages.1.blocks.0.attn.w_msa.qkv.bias'
    ),
    'backbone.body.layers.1.blocks.0.attn.relative_position_bias_table': (
        'backbone.stages.1.blocks.0.attn.w_msa.relative_position_bias_table'
    ),
    'backbone.body.layers.1.blocks.0.mlp.fc1.bias': (
        'backbone.stages.1.blocks.0.ffn.layers.0.0.bias'
    ),
    'backbone.body.layers.1.blocks.0.mlp.fc2.bias': (
        'backbone.stages.1.blocks.0.ffn.layers.1.bias'
    ),
    'backbone.fpn.fpn_inner2.bias': 'neck.lateral_convs.0.conv.bias',
    'backbone.fpn.fpn_layer4.bias': 'neck.fpn_convs.2.conv.bias',
    'backbone.fpn.top_blocks.p7.bias': 'neck.fpn_convs.4.conv.bias',
    'language_backbone.body.model.embeddings.LayerNorm.bias': (
        'language_model.language_backbone.body.model.embeddings.LayerNorm.bias'
    ),
    'rpn.head.bias_lang': 'bbox_head.head.bias_lang',
    'rpn.head.dyhead_tower.2.DyConv.1.bn.bias': (
        'bbox_head.head.dyhead_tower.2.dyconvs.1.bn.bias'
    ),
    'rpn.head.dyhead_tower.2.AttnConv.1.bias': (
        'bbox_head.head.dyhead_tower.2.attnconv.1.bias'
    ),
    'rpn.head.dyhead_tower.2.relu.fc.0.bias': (
        'bbox_head.head.dyhead_tower.2.relu.fc.0.bias'
    ),
    'rpn.head.dyhead_tower.0.b_attn.attn.v_proj.bias': (
        'bbox_head.head.dyhead_tower.0.b_attn.attn.v_proj.bias'
    ),
}


def _official(golden, name='nanoB'):
  return golden_weights.official_state(golden / 'nano', name)


def _params(golden, name='nanoB'):
  return glip.from_official(
      _official(golden, name), abstract_models.params(name)
  )


@pytest.mark.parametrize('name', ['nanoA', 'nanoB', 'nanoL'])
def test_all_parameters_come_back_from_its_names(golden, name):
  params = _params(golden, name)
  state = rules.invert(params, mmdet.mmdet_rules(params))
  assert not any('rpn.' in key or 'body.norm' in key for key in state)
  back = mmdet.from_mmdet(state, params)
  jax.tree.map(np.testing.assert_array_equal, params, back)


def test_names_are_those_of_its_source(golden):
  params = _params(golden)
  state = rules.invert(params, mmdet.mmdet_rules(params))
  official = _official(golden)
  for ours, theirs in _KNOWN.items():
    np.testing.assert_array_equal(state[theirs], official[ours], err_msg=ours)


def _merge(x, scale, kernel, order):
  """The first cell of a patch merging, read in an order, without a norm."""
  features = np.array([x[i, j, c] for i, j, c in order])
  return kernel @ (features * scale)


def test_its_patch_merging_reads_channel_by_channel(golden):
  params = _params(golden)
  state = rules.invert(params, mmdet.mmdet_rules(params))
  official = _official(golden)
  x = np.random.default_rng(0).standard_normal((2, 2, 16))
  channels = range(16)
  # Unfold: channels outermost, then rows, then columns.
  theirs = [(i, j, c) for c in channels for i in (0, 1) for j in (0, 1)]
  # The official order: both rows of the first column, then of the second.
  ours = [(i, j, c) for j in (0, 1) for i in (0, 1) for c in channels]
  merged = [
      _merge(x, table[norm], table[kernel], order)
      for table, norm, kernel, order in (
          (
              state,
              'backbone.stages.0.downsample.norm.weight',
              'backbone.stages.0.downsample.reduction.weight',
              theirs,
          ),
          (
              official,
              'backbone.body.layers.0.downsample.norm.weight',
              'backbone.body.layers.0.downsample.reduction.weight',
              ours,
          ),
      )
  ]
  np.testing.assert_allclose(*merged, rtol=1e-6)


def test_official_names_do_not_pass_for_its_own(golden):
  with pytest.raises(rules.WeightsError) as caught:
    mmdet.from_mmdet(_official(golden), abstract_models.params('nanoB'))
  assert 'rpn.head.bias0: 0 rules match' in caught.value.faults
