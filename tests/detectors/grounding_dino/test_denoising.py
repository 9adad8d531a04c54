"""Noised true boxes: what they are, whom they see, what they leave alone."""

import dataclasses

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import dino

from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.grounding_dino import config as config_lib
from glip_jax.detectors.grounding_dino import denoising
from glip_jax.ops import boxes as box_ops

GROUPS, M = 3, 5


@pytest.fixture(scope='module')
def batch():
  return dino.Reference('gd_nano').batch('train')


def _noised(batch, **options):
  config = config_lib.Denoising(on=True, groups=GROUPS, **options)
  text = jax.random.normal(jax.random.key(1), (2, dino.TOKENS, 8))
  key = jax.random.key(0)
  return denoising.noised_truth(key, batch, text, config), text


def test_without_noise_positives_are_the_truth_and_start_from_its_tokens(batch):
  noised, text = _noised(batch, box_noise=0.0, label_noise=0.0)
  row, positive = denoising.targets(batch, GROUPS)
  truth = box_ops.to_relative(batch.targets.boxes, batch.size)
  for i, q in zip(*np.nonzero(positive), strict=True):
    m = row[q]
    np.testing.assert_allclose(noised.reference[i, q], truth[i, m], atol=1e-6)
    own = np.asarray(batch.targets.tokens[i, m])
    mean = np.asarray(text)[i, own].mean(axis=0)
    np.testing.assert_allclose(noised.content[i, q], mean, atol=1e-5)
  assert positive.sum() == GROUPS * batch.targets.valid.sum()
  assert noised.valid.sum() == 2 * positive.sum()


def test_what_no_phrase_names_is_not_noised(batch):
  unnamed = np.array(batch.targets.phrase)
  unnamed[:, 0] = -1
  targets = batch.targets.replace(phrase=unnamed)
  noised, _ = _noised(batch.replace(targets=targets))
  row, positive = denoising.targets(batch.replace(targets=targets), GROUPS)
  assert not noised.valid[:, row == 0].any()
  assert not positive[:, row == 0].any()
  others = row != 0
  before, _ = _noised(batch)
  np.testing.assert_array_equal(
      noised.valid[:, others], before.valid[:, others]
  )


def test_positives_move_edges_by_less_than_negatives(batch):
  noised, _ = _noised(batch)
  row, positive = denoising.targets(batch, GROUPS)
  edges = box_ops.from_centre(noised.reference)
  truth = box_ops.to_relative(batch.targets.boxes, batch.size)[:, row]
  moved = jnp.abs(edges - box_ops.from_centre(truth))
  half = jnp.tile(truth[..., 2:] / 2, 2)
  inside = (edges > 1e-6) & (edges < 1 - 1e-6)
  share = np.asarray(jnp.where(inside, moved / half, jnp.nan))
  near = share[np.asarray(positive)]
  far = share[np.asarray(noised.valid & ~positive)]
  assert np.nanmax(near) <= 1.001 and np.nanmax(far) <= 2.001
  assert np.nanmean(far) > np.nanmean(near) > 0.2
  assert noised.reference.min() > 0 and noised.reference.max() <= 1


def test_label_noise_takes_other_phrases_of_the_prompt(batch):
  plain, _ = _noised(batch, label_noise=0.0)
  mixed, _ = _noised(batch, label_noise=1.0)
  same = jnp.all(plain.content == mixed.content, axis=-1)[mixed.valid]
  # Half are drawn anew, of which a third gets its own phrase back.
  assert 0.4 < same.mean() < 0.95
  known = plain.content.reshape(-1, plain.content.shape[-1])
  for content in mixed.content[mixed.valid]:
    assert jnp.abs(known - content).max(axis=-1).min() < 1e-6


def test_groups_see_themselves_and_all_queries_which_see_only_each_other(batch):
  noised, _ = _noised(batch)
  valid = jnp.ones((2, 4), bool).at[0, 3].set(False)
  sees = np.asarray(denoising.attend(noised, valid))
  count = GROUPS * 2 * M
  assert sees.shape == (2, count + 4, count + 4)
  assert not sees[:, count:, :count].any()
  present = np.asarray(noised.valid)
  for g in range(GROUPS):
    own = np.arange(count) // (2 * M) == g
    rows = sees[:, :count][:, own]
    beside = rows[:, :, :count][:, :, ~own]
    assert not beside.any()
    assert (rows[:, :, :count][:, :, own] | ~present[:, None, own]).all()
    assert rows[1, :, count:].all()
  assert not sees[0, :-1, -1].any() and sees[0, -1, -1]


@pytest.mark.slow
def test_queries_are_what_they_are_without_denoising(batch):
  """And the noised ones are trained: each layer has a loss of them."""
  config = recipes.variant('nano_gd')
  still = dataclasses.replace(config.encoder.fusion, drop_path_rate=0.0)
  config = dataclasses.replace(
      config,
      backbone=dataclasses.replace(config.backbone, drop_path_rate=0.0),
      language=dataclasses.replace(config.language, dropout_rate=0.0),
      encoder=dataclasses.replace(config.encoder, fusion=still),
  )
  on = config_lib.Denoising(on=True, groups=GROUPS)
  plain = recipes.build(config)
  noised = recipes.build(dataclasses.replace(config, denoising=on))
  params = dino.Reference('gd_nano').params
  rngs = {'dropout': jax.random.key(0)}
  found = []
  for recipe in (plain, noised):
    run = lambda params, batch, recipe=recipe: recipe.forward(
        params, batch, train=True, rngs=rngs
    )
    with jax.default_matmul_precision('highest'):
      found.append(compiling.quick_jit(run)(params, batch))
  alone, beside = found
  np.testing.assert_allclose(beside.logits, alone.logits, atol=1e-3)
  np.testing.assert_allclose(beside.boxes, alone.boxes, atol=0.02)
  assert alone.denoising == () and len(beside.denoising) == 2
  assert beside.denoising[0].boxes.shape == (2, GROUPS * 2 * M, 4)
  total, parts = noised.loss(beside, batch)
  assert 'loss_denoising' not in plain.loss(alone, batch)[1]
  named = {k: x for k, x in parts.items() if k.startswith('loss_')}
  np.testing.assert_allclose(sum(named.values()), total, rtol=1e-5)
  assert parts['loss_denoising'] > 0
