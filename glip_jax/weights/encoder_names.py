"""Names of the encoders in the layouts of their authors: Swin, ResNet and BERT.

Checkpoints of detectors hold them under prefixes of their own; files for
pre-training hold one of them alone.
"""

from glip_jax.weights import buffers, layouts, rules

Rule = rules.Rule


def swin(prefix: str) -> list[Rule]:
  """The table of a Swin of version 1.

  Args:
    prefix: of its keys, with the full stop.

  Returns:
    Rules to paths under `backbone/`.
  """
  block = prefix + 'layers.{stage}.blocks.{block}.'
  to = 'backbone/stage{stage}_block{block}'
  table = [
      *layouts.conv(prefix + 'patch_embed.proj', 'backbone/patch_embed/proj'),
      *layouts.norm(prefix + 'patch_embed.norm', 'backbone/patch_embed/norm'),
      *layouts.norm(block + 'norm{i}', to + '/norm{i}'),
      *layouts.linear(block + 'attn.qkv', to + '/attention/qkv'),
      *layouts.linear(block + 'attn.proj', to + '/attention/proj'),
      Rule(
          block + 'attn.relative_position_bias_table',
          to + '/attention/relative_position_bias',
      ),
      Rule(
          block + 'attn.relative_position_index',
          None,
          check=buffers.wrong_relative_position_index,
      ),
      *layouts.linear(block + 'mlp.fc1', to + '/mlp_in'),
      *layouts.linear(block + 'mlp.fc2', to + '/mlp_out'),
      *layouts.norm(prefix + 'norm{i}', 'backbone/norm{i}'),
  ]
  # Merging into stage i + 1 stands at the end of the official stage i.
  for i in range(3):
    merge = prefix + f'layers.{i}.downsample.'
    to = f'backbone/merge{i + 1}'
    table += layouts.norm(merge + 'norm', to + '/norm')
    table += layouts.linear(merge + 'reduction', to + '/reduction', bias=False)
  return table


def resnet(prefix: str) -> list[Rule]:
  """The table of torchvision's ResNet of bottlenecks, without its classifier.

  Args:
    prefix: of its keys, with the full stop.

  Returns:
    Rules to paths under `backbone/`.
  """
  table = layouts.conv(prefix + 'conv1', 'backbone/conv1', bias=False)
  table += layouts.batch_norm(prefix + 'bn1', 'backbone/frozen_norm1')
  # Stages count from 1 there, from 0 here.
  for i in range(4):
    block = prefix + f'layer{i + 1}.{{block}}.'
    to = f'backbone/stage{i}_block{{block}}/'
    for conv, norm, own, own_norm in (
        ('conv1', 'bn1', 'conv1', 'frozen_norm1'),
        ('conv2', 'bn2', 'conv2', 'frozen_norm2'),
        ('conv3', 'bn3', 'conv3', 'frozen_norm3'),
        ('downsample.0', 'downsample.1', 'project', 'frozen_norm_project'),
    ):
      table += layouts.conv(block + conv, to + own, bias=False)
      table += layouts.batch_norm(block + norm, to + own_norm)
  return table


def bert(prefix: str, depth: int, *, pooler: bool = False) -> list[Rule]:
  """The table of a BERT.

  Args:
    prefix: of its keys, with the full stop.
    depth: number of layers.
    pooler: True for a model that has one.

  Returns:
    Rules to paths under `language/`.
  """
  embeddings = prefix + 'embeddings.'
  words = 'word_embeddings.weight'
  types = 'token_type_embeddings.weight'
  table = [
      Rule(embeddings + words, 'language/words/embedding'),
      Rule(embeddings + 'position_embeddings.weight', 'language/positions'),
      Rule(embeddings + types, 'language/token_types'),
      # Files of older versions of transformers hold it.
      Rule(embeddings + 'position_ids', None),
      *layouts.norm(embeddings + 'LayerNorm', 'language/norm'),
  ]
  for i in range(depth):
    layer = prefix + f'encoder.layer.{i}'
    table += layouts.bert_layer(layer, f'language/layers/layer[{i}]')
  if pooler:
    table += layouts.linear(prefix + 'pooler.dense', 'language/pooler')
  return table
