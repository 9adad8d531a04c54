"""What mmdetection's GroundingDINO keeps: names and shapes, module by module.

Written down from its classes and configs (mmdet/models, configs/
mm_grounding_dino), not from the table that the tests compare it with.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Those of configs/mm_grounding_dino/grounding_dino_swin-t_*.py."""

  embed: int = 96
  depths: tuple[int, ...] = (2, 2, 6, 2)
  heads: tuple[int, ...] = (3, 6, 12, 24)
  window: int = 7
  indices: tuple[int, ...] = (1, 2, 3)
  width: int = 256
  queries: int = 900
  layers: int = 6
  points: tuple[int, int] = (4, 4)
  attention: tuple[int, int] = (8, 8)
  ffn: tuple[int, int] = (2048, 2048)
  text_ffn: int = 1024
  fusion: int = 1024
  bert: tuple[int, int, int] = (768, 12, 3072)
  class_bias: bool = True


TINY = Sizes()
BASE = Sizes(embed=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=12)
LARGE = Sizes(
    embed=192,
    depths=(2, 2, 18, 2),
    heads=(6, 12, 24, 48),
    window=12,
    indices=(0, 1, 2, 3),
)
NANO = Sizes(
    embed=16,
    depths=(2, 2, 2, 2),
    heads=(1, 2, 4, 8),
    width=64,
    queries=60,
    layers=2,
    points=(3, 2),
    attention=(4, 8),
    ffn=(160, 96),
    text_ffn=80,
    fusion=80,
    bert=(64, 2, 128),
)


def _linear(name, inputs, outputs):
  return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def _norm(name, width):
  return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def _ffn(name, width, hidden):
  first = _linear(f'{name}.layers.0.0', width, hidden)
  return first | _linear(f'{name}.layers.1', hidden, width)


def _attention(name, width):
  """mmcv's wrapper of torch's nn.MultiheadAttention."""
  return {
      f'{name}.attn.in_proj_weight': (3 * width, width),
      f'{name}.attn.in_proj_bias': (3 * width,),
  } | _linear(f'{name}.attn.out_proj', width, width)


def _deformable(name, width, count):
  """mmcv's MultiScaleDeformableAttention; count: heads * levels * points."""
  return (
      _linear(f'{name}.sampling_offsets', width, 2 * count)
      | _linear(f'{name}.attention_weights', width, count)
      | _linear(f'{name}.value_proj', width, width)
      | _linear(f'{name}.output_proj', width, width)
  )


def _swin(own):
  name, width = 'backbone', own.embed
  state = _norm('backbone.patch_embed.norm', width)
  state['backbone.patch_embed.projection.weight'] = (width, 3, 4, 4)
  state['backbone.patch_embed.projection.bias'] = (width,)
  table = (2 * own.window - 1) ** 2
  for stage, depth in enumerate(own.depths):
    for block in range(depth):
      key = f'{name}.stages.{stage}.blocks.{block}'
      state |= _norm(f'{key}.norm1', width) | _norm(f'{key}.norm2', width)
      state |= _linear(f'{key}.attn.w_msa.qkv', width, 3 * width)
      state |= _linear(f'{key}.attn.w_msa.proj', width, width)
      state |= _ffn(f'{key}.ffn', width, 4 * width)
      bias = f'{key}.attn.w_msa.relative_position_bias_table'
      state[bias] = (table, own.heads[stage])
    if stage in own.indices:
      state |= _norm(f'{name}.norm{stage}', width)
    if stage < 3:
      key = f'{name}.stages.{stage}.downsample'
      state |= _norm(f'{key}.norm', 4 * width)
      state[f'{key}.reduction.weight'] = (2 * width, 4 * width)
      width *= 2
  return state


def _bert(own):
  width, depth, hidden = own.bert
  name = 'language_model.language_backbone.body.model'
  state = _norm(f'{name}.embeddings.LayerNorm', width)
  for rows, kind in ((30522, 'word'), (512, 'position'), (2, 'token_type')):
    state[f'{name}.embeddings.{kind}_embeddings.weight'] = (rows, width)
  for i in range(depth):
    key = f'{name}.encoder.layer.{i}'
    for part in ('self.query', 'self.key', 'self.value', 'output.dense'):
      state |= _linear(f'{key}.attention.{part}', width, width)
    state |= _norm(f'{key}.attention.output.LayerNorm', width)
    state |= _linear(f'{key}.intermediate.dense', width, hidden)
    state |= _linear(f'{key}.output.dense', hidden, width)
    state |= _norm(f'{key}.output.LayerNorm', width)
  return state


def _neck(own):
  """ChannelMapper: one projection of each stage, and one more that strides."""
  state, count = {}, len(own.indices)
  for i, stage in enumerate(own.indices):
    width = own.embed * 2**stage
    state[f'neck.convs.{i}.conv.weight'] = (own.width, width, 1, 1)
    state[f'neck.convs.{i}.conv.bias'] = (own.width,)
    state |= _norm(f'neck.convs.{i}.gn', own.width)
  assert count == i + 1
  extra = 'neck.extra_convs.0'
  state[f'{extra}.conv.weight'] = (own.width, width, 3, 3)
  state[f'{extra}.conv.bias'] = (own.width,)
  return state | _norm(f'{extra}.gn', own.width)


def _encoder(own):
  state, width, levels = {}, own.width, len(own.indices) + 1
  count = own.attention[0] * levels * own.points[0]
  for i in range(own.layers):
    key = f'encoder.layers.{i}'
    state |= _deformable(f'{key}.self_attn', width, count)
    state |= _ffn(f'{key}.ffn', width, own.ffn[0])
    text = f'encoder.text_layers.{i}'
    state |= _attention(f'{text}.self_attn', width)
    state |= _ffn(f'{text}.ffn', width, own.text_ffn)
    for norm in range(2):
      state |= _norm(f'{key}.norms.{norm}', width)
      state |= _norm(f'{text}.norms.{norm}', width)
    fusion = f'encoder.fusion_layers.{i}'
    for side in 'vl':
      state[f'{fusion}.gamma_{side}'] = (width,)
      state |= _norm(f'{fusion}.layer_norm_{side}', width)
      for part in (f'{side}_proj', f'values_{side}_proj'):
        state |= _linear(f'{fusion}.attn.{part}', width, own.fusion)
      state |= _linear(f'{fusion}.attn.out_{side}_proj', own.fusion, width)
  return state


def _decoder(own):
  width, levels = own.width, len(own.indices) + 1
  count = own.attention[1] * levels * own.points[1]
  state = _norm('decoder.norm', width)
  state |= _linear('decoder.ref_point_head.layers.0', 2 * width, width)
  state |= _linear('decoder.ref_point_head.layers.1', width, width)
  for i in range(own.layers):
    key = f'decoder.layers.{i}'
    state |= _attention(f'{key}.self_attn', width)
    state |= _attention(f'{key}.cross_attn_text', width)
    state |= _deformable(f'{key}.cross_attn', width, count)
    state |= _ffn(f'{key}.ffn', width, own.ffn[1])
    for norm in range(4):
      state |= _norm(f'{key}.norms.{norm}', width)
  return state


def _head(own):
  """A branch of each layer of the decoder, and the proposals' behind them."""
  state, width = {}, own.width
  for i in range(own.layers + 1):
    key = f'bbox_head.reg_branches.{i}'
    for j, outputs in ((0, width), (2, width), (4, 4)):
      state |= _linear(f'{key}.{j}', width, outputs)
    if own.class_bias:
      state[f'bbox_head.cls_branches.{i}.bias'] = (1,)
  return state


def shapes(own: Sizes) -> dict[str, tuple[int, ...]]:
  """Shapes of all parameters of the network by name."""
  width = own.width
  return {
      'level_embed': (len(own.indices) + 1, width),
      'query_embedding.weight': (own.queries, width),
      **_linear('memory_trans_fc', width, width),
      **_norm('memory_trans_norm', width),
      **_linear('text_feat_map', own.bert[0], width),
      **_swin(own),
      **_bert(own),
      **_neck(own),
      **_encoder(own),
      **_decoder(own),
      **_head(own),
  }
