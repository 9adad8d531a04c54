"""The whole detector: sizes, shapes, refusals, and what must not matter."""

import math
import pathlib
import re

import abstract_models
import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_config

from glip_jax import types
from glip_jax.detectors import recipe as recipes
from glip_jax.errors import UserError
from glip_jax.training import tables

# The official models' own counts, less what is no parameter here: cls_logits,
# 80 classes x 256 channels and their biases, which they multiply by zero.
CLS_LOGITS = 80 * 256 + 80
COUNTS = {
    'A': 151_430_526 - CLS_LOGITS,
    'B': 231_780_222 - CLS_LOGITS,
    'C': 231_780_222 - CLS_LOGITS,
    'T': 231_780_222 - CLS_LOGITS,
    'L': 430_422_384 - CLS_LOGITS,
}
NUM_TOKENS, PAD = 12, 77
PATHS = pathlib.Path(__file__).parent / 'parameter_paths.txt'
LENGTH = 8  # Of the prompt; the rest is padding.


def _tiny(**head):
  config = tiny_config.get_config().model
  config.head.update(head)
  return abstract_models.build(config)


def _batch(ids=None, mask=None):
  """An image of noise with one box, named by two tokens."""
  rng = np.random.default_rng(1)
  batch = abstract_models.blank_batch(num_tokens=NUM_TOKENS)
  if ids is None:
    ids = np.r_[2, 5:11, 3, [PAD] * 4][None]
  if mask is None:
    mask = np.arange(NUM_TOKENS)[None] < LENGTH
  tokens = np.zeros((1, 1, NUM_TOKENS), bool)
  tokens[..., 1:3] = True
  targets = types.Targets(
      boxes=np.array([[[8, 8, 40, 40]]], np.float32),
      phrase=np.zeros((1, 1), np.int32),
      tokens=tokens,
      valid=np.ones((1, 1), bool),
      crowd=np.zeros((1, 1), bool),
  )
  return batch.replace(
      image=rng.integers(0, 256, batch.image.shape, np.uint8),
      prompt=batch.prompt.replace(ids=ids.astype(np.int32), mask=mask),
      targets=targets,
  )


@pytest.fixture(scope='module')
def fused():
  """(params, compiled: params, batch -> ((loss, outputs), gradients))."""
  recipe = _tiny()

  def loss(params, batch):
    outputs = recipe.forward(params, batch)
    return recipe.loss(outputs, batch)[0], outputs

  step = compiling.quick_jit(jax.value_and_grad(loss, has_aux=True))
  return abstract_models.random_params(recipe), step


@pytest.mark.parametrize('name', COUNTS)
def test_full_models_have_the_official_number_of_parameters(name):
  leaves = jax.tree.leaves(abstract_models.params(name))
  assert sum(math.prod(leaf.shape) for leaf in leaves) == COUNTS[name]


@pytest.mark.parametrize(
    'name', ['A', 'B', pytest.param('L', marks=pytest.mark.large)]
)
def test_full_models_score_every_position_against_every_token(name):
  recipe, params = abstract_models.recipe(name), abstract_models.params(name)
  batch = abstract_models.blank_batch((800, 1344), num_tokens=256, rows=2)
  outputs = jax.eval_shape(recipe.forward, params, batch)
  levels = ((100, 168), (50, 84), (25, 42), (13, 21), (7, 11))
  regions = sum(h * w for h, w in levels)
  assert outputs.level_sizes == levels
  assert outputs.logits.shape == (2, regions, 256)
  assert outputs.boxes.shape == outputs.anchors.shape == (2, regions, 4)
  assert outputs.quality.shape == outputs.valid.shape == (2, regions)
  found = jax.eval_shape(recipe.decode, outputs, batch)
  assert found.boxes.shape == (2, 100, 4)


@pytest.mark.parametrize('name', ['A', 'B', 'L'])
def test_blocks_and_text_layers_are_stacked_with_the_block_first(name):
  params = abstract_models.params(name)
  config = recipes.variant(name)
  for tree, depth in (
      (params['tower']['blocks'], config.head.depth),
      (params['language']['layers'], config.language.depth),
  ):
    assert {leaf.shape[0] for leaf in jax.tree.leaves(tree)} == {depth}


def test_late_fusion_has_neither_fusion_nor_text_layers():
  assert set(abstract_models.params('A')['tower']['blocks']) == {'dyconv'}
  assert set(abstract_models.params('B')['tower']['blocks']) == {
      'dyconv',
      'fusion',
      'text',
  }


@pytest.mark.slow
def test_half_precision_keeps_parameters_and_outputs_in_full():
  recipe = abstract_models.build('nanoB', {'dtype': 'bfloat16'})
  batch = abstract_models.blank_batch()
  params = jax.eval_shape(recipe.init, jax.random.key(0), batch)
  outputs = jax.eval_shape(recipe.forward, params, batch)
  kept = [params, outputs.logits, outputs.boxes, outputs.quality]
  assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {
      np.dtype(np.float32)
  }


@pytest.mark.parametrize('size', [(64, 72), (48, 64)])
def test_an_image_that_is_no_multiple_of_32_is_refused(size):
  recipe, batch = _tiny(), abstract_models.blank_batch(size)
  with pytest.raises(ValueError, match=rf'\({size[0]}, {size[1]}\).*32: pad'):
    jax.eval_shape(recipe.init, jax.random.key(0), batch)


def test_a_prompt_longer_than_the_positions_is_refused():
  recipe = abstract_models.recipe('shapes')
  batch = abstract_models.blank_batch(num_tokens=257)
  with pytest.raises(ValueError, match='257 tokens exceed max_positions=256'):
    jax.eval_shape(recipe.init, jax.random.key(0), batch)


@pytest.mark.parametrize(
    'path, value, message',
    [
        ('backbone.name', 'vgg', "backbone.name='vgg' must be one of 'swin'"),
        (
            'language.width',
            97,
            'language.width=97 .*config.model.language.num_heads=4',
        ),
        ('neck.width', 40, 'neck.width=40 .*model.head.num_groups=16'),
        (
            'head.fusion.width',
            130,
            'fusion.width=130 .*head.fusion.num_heads=4',
        ),
        ('backbone.num_heads', (1, 2, 5, 8), 'stage 3 .* 128 wide.* 5 heads'),
        ('dtype', 'float16', "dtype='float16' must be one of 'float32'"),
        ('backbone.depths', (1, 10**9, 1, 1), '1000000000 must be 1 or more'),
        ('backbone.embed_dim', 0, 'embed_dim=0 must be 1 or more'),
    ],
)
def test_sizes_that_no_model_can_have_are_refused_in_a_line(
    path, value, message
):
  with pytest.raises(UserError, match=message) as caught:
    abstract_models.build('shapes', {path: value})
  assert '\n' not in str(caught.value)


@pytest.mark.slow
def test_padding_tokens_carry_no_gradient(fused):
  params, step = fused
  _, gradients = step(params, _batch())
  rows = np.abs(gradients['language']['words']['embedding']).max(axis=1)
  ids = _batch().prompt.ids[0]
  assert rows[PAD] == 0
  assert (rows[ids[:LENGTH]] > 0).all()
  # A position beyond the prompt is read by padding alone.
  positions = np.abs(gradients['language']['positions']).max(axis=1)
  assert (positions[LENGTH:] == 0).all()
  assert (positions[:LENGTH] > 0).all()


@pytest.mark.slow
def test_what_stands_in_the_padding_changes_nothing(fused):
  params, step = fused
  batch = _batch()
  ids = np.where(batch.prompt.mask, batch.prompt.ids, PAD - 1)
  (loss, outputs), _ = step(params, batch)
  (same_loss, same), _ = step(params, _batch(ids))
  np.testing.assert_allclose(loss, same_loss, rtol=1e-6)
  np.testing.assert_allclose(outputs.boxes, same.boxes, atol=1e-4)
  np.testing.assert_allclose(
      outputs.logits[..., :LENGTH], same.logits[..., :LENGTH], atol=1e-5
  )


def test_gradients_are_finite_when_every_token_is_padding(fused):
  params, step = fused
  batch = _batch(mask=np.zeros((1, NUM_TOKENS), bool))
  (loss, _), gradients = step(params, batch)
  assert np.isfinite(loss)
  for leaf in jax.tree.leaves(gradients):
    assert np.isfinite(leaf).all()


def test_without_positions_permuting_tokens_permutes_their_logits(fused):
  params, step = fused
  language = params['language']
  language = language | {'positions': jnp.zeros_like(language['positions'])}
  params = params | {'language': language}
  order = np.r_[np.random.default_rng(2).permutation(LENGTH), LENGTH:NUM_TOKENS]
  batch = _batch()
  (_, outputs), _ = step(params, batch)
  (_, permuted), _ = step(params, _batch(batch.prompt.ids[:, order]))
  np.testing.assert_allclose(outputs.boxes, permuted.boxes, atol=1e-3)
  np.testing.assert_allclose(
      outputs.logits[..., order], permuted.logits, atol=1e-4
  )
  assert np.ptp(outputs.logits, axis=-1).max() > 1e-2


@pytest.mark.slow
def test_boxes_depend_on_the_prompt_with_fusion_and_only_then(fused):
  params, step = fused
  late = _tiny(fusion={'on': False})
  forward = compiling.quick_jit(late.forward)
  late_params = abstract_models.random_params(late)
  batch = _batch()
  other = _batch(np.roll(batch.prompt.ids, 1))
  (_, mine), _ = step(params, batch)
  (_, others), _ = step(params, other)
  assert np.abs(mine.boxes - others.boxes).max() > 1e-3
  mine, others = forward(late_params, batch), forward(late_params, other)
  np.testing.assert_array_equal(mine.boxes, others.boxes)
  np.testing.assert_array_equal(mine.quality, others.quality)
  assert np.abs(mine.logits - others.logits).max() > 1e-3


@pytest.mark.parametrize('name', ['A', 'B'])
def test_parameter_paths_are_those_of_every_checkpoint_so_far(name):
  """Written by the first version: a change of the list breaks workdirs."""
  lines = PATHS.read_text().splitlines()
  if name == 'A':
    lines = [
        x for x in lines if not re.match(r'tower/blocks/(fusion|text)/', x)
    ]
  found = tables.named_leaves(abstract_models.params(name))
  assert lines == [
      f'{path} {"x".join(map(str, leaf.shape))}' for path, leaf in found.items()
  ]
