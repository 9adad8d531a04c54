"""mmdetection's names and layouts of Grounding DINO: all go to their places."""

import collections
import dataclasses
import pickle
import re

import abstract_models
import jax
import mmdet_modules
import numpy as np
import pytest
import torch_zip as tz
from parity import dino

from glip_jax.detectors.grounding_dino import mmdet_weights as mmdet
from glip_jax.weights import buffers, params_file, rules

_SWIN = 'model.backbone.conv_encoder.model.'
_BERT = 'language_model.language_backbone.body.model.'
# Names as Hugging Face's script pairs them, one of each kind.
_KNOWN = {
    _SWIN
    + 'embeddings.patch_embeddings.projection.weight': (
        'backbone.patch_embed.projection.weight'
    ),
    _SWIN + 'embeddings.norm.bias': 'backbone.patch_embed.norm.bias',
    _SWIN
    + 'encoder.layers.2.blocks.1.layernorm_before.bias': (
        'backbone.stages.2.blocks.1.norm1.bias'
    ),
    _SWIN
    + 'encoder.layers.2.blocks.1.layernorm_after.bias': (
        'backbone.stages.2.blocks.1.norm2.bias'
    ),
    _SWIN
    + 'encoder.layers.2.blocks.1.attention.self.relative_position_bias_table': (
        'backbone.stages.2.blocks.1.attn.w_msa.relative_position_bias_table'
    ),
    _SWIN
    + 'encoder.layers.2.blocks.1.attention.output.dense.weight': (
        'backbone.stages.2.blocks.1.attn.w_msa.proj.weight'
    ),
    _SWIN
    + 'encoder.layers.2.blocks.1.intermediate.dense.weight': (
        'backbone.stages.2.blocks.1.ffn.layers.0.0.weight'
    ),
    _SWIN
    + 'encoder.layers.2.blocks.1.output.dense.weight': (
        'backbone.stages.2.blocks.1.ffn.layers.1.weight'
    ),
    _SWIN + 'hidden_states_norms.stage2.weight': 'backbone.norm1.weight',
    _SWIN + 'hidden_states_norms.stage4.weight': 'backbone.norm3.weight',
    'model.input_proj_vision.0.0.weight': 'neck.convs.0.conv.weight',
    'model.input_proj_vision.2.1.bias': 'neck.convs.2.gn.bias',
    'model.input_proj_vision.3.0.weight': 'neck.extra_convs.0.conv.weight',
    'model.input_proj_vision.3.1.weight': 'neck.extra_convs.0.gn.weight',
    'model.text_backbone.embeddings.word_embeddings.weight': (
        _BERT + 'embeddings.word_embeddings.weight'
    ),
    'model.text_backbone.encoder.layer.1.attention.self.key.weight': (
        _BERT + 'encoder.layer.1.attention.self.key.weight'
    ),
    'model.text_projection.weight': 'text_feat_map.weight',
    'model.encoder.layers.1.fusion_layer.vision_param': (
        'encoder.fusion_layers.1.gamma_v'
    ),
    'model.encoder.layers.1.fusion_layer.text_param': (
        'encoder.fusion_layers.1.gamma_l'
    ),
    'model.encoder.layers.1.fusion_layer.layer_norm_vision.weight': (
        'encoder.fusion_layers.1.layer_norm_v.weight'
    ),
    'model.encoder.layers.1.fusion_layer.layer_norm_text.weight': (
        'encoder.fusion_layers.1.layer_norm_l.weight'
    ),
    'model.encoder.layers.1.fusion_layer.attn.vision_proj.weight': (
        'encoder.fusion_layers.1.attn.v_proj.weight'
    ),
    'model.encoder.layers.1.fusion_layer.attn.values_vision_proj.weight': (
        'encoder.fusion_layers.1.attn.values_v_proj.weight'
    ),
    'model.encoder.layers.1.fusion_layer.attn.out_vision_proj.weight': (
        'encoder.fusion_layers.1.attn.out_v_proj.weight'
    ),
    'model.encoder.layers.1.fusion_layer.attn.text_proj.weight': (
        'encoder.fusion_layers.1.attn.l_proj.weight'
    ),
    'model.encoder.layers.1.fusion_layer.attn.values_text_proj.weight': (
        'encoder.fusion_layers.1.attn.values_l_proj.weight'
    ),
    'model.encoder.layers.1.fusion_layer.attn.out_text_proj.weight': (
        'encoder.fusion_layers.1.attn.out_l_proj.weight'
    ),
    'model.encoder.layers.1.deformable_layer.self_attn.value_proj.weight': (
        'encoder.layers.1.self_attn.value_proj.weight'
    ),
    'model.encoder.layers.1.deformable_layer.self_attn_layer_norm.bias': (
        'encoder.layers.1.norms.0.bias'
    ),
    'model.encoder.layers.1.deformable_layer.fc1.weight': (
        'encoder.layers.1.ffn.layers.0.0.weight'
    ),
    'model.encoder.layers.1.deformable_layer.fc2.weight': (
        'encoder.layers.1.ffn.layers.1.weight'
    ),
    'model.encoder.layers.1.deformable_layer.final_layer_norm.bias': (
        'encoder.layers.1.norms.1.bias'
    ),
    'model.encoder.layers.1.text_enhancer_layer.self_attn.out_proj.weight': (
        'encoder.text_layers.1.self_attn.attn.out_proj.weight'
    ),
    'model.encoder.layers.1.text_enhancer_layer.layer_norm_before.bias': (
        'encoder.text_layers.1.norms.0.bias'
    ),
    'model.encoder.layers.1.text_enhancer_layer.fc1.weight': (
        'encoder.text_layers.1.ffn.layers.0.0.weight'
    ),
    'model.encoder.layers.1.text_enhancer_layer.fc2.weight': (
        'encoder.text_layers.1.ffn.layers.1.weight'
    ),
    'model.encoder.layers.1.text_enhancer_layer.layer_norm_after.bias': (
        'encoder.text_layers.1.norms.1.bias'
    ),
    'model.encoder_output_bbox_embed.layers.0.weight': (
        'bbox_head.reg_branches.2.0.weight'
    ),
    'model.encoder_output_bbox_embed.layers.2.weight': (
        'bbox_head.reg_branches.2.4.weight'
    ),
    'model.decoder.layer_norm.bias': 'decoder.norm.bias',
    'model.decoder.reference_points_head.layers.1.weight': (
        'decoder.ref_point_head.layers.1.weight'
    ),
    'model.decoder.layers.1.self_attn_layer_norm.bias': (
        'decoder.layers.1.norms.0.bias'
    ),
    'model.decoder.layers.1.encoder_attn_text_layer_norm.bias': (
        'decoder.layers.1.norms.1.bias'
    ),
    'model.decoder.layers.1.encoder_attn_layer_norm.bias': (
        'decoder.layers.1.norms.2.bias'
    ),
    'model.decoder.layers.1.final_layer_norm.bias': (
        'decoder.layers.1.norms.3.bias'
    ),
    'model.decoder.layers.1.encoder_attn_text.out_proj.weight': (
        'decoder.layers.1.cross_attn_text.attn.out_proj.weight'
    ),
    'model.decoder.layers.1.self_attn.out_proj.weight': (
        'decoder.layers.1.self_attn.attn.out_proj.weight'
    ),
    'model.decoder.layers.1.encoder_attn.sampling_offsets.weight': (
        'decoder.layers.1.cross_attn.sampling_offsets.weight'
    ),
    'model.decoder.layers.1.fc1.weight': (
        'decoder.layers.1.ffn.layers.0.0.weight'
    ),
    'model.decoder.layers.1.fc2.weight': 'decoder.layers.1.ffn.layers.1.weight',
    'model.level_embed': 'level_embed',
    'model.query_position_embeddings.weight': 'query_embedding.weight',
    'model.enc_output.weight': 'memory_trans_fc.weight',
    'model.enc_output_norm.bias': 'memory_trans_norm.bias',
    'bbox_embed.1.layers.0.weight': 'bbox_head.reg_branches.1.0.weight',
    'bbox_embed.1.layers.1.bias': 'bbox_head.reg_branches.1.2.bias',
    'bbox_embed.1.layers.2.weight': 'bbox_head.reg_branches.1.4.weight',
}
# Whose queries, keys and values are one array there.
_JOINED = {
    'model.encoder.layers.1.text_enhancer_layer.self_attn.': (
        'encoder.text_layers.1.self_attn.attn.in_proj_'
    ),
    'model.decoder.layers.0.self_attn.': (
        'decoder.layers.0.self_attn.attn.in_proj_'
    ),
    'model.decoder.layers.1.encoder_attn_text.': (
        'decoder.layers.1.cross_attn_text.attn.in_proj_'
    ),
    _SWIN
    + 'encoder.layers.1.blocks.0.attention.self.': (
        'backbone.stages.1.blocks.0.attn.w_msa.qkv.'
    ),
}
_INDEX = 'backbone.stages.1.blocks.0.attn.w_msa.relative_position_index'
# What files hold beside the network, and a detector has no use for.
_BESIDE = {
    _INDEX: buffers.relative_position_index(7),
    _BERT + 'embeddings.position_ids': np.arange(512)[None],
    _BERT + 'pooler.dense.weight': np.ones((64, 64), np.float32),
    _BERT + 'pooler.dense.bias': np.ones(64, np.float32),
    'dn_query_generator.label_embedding.weight': np.ones((256, 64), 'f4'),
    'lmm.model.layers.0.mlp.up_proj.weight': np.ones((2, 3), np.float16),
    'connector.0.weight': np.ones((2, 3), np.float32),
    'region_connector.0.weight': np.ones((2, 3), np.float32),
    'image_seperate.weight': np.ones((1, 3), np.float32),
    'ref_point_head.layers.0.weight': np.ones((2, 3), np.float32),
}


@pytest.fixture(scope='module')
def mm():
  return dino.Reference('mm_nano')


def _state(params):
  """Parameters by mmdetection's names."""
  state, parts = {}, collections.defaultdict(dict)
  for key, value in rules.invert(params, mmdet.rules_of(params)).items():
    match = re.fullmatch(r'(.*_proj_\w+)\[(\w+)\]', key)
    if match:
      parts[match[1]][match[2]] = value
    else:
      state[key] = value
  for key, three in parts.items():
    three = [three[part] for part in ('query', 'key', 'value')]
    state[key] = np.concatenate(three)
  return state


@pytest.mark.parametrize('name', ['mm_nano', 'mms_nano', 'gd_nano'])
def test_all_parameters_come_back_from_its_names(name):
  model = dino.Reference(name)
  state = _state(model.params)
  for key in list(state):  # There the layers have copies of a shared head.
    if name != 'mm_nano' and '_branches.0.' in key:
      state[key.replace('_branches.0.', '_branches.1.')] = state[key]
  sizes = dataclasses.replace(mmdet_modules.NANO, class_bias=name != 'gd_nano')
  found = {key: x.shape for key, x in state.items()}
  assert found == mmdet_modules.shapes(sizes)
  back = model.recipe.read_weights(state, model.shapes)
  jax.tree.map(np.testing.assert_array_equal, back, model.params)


def test_names_are_those_of_its_source(mm):
  state, theirs = _state(mm.params), mm.state
  for known, name in _KNOWN.items():
    np.testing.assert_array_equal(state[name], theirs[known], err_msg=name)
  for known, name in _JOINED.items():
    for kind in ('weight', 'bias'):
      parts = [
          theirs[f'{known}{part}.{kind}'] for part in ('query', 'key', 'value')
      ]
      np.testing.assert_array_equal(state[name + kind], np.concatenate(parts))
  for i in range(2):
    number = theirs[f'class_embed.{i}.bias']
    assert state[f'bbox_head.cls_branches.{i}.bias'] == number[None]
  number = theirs['model.encoder_output_class_embed.bias']
  assert state['bbox_head.cls_branches.2.bias'] == number[None]


def test_its_patch_merging_reads_channel_by_channel(mm):
  mine = _state(mm.params)['backbone.stages.0.downsample.reduction.weight']
  key = _SWIN + 'encoder.layers.0.downsample.reduction.weight'
  theirs, channels = mm.state[key], 16
  for c in range(channels):
    for i, j in np.ndindex(2, 2):
      unfolded = mine[:, 4 * c + 2 * i + j]
      # Hugging Face's: both rows of the first column, then of the second.
      neighbour = theirs[:, (2 * j + i) * channels + c]
      np.testing.assert_array_equal(unfolded, neighbour)


def test_a_checkpoint_is_read_with_all_that_it_holds_beside(mm, tmp_path):
  meta = {
      'cfg': 'model = dict()\n',
      'dataset_meta': {'CLASSES': ('person', 'bicycle'), 'PALETTE': [(1, 2)]},
      'epoch': 30,
      'seed': None,
      'time': '20231204_095047',
      'scale': 0.5,
      'distributed': True,
  }
  path = tz.write_arrays(
      tmp_path / 'grounding_dino_swin-t.pth',
      _state(mm.params) | _BESIDE,
      table='state_dict',
      meta=pickle.dumps(meta, protocol=2)[2:-1],
  )
  back = params_file.read(path, mm.shapes, mm.recipe)
  jax.tree.map(np.testing.assert_array_equal, back, mm.params)


@pytest.mark.parametrize(
    'key, change, message',
    [
        ('level_embed', None, 'level_embedding: nothing fills it'),
        (
            'decoder.layers.0.self_attn.attn.in_proj_bias',
            None,
            r'decoder/layers/queries/key/bias: only places \[1\]',
        ),
        ('decoder.layers.1.norms.4.bias', lambda _: np.ones(64), '0 rules'),
        ('bbox_head.reg_branches.3.0.bias', lambda _: np.ones(64), '0 rules'),
        (
            'decoder.layers.1.self_attn.attn.query.weight',
            lambda _: np.ones((64, 64)),
            '0 rules',
        ),
        (
            'decoder.layers.0.cross_attn_text.attn.in_proj_weight',
            lambda x: x[1:],
            r'in_proj_weight: shape \(191, 64\) is not that of three parts',
        ),
        ('query_embedding.weight', lambda x: x[:59], r'wanted \(60, 64\)'),
        (_INDEX, lambda _: np.zeros((49, 49), int), 'not the index of Swin'),
    ],
)
def test_what_does_not_fit_is_named(mm, key, change, message):
  state = _state(mm.params)
  if change is None:
    del state[key]
  else:
    state[key] = change(state.get(key))
  with pytest.raises(rules.WeightsError, match=message):
    mmdet.from_mmdet(state, mm.shapes)


def test_heads_that_differ_are_not_of_a_model_that_shares_them(mm):
  shapes = abstract_models.params('nano_mms')
  with pytest.raises(
      rules.WeightsError, match=r'reg_branches\.1\.0\.bias: dif'
  ):
    mmdet.from_mmdet(_state(mm.params), shapes)


@pytest.mark.parametrize(
    'name, sizes',
    [
        ('mm_grounding_dino_T', mmdet_modules.TINY),
        ('mm_grounding_dino_B', mmdet_modules.BASE),
        ('mm_grounding_dino_L', mmdet_modules.LARGE),
    ],
)
def test_full_models_have_the_shapes_of_the_public_configs(name, sizes):
  """No number is allocated: all arrays are one zero, seen many times."""
  params = abstract_models.params(name)
  zeros = {
      key: np.broadcast_to(np.float32(0), shape)
      for key, shape in mmdet_modules.shapes(sizes).items()
  }
  found = collections.defaultdict(dict)
  split = mmdet._split(zeros)
  for key, matched in rules.matches(mmdet.rules_of(params), list(split)):
    ((rule, target),) = matched
    path, place = rules._place(target)
    assert place not in found[path]
    found[path][place] = rule.transform(split[key]).shape
  for path, leaf in rules.flatten(params).items():
    places = found.pop(path)
    shape = leaf.shape if None in places else leaf.shape[1:]
    assert set(places.values()) == {shape}, path
    assert set(places) in (
        {None},
        set(range(leaf.shape[0] if leaf.shape else 0)),
    )
  assert not found
