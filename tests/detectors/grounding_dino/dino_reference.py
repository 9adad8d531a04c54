"""The reference's arrays of Grounding DINO, and what this code makes of them.

Hugging Face's implementation ran on weights that depend on the name and shape
of each array alone: a normal draw seeded by the name's checksum, scaled by the
first line of a table that matches. This is that table in this project's words.
"""

import dataclasses
import functools
import json
import pathlib
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import types
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.grounding_dino import hugging_face_weights

FOLDER = pathlib.Path(__file__).parents[2] / 'golden/query'
STRIDES = (8, 16, 32, 64)
TOKENS = 14
_SWIN = 'model.backbone.conv_encoder.model.'
# pattern, family or '', kind, its numbers. plain: center, spread. fan: gain
# over the root of the inputs. level, shift: of a vector of width d, gain over
# root d or d. half: gain / 2. twice: 2 gain over the root of inputs and d.
_TABLE = (
    (r'class_embed\.(\d+\.)?bias$', 'mm', 'plain', -4.0, 0.3),
    (r'enhancer_layer\.layer_norm_after\.weight$', 'gd', 'level', 2.0, 0.1),
    (r'enhancer_layer\.layer_norm_after\.bias$', 'gd', 'shift', -16.0, 0.1),
    (r'enhancer_layer\.layer_norm_after\.weight$', 'mm', 'plain', 2.0, 0.2),
    (r'encoder_attn_text\.key\.weight$', 'gd', 'half', 2.4),
    (r'encoder_attn_text\.value\.weight$', 'gd', 'half', 1.0),
    (r'encoder_attn_text\.key\.weight$', 'mm', 'fan', 1.2),
    (r'encoder_attn_text\.value\.weight$', 'mm', 'fan', 0.5),
    (r'model\.text_projection\.weight$', 'gd', 'twice', 1.0),
    (r'model\.text_projection\.bias$', 'gd', 'shift', 0.0, 0.2),
    (r'(decoder\.layer_norm|enc_output_norm)\.bias$', '', 'plain', 0.25, 0.1),
    (r'fusion_layer\.vision_param$', '', 'plain', 0.35, 0.1),
    (r'fusion_layer\.text_param$', '', 'plain', 0.2, 0.05),
    (r'fusion_layer\.attn\.(vision|text)_proj\.weight$', '', 'fan', 2.0),
    (r'fusion_layer\.attn\.\w+\.weight$', '', 'fan', 1.2),
    (r'sampling_offsets\.weight$', '', 'fan', 1.0),
    (r'sampling_offsets\.bias$', '', 'plain', 0.0, 2.0),
    (r'attention_weights\.weight$', '', 'fan', 3.0),
    (r'attention_weights\.bias$', '', 'plain', 0.0, 0.5),
    (r'bbox_embed\.(\d+\.)?layers\.[01]\.weight$', '', 'fan', 1.4),
    (r'output_bbox_embed\.layers\.2\.weight$', '', 'fan', 1.0),
    (r'bbox_embed\.(\d+\.)?layers\.2\.weight$', '', 'fan', 0.8),
    (r'bbox_embed\.(\d+\.)?layers\.2\.bias$', '', 'plain', 0.0, 0.2),
    (r'reference_points_head\.layers\.\d\.weight$', '', 'fan', 1.4),
    (r'query_position_embeddings\.weight$', '', 'plain', 0.0, 1.5),
    (r'model\.level_embed$', '', 'plain', 0.0, 0.5),
    (r'decoder\..*self_attn\.(query|key)\.weight$', '', 'fan', 2.0),
    (r'decoder\..*attn_text\.query\.weight$', '', 'fan', 2.4),
    (r'decoder\..*(self_attn|attn_text)\.out_proj\.weight$', '', 'fan', 0.7),
    (r'decoder\..*self_attn\.value\.weight$', '', 'fan', 1.0),
    (r'decoder\.layers\.\d+\.fc2\.weight$', '', 'fan', 0.9),
    (r'decoder\.layers\.\d+\.fc2\.bias$', '', 'plain', 0.0, 0.02),
    (r'decoder\..*attn\.(value|output)_proj\.weight$', '', 'fan', 1.3),
    (r'enhancer_layer\.self_attn\.(query|key)\.weight$', '', 'fan', 1.6),
    (r'enhancer_layer\.self_attn\.(value|out_proj)\.weight$', '', 'fan', 0.6),
    (r'model\.encoder\.layers\.\d+\.\w+\.fc2\.weight$', '', 'fan', 0.8),
    (r'model\.(en|de)coder\.layers\..*fc1\.bias$', '', 'plain', -1.0, 0.3),
    (r'\.fc1\.weight$', '', 'fan', 1.4),
    (r'\.fc2\.weight$', '', 'fan', 1.0),
    (r'(value_proj|output_proj)\.weight$', '', 'fan', 1.0),
    (r'relative_position_bias_table$', '', 'plain', 0.0, 0.7),
    (r'attention\.[qk]_proj\.weight$', '', 'fan', 1.5),
    (r'attention\.o_proj\.weight$', '', 'fan', 0.7),
    (r'word_embeddings\.weight$', '', 'plain', 0.0, 1.0),
    (r'(position|token_type)_embeddings\.weight$', '', 'plain', 0.0, 0.4),
    (r'attention\.self\.(query|key)\.weight$', '', 'fan', 1.5),
    (r'attention\.output\.dense\.weight$', '', 'fan', 0.35),
    (r'intermediate\.dense\.weight$', '', 'fan', 1.2),
    (r'output\.dense\.weight$', '', 'fan', 0.35),
    (r'\.weight$', '', 'weight', 1.0, 0.1),
    (r'bias$', '', 'plain', 0.0, 0.1),
)


def weight(key: str, shape, family: str, offset: int, *, shared: bool):
  """The array of a name in memory."""
  key = re.sub(r'^model\.decoder\.(?=bbox_embed|class_embed)', '', key)
  if shared:
    key = re.sub(r'^(bbox|class)_embed\.\d+\.', r'\1_embed.0.', key)
  kind, *numbers = next(
      row[2:]
      for row in _TABLE
      if row[1] in ('', family) and re.search(row[0], key)
  )
  seed = zlib.crc32(key.encode('ascii')) + offset
  draw = np.random.Generator(np.random.PCG64(seed)).standard_normal(
      size=tuple(shape), dtype=np.float32
  )
  if kind == 'weight':
    kind = 'fan' if len(shape) > 1 else 'plain'
  inputs = np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 1.0
  d = shape[0] if shape else 1
  center, spread = {
      'plain': lambda a, b=0.0: (a, b),
      'fan': lambda a, b=0.0: (0.0, a / inputs),
      'level': lambda a, b: (a / np.sqrt(d), a / np.sqrt(d) * b),
      'shift': lambda a, b: (a / d, b / np.sqrt(d)),
      'half': lambda a: (0.0, a / 2),
      'twice': lambda a: (0.0, 2 / np.sqrt(d) * a / inputs),
  }[kind](*numbers)
  return np.asarray(np.float32(center) + np.float32(spread) * draw)


def file_name(key: str) -> str:
  """The name in a file of an array's name in memory."""
  if not key.startswith(_SWIN):
    return key
  if not key.startswith(_SWIN + 'swin.layernorm'):
    key = key.replace(_SWIN + 'swin.', _SWIN)
  letters = dict(q='query', k='key', v='value')
  key = re.sub(
      r'attention\.([qkv])_proj',
      lambda match: f'attention.self.{letters[match[1]]}',
      key,
  )
  for theirs, ours in (
      ('relative_position_bias.relative', 'self.relative'),
      ('attention.o_proj', 'attention.output.dense'),
      ('mlp.fc1', 'intermediate.dense'),
      ('mlp.fc2', 'output.dense'),
  ):
    key = key.replace(theirs, ours)
  return key


@dataclasses.dataclass(frozen=True)
class Reference:
  """A nano model with all that the reference computed of it."""

  name: str

  @functools.cached_property
  def arrays(self):
    return np.load(FOLDER / f'{self.name}_nano.npz')

  @functools.cached_property
  def summary(self):
    return json.loads((FOLDER / f'{self.name}_nano.summary.json').read_text())

  @functools.cached_property
  def manifest(self):
    path = FOLDER / f'{self.name}_nano.manifest.json'
    return json.loads(path.read_text())

  @property
  def keys(self) -> dict[str, list[int]]:
    """Shapes of all arrays by their names in memory."""
    return self.manifest['keys']

  @property
  def file_keys(self) -> set[str]:
    """Names in a file, which holds no copies."""
    return {file_name(k) for k in self.keys if k not in self.manifest['ties']}

  @functools.cached_property
  def state(self) -> dict[str, np.ndarray]:
    """Arrays by their names in a file, copies included."""
    family, offset = self.summary['family'], self.summary['seed_offset']
    shared = self.name != 'mm'
    return {
        file_name(key): weight(key, shape, family, offset, shared=shared)
        for key, shape in self.keys.items()
    }

  @functools.cached_property
  def recipe(self):
    """The model, with the reference's weights of losses."""
    config = recipes.variant(f'nano_{self.name}')
    loss = dataclasses.replace(config.loss, class_cost=1.0, class_weight=2.0)
    decoder = dataclasses.replace(config.decoder, look_forward_twice=False)
    return recipes.build(
        dataclasses.replace(config, loss=loss, decoder=decoder)
    )

  @functools.cached_property
  def shapes(self):
    batch = self.batch('det')
    return jax.eval_shape(self.recipe.init, jax.random.key(0), batch)

  @functools.cached_property
  def params(self):
    return hugging_face_weights.from_hugging_face(self.state, self.shapes)

  def batch(
      self,
      prompt: str,
      *,
      alone: bool = False,
      canvas: tuple[int, int] = (160, 192),
      num_tokens: int = TOKENS,
  ) -> types.Batch:
    """Both images; `alone` as if each had a canvas of its own."""
    inputs = np.load(FOLDER / 'inputs_nano.npz')
    size = inputs['image_sizes_hw'].astype(np.int32)
    image = np.zeros((2, *canvas, 3), np.uint8)
    for i, (h, w) in enumerate(size):
      image[i, :h, :w] = inputs[f'image{i}_u8']
    whole = np.tile(inputs['canvas_hw'].astype(np.int32), (2, 1))
    pad = ((0, 0), (0, num_tokens - TOKENS))
    ids = np.pad(inputs[f'{prompt}_input_ids'], pad)
    mask = np.pad(inputs[f'{prompt}_attention_mask'].astype(bool), pad)
    spans, targets = np.zeros((2, 3, num_tokens), bool), None
    if prompt == 'train':
      for i in range(2):
        spans[i, :, :TOKENS] = self.arrays[f'train_label_map{i}'] > 0
      targets = _targets(inputs, spans, size)
    return jax.tree.map(
        jnp.asarray,
        types.Batch(
            image=image,
            size=size,
            extent=size if alone else whole,
            scale=np.ones((2, 2), np.float32),
            id=np.arange(2, dtype=np.int32),
            prompt=types.Prompt(ids.astype(np.int32), mask, spans),
            targets=targets,
        ),
    )

  @functools.cached_property
  def _apply(self):
    def run(params, batch, chosen):
      return self.recipe.model.apply(
          {'params': params},
          *self.recipe._inputs(batch),
          chosen=chosen,
          mutable=['intermediates'],
      )

    return jax.jit(run)

  def run(self, batch, chosen=None):
    """Outputs and stages."""
    with jax.default_matmul_precision('highest'):
      outputs, state = self._apply(self.params, batch, chosen)
    return outputs, state['intermediates']

  def compare(self, key, mine, where=None) -> float:
    """Largest error of an array in the reference's layout."""
    mine = np.asarray(mine)
    where = np.ones((1,) * mine.ndim, bool) if where is None else where
    where = np.broadcast_to(where, mine.shape)
    if key in self.arrays.files:
      want = self.arrays[key]
    else:
      assert mine.shape == tuple(self.arrays[f'{key}__shape'])
      want = self.arrays[f'{key}__sample']
      picked = sample(key, mine.size, want.size)
      mine, where = mine.reshape(-1)[picked], where.reshape(-1)[picked]
    where = where & np.isfinite(want)
    assert where.any()
    return float(np.abs(mine[where] - want[where]).max())


def sample(name: str, size: int, count: int) -> np.ndarray:
  """Places of a large array that the reference kept."""
  seed = zlib.crc32(name.encode())
  return np.random.Generator(np.random.PCG64(seed)).integers(
      0, size, size=count
  )


def cut(x, extent, canvas):
  """Positions of all levels, those of the extent alone."""
  parts, start = [], 0
  for stride in STRIDES:
    (h, w), (p, q) = (
        [-(-side // stride) for side in sides] for sides in (extent, canvas)
    )
    level = np.asarray(x)[:, start : start + p * q]
    level = level.reshape(level.shape[0], p, q, -1)[:, :h, :w]
    parts.append(level.reshape(level.shape[0], h * w, -1))
    start += p * q
  return np.concatenate(parts, axis=1)


def placed(index, extent, canvas):
  """The reference's positions in the maps of a larger canvas."""
  count = sum(-(-canvas[0] // s) * -(-canvas[1] // s) for s in STRIDES)
  own = cut(np.arange(count)[None, :, None], extent, canvas)[0, :, 0]
  return jnp.asarray(own[index])


def _targets(inputs, spans, size) -> types.Targets:
  """The true boxes of both training images, padded to five."""
  m = 5
  boxes, phrase = np.zeros((2, m, 4), np.float32), np.zeros((2, m), np.int32)
  valid = np.zeros((2, m), bool)
  for i in range(2):
    cx, cy, w, h = inputs[f'train_img{i}_boxes'].T
    edges = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)
    boxes[i, : len(edges)] = edges * np.tile(size[i, ::-1], 2)
    phrase[i, : len(edges)] = inputs[f'train_img{i}_class_labels']
    valid[i, : len(edges)] = True
  tokens = np.take_along_axis(spans, phrase[..., None], axis=1)
  return types.Targets(
      boxes, phrase, tokens & valid[..., None], valid, np.zeros((2, m), bool)
  )
