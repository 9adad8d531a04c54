"""Losses against loops, the reference's arrays, and hostile inputs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from glip_jax.ops import losses

# Compiled, because op by op is slower still.
_focal = jax.jit(
    losses.region_word_focal_loss, static_argnames=('alpha', 'gamma')
)


def _naive_focal(logit, target, alpha, gamma):
  probability = 1 / (1 + math.exp(-logit))
  if target:
    return -alpha * (1 - probability) ** gamma * math.log(probability)
  return -(1 - alpha) * probability**gamma * math.log(1 - probability)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_focal_loss_equals_a_loop(gamma):
  rng = np.random.default_rng(0)
  logits = rng.normal(0, 3, (2, 3, 4))
  targets = rng.random((2, 3, 4)) < 0.4
  mask = np.array([[True, True, False, True], [True, False, False, True]])
  expected = np.zeros((2, 3, 4))
  for b, r, t in np.ndindex(2, 3, 4):
    if mask[b, t]:
      expected[b, r, t] = _naive_focal(
          logits[b, r, t], targets[b, r, t], 0.3, gamma
      )
  actual = _focal(
      jnp.asarray(logits, jnp.float32),
      jnp.asarray(targets),
      token_mask=jnp.asarray(mask),
      alpha=0.3,
      gamma=gamma,
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


def test_focal_loss_equals_the_reference(golden):
  stored = np.load(golden / 'parts' / 'boxes_ops.npz')
  loss = _focal(
      jnp.asarray(stored['focal_logits']),
      jnp.asarray(stored['focal_targets'] > 0),
      token_mask=jnp.asarray(stored['focal_mask'] > 0),
  )
  np.testing.assert_allclose(loss.sum(), stored['focal_token_sum'], rtol=1e-6)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_focal_loss_is_that_of_optax_at_logits_of_every_size(gamma):
  sizes = jnp.logspace(-3, 4.5, 40)
  logits = jnp.stack([sizes, -sizes, sizes, -sizes])[None]
  targets = jnp.zeros(logits.shape, bool).at[:, :2].set(True)

  def ours(x):
    mask = jnp.ones((1, x.shape[-1]), bool)
    return losses.region_word_focal_loss(
        x, targets, token_mask=mask, gamma=gamma
    )

  def theirs(x):
    return optax.losses.sigmoid_focal_loss(x, targets, alpha=0.25, gamma=gamma)

  results = []
  for loss in (ours, theirs):
    values, pull = jax.vjp(jax.jit(loss), logits)
    results.append((values, *pull(jnp.ones_like(values))))
  for actual, expected in zip(*results, strict=True):
    np.testing.assert_allclose(actual, expected, rtol=3e-6, atol=1e-37)


def test_padding_tokens_carry_no_loss_and_no_gradient():
  logits = jnp.array([[[jnp.inf, 1.0], [jnp.nan, -1.0]]])
  mask = jnp.array([[False, True]])

  def total(x):
    targets = jnp.ones(x.shape, bool)
    return _focal(x, targets, token_mask=mask).sum()

  value, gradient = jax.jit(jax.value_and_grad(total))(logits)
  assert jnp.isfinite(value)
  np.testing.assert_array_equal(gradient[..., 0], 0.0)
  assert (gradient[..., 1] < 0).all()


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_focal_loss_is_finite_for_the_largest_logits(gamma):
  logits = jnp.array([-50000.0, -100.0, 0.0, 100.0, 50000.0] * 2)[None, None]
  targets = jnp.arange(10)[None, None] < 5
  mask = jnp.ones((1, 10), bool)

  def total(x):
    return _focal(x, targets, token_mask=mask, gamma=gamma).sum()

  value, gradient = jax.jit(jax.value_and_grad(total))(logits)
  assert jnp.isfinite(value) and jnp.isfinite(gradient).all()


def test_focal_loss_is_computed_in_float32():
  logits = jnp.array([[[1.0, -2.0]]], jnp.bfloat16)
  targets, mask = jnp.array([[[True, False]]]), jnp.ones((1, 2), bool)
  half = _focal(logits, targets, token_mask=mask)
  full = _focal(logits.astype(jnp.float32), targets, token_mask=mask)
  assert half.dtype == jnp.float32
  np.testing.assert_array_equal(half, full)


def test_giou_loss_is_zero_for_the_box_itself_and_above_one_for_one_far_off():
  boxes = jnp.array([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0]])
  others = jnp.array([[0.0, 0.0, 10.0, 10.0], [90.0, 90.0, 100.0, 100.0]])
  loss = jax.jit(losses.giou_loss)(boxes, others)
  np.testing.assert_allclose(loss, [0.0, 1 + (1 - 0.02)], atol=1e-6)


def test_cross_entropy_equals_its_definition():
  logits, targets = jnp.array([-3.0, 0.0, 2.0]), jnp.array([0.0, 0.3, 0.9])
  p = 1 / (1 + np.exp(-np.asarray(logits)))
  expected = -targets * np.log(p) - (1 - targets) * np.log(1 - p)
  actual = jax.jit(losses.sigmoid_cross_entropy)(logits, targets)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_centerness_falls_from_the_middle_to_the_border():
  anchors = jnp.array([
      [4.0, 4.0, 6.0, 6.0],  # centre of the box
      [1.0, 4.0, 3.0, 6.0],  # a fifth of the way in
      [-1.0, 4.0, 1.0, 6.0],  # on the border
      [50.0, 50.0, 60.0, 60.0],  # outside
      [9.0, 9.0, 9.0, 9.0],  # in an empty box
  ])
  boxes = jnp.array([[0.0, 0.0, 10.0, 10.0]] * 4 + [[9.0, 9.0, 9.0, 9.0]])
  expected = [1.0, math.sqrt(2 / 8), 0.0, 0.0, 0.0]
  np.testing.assert_allclose(
      jax.jit(losses.centerness)(anchors, boxes), expected
  )
