"""Agreement with the reference implementation, stage by stage.

Run as a program it prints one table for the small reference models:

    python tests/parity.py [nanoA nanoB nanoL]

Every number is the largest absolute error of a stage, beside that stage's
largest absolute value. The reference arrays are batches of two in which the
whole canvas counts as image, so `extent` is the canvas for both.
"""

import functools
import json
import pathlib
import sys
import zlib

import golden_weights
import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import types
from glip_jax.ops import assign

FOLDER = pathlib.Path(__file__).parent / 'golden' / 'nano'
LEVELS = (3, 4, 5, 6, 7)


class Reference:
  """The stored arrays of one model; big ones are stored as samples."""

  def __init__(self, name: str):
    self.name = name
    self.arrays = np.load(FOLDER / f'{name}.npz')
    self.fused = not name.endswith('A')

  def error(self, key: str, value: np.ndarray) -> tuple[float, float]:
    """(largest absolute error, largest absolute value) of a stage."""
    value = np.asarray(value, np.float64)
    if key in self.arrays.files:
      want = self.arrays[key]
      assert want.shape == value.shape, (key, want.shape, value.shape)
    else:
      assert tuple(self.arrays[f'{key}__shape']) == value.shape, key
      seed = zlib.crc32(key.encode())
      rng = np.random.Generator(np.random.PCG64(seed))
      want = self.arrays[f'{key}__sample']
      value = value.reshape(-1)[rng.integers(0, value.size, size=want.size)]
    return float(np.abs(want - value).max()), float(np.abs(want).max())


@functools.cache
def model(name: str):
  """(recipe, params, reference, jitted forward with its stages)."""
  recipe, params = golden_weights.reference_model(FOLDER, name)

  @jax.jit
  def forward(params, image, extent, ids, mask):
    return recipe.model.apply(
        {'params': params}, image, extent, ids, mask, mutable='intermediates'
    )

  return recipe, params, Reference(name), forward


@functools.cache
def run(name: str, prefix: str):
  """(outputs, stages) on the stored images and a stored prompt."""
  _, params, reference, forward = model(name)
  inputs = np.load(FOLDER / 'inputs.npz')
  image = jnp.asarray(inputs['images'].transpose(0, 2, 3, 1))
  with jax.default_matmul_precision('highest'):
    outputs, stages = forward(
        params,
        image,
        jnp.array([image.shape[1:3]] * 2),
        jnp.asarray(reference.arrays[f'{prefix}_input_ids'], jnp.int32),
        jnp.asarray(reference.arrays[f'{prefix}_attention_mask'] > 0),
    )
  return jax.tree.map(np.asarray, (outputs, stages['intermediates']))


def stage_errors(name: str) -> dict[str, tuple[float, float]]:
  """Error and size of every stage of the forward pass."""
  outputs, stages = run(name, 'det')
  reference = model(name)[2]
  rows = {}

  def compare(key, value, layout=lambda x: x):
    rows[key] = reference.error(f'det_{key}', layout(value))

  channels_first = lambda x: x.transpose(0, 3, 1, 2)
  for i in range(2, 6):
    compare(
        f'swin_stage{i}', stages['backbone'][f'stage{i}'][0], channels_first
    )
  for i in LEVELS:
    compare(f'fpn_p{i}', stages['neck'][f'level{i}'][0], channels_first)
  compare('bert_embeddings_out', stages['language']['embeddings'][0])
  compare('bert_hidden', stages['language']['hidden'][0])
  blocks = {k: v[0] for k, v in stages['tower']['blocks'].items()}
  for i in range(len(blocks['dyconv_p3'])):
    entry = 3 * i if reference.fused else i
    if reference.fused:
      for p in LEVELS:
        compare(
            f'tower{entry:02}_fuse_p{p}',
            blocks[f'fuse_p{p}'][i],
            channels_first,
        )
      compare(f'tower{entry:02}_fuse_text', blocks['fuse_text'][i])
      compare(f'tower{entry + 1:02}_lang_text', blocks['lang_text'][i])
      entry += 2
    for p in LEVELS:
      compare(
          f'tower{entry:02}_dyconv_p{p}',
          blocks[f'dyconv_p{p}'][i],
          channels_first,
      )
  compare('projected_text', stages['head']['projected_text'][0])
  compare('bbox_reg', stages['head']['deltas'][0])
  compare('centerness', outputs.quality[..., None])
  compare('dot_product_logits_valid', outputs.logits[..., :32])
  return rows


def prompt_batch(name: str, prefix: str, spans: np.ndarray) -> types.Batch:
  """The stored images with a prompt, without targets."""
  arrays = model(name)[2].arrays
  inputs = np.load(FOLDER / 'inputs.npz')
  h, w = inputs['images'].shape[2:]
  return types.Batch(
      image=jnp.zeros((2, h, w, 3), jnp.uint8),
      size=jnp.asarray(inputs['image_sizes_hw'], jnp.int32),
      extent=jnp.array([(h, w)] * 2),
      scale=jnp.ones((2, 2)),
      id=jnp.arange(2),
      prompt=types.Prompt(
          jnp.asarray(arrays[f'{prefix}_input_ids'], jnp.int32),
          jnp.asarray(arrays[f'{prefix}_attention_mask'] > 0),
          jnp.asarray(spans),
      ),
  )


def training_batch(name: str) -> types.Batch:
  """The stored training batch: three and two boxes."""
  arrays = model(name)[2].arrays
  batch = prompt_batch(name, 'train', np.zeros((2, 1, 256), bool))
  count = [len(arrays[f'train_img{i}_boxes']) for i in range(2)]
  boxes = np.zeros((2, max(count), 4), np.float32)
  tokens = np.zeros((2, max(count), 256), bool)
  rows = np.split(arrays['train_positive_map'] > 0, [count[0]])
  for i in range(2):
    boxes[i, : count[i]] = arrays[f'train_img{i}_boxes']
    tokens[i, : count[i]] = rows[i]
  valid = np.arange(max(count)) < np.array(count)[:, None]
  targets = types.Targets(
      boxes, np.zeros(valid.shape, int), tokens, valid, np.zeros_like(valid)
  )
  return batch.replace(targets=jax.tree.map(jnp.asarray, targets))


def loss_errors(name: str) -> dict[str, tuple[float, float]]:
  """Relative errors of the losses on the stored training batch."""
  recipe, _, reference, _ = model(name)
  outputs, _ = run(name, 'train')
  total, parts = jax.jit(recipe.loss)(outputs, training_batch(name))
  pairs = {
      'loss_total': total,
      'loss_reg': parts['loss_box'],
      'loss_centerness': parts['loss_centerness'],
      'loss_dot_product_token': parts['loss_token'],
  }
  return {
      key: (
          abs(float(value) - float(reference.arrays[key])),
          float(reference.arrays[key]),
      )
      for key, value in pairs.items()
  }


def positive_sets(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
  """(ours, stored) anchor indices matched to a box, for each image."""
  outputs, _ = run(name, 'train')
  targets = training_batch(name).targets
  matched = assign.assign_atss(
      jnp.asarray(outputs.anchors),
      jnp.asarray(outputs.valid),
      targets.boxes,
      targets.valid,
      level_sizes=outputs.level_sizes,
  )
  arrays = model(name)[2].arrays
  return [
      (
          np.flatnonzero(np.asarray(matched[i]) >= 0),
          np.sort(arrays[f'train_img{i}_pos_anchor_idx']),
      )
      for i in range(2)
  ]


def detection_shares(name: str) -> dict[str, float]:
  """Share of the stored detections that ours match one to one, by prompt."""
  recipe, _, reference, _ = model(name)
  arrays = reference.arrays
  decode = jax.jit(recipe.decode)
  shares = {}
  for key, prefix in (('det', 'det'), ('grd', 'grd'), ('det_pertoken', 'det')):
    spans, names = _spans(arrays, key, prefix)
    spans = np.broadcast_to(spans, (2, *spans.shape))
    found = decode(run(name, prefix)[0], prompt_batch(name, prefix, spans))
    for i in range(2):
      want = tuple(
          arrays[
              f'{key}_dets_img{i}_{k}'
              if key != 'det_pertoken'
              else f'{key}_img{i}_{k}'
          ]
          for k in ('boxes', 'scores', 'labels')
      )
      valid = np.asarray(found.valid[i])
      mine = (
          np.asarray(found.boxes[i])[valid],
          np.asarray(found.scores[i])[valid],
          names[np.asarray(found.labels[i])[valid]],
      )
      shares[f'{key} image {i}'] = _matched(want, mine)
  return shares


def _spans(arrays, key, prefix):
  """(bool[c t] spans, the reference's label of each) of a stored prompt."""
  if key == 'det_pertoken':
    # Every token between [CLS] and [SEP] is a class of its own.
    words = np.arange(1, arrays['det_attention_mask'][0].sum() - 1)
    return np.eye(256, dtype=bool)[words], words
  tokens = json.loads(str(arrays[f'{prefix}_positive_map_json']))
  spans = np.zeros((len(tokens), 256), bool)
  for row, positions in enumerate(tokens.values()):
    spans[row, positions] = True
  return spans, np.array([int(label) for label in tokens])


def _matched(want, mine) -> float:
  """Share matched one to one: same label, 0.05 px, 1e-3 in score."""
  free = np.ones(len(mine[0]), bool)
  hits = 0
  for box, score, label in zip(*want, strict=True):
    close = (
        free
        & (mine[2] == label)
        & (np.abs(mine[0] - box).max(axis=1) < 0.05)
        & (np.abs(mine[1] - score) < 1e-3)
    )
    if close.any():
      free[np.flatnonzero(close)[0]] = False
      hits += 1
  return hits / max(len(want[0]), len(mine[0]), 1)


def main(names: list[str]) -> None:
  for name in names or ['nanoA', 'nanoB', 'nanoL']:
    print(f'{name}: stage, largest error, largest value')
    for rows in (stage_errors(name), loss_errors(name)):
      for key, (error, size) in rows.items():
        print(f'  {key:28s} {error:9.2e} {size:9.2e}')
    for i, (mine, want) in enumerate(positive_sets(name)):
      equal = 'equal' if np.array_equal(mine, want) else 'DIFFER'
      print(f'  positives of image {i}: {len(want)} anchors, {equal}')
    for key, share in detection_shares(name).items():
      print(f'  detections, {key}: {share:.1%} matched')


if __name__ == '__main__':
  main(sys.argv[1:])
