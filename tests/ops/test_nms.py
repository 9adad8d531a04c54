"""Suppression against the sequential algorithm and the reference's arrays."""

import functools

import jax
import naive_boxes
import numpy as np
import plain_nms
import pytest

from glip_jax.ops import nms

_NUM_BOXES = 120


@functools.partial(jax.jit, static_argnames=('threshold', 'block_size'))
def _run(*inputs, threshold, block_size):
  return nms.non_max_suppression(
      *inputs,
      threshold=threshold,
      max_outputs=_NUM_BOXES,
      block_size=block_size,
  )


def _survivors(
    boxes, scores, labels, valid=None, *, threshold=0.3, block_size=512
):
  """Indices kept; inputs are padded so that few shapes are compiled."""
  spare = _NUM_BOXES - len(boxes)
  kept = _run(
      np.pad(boxes, ((0, spare), (0, 0))),
      np.pad(scores, (0, spare)),
      np.pad(labels.astype(np.int32), (0, spare)),
      np.pad(np.ones(len(boxes), bool) if valid is None else valid, (0, spare)),
      threshold=threshold,
      block_size=block_size,
  )
  count = int((kept >= 0).sum())
  np.testing.assert_array_equal(kept[count:], -1)
  return np.asarray(kept[:count])


@pytest.mark.parametrize('threshold, key', [(0.6, '06'), (0.3, '03')])
def test_survivors_equal_the_reference(golden, threshold, key):
  stored = np.load(golden / 'parts' / 'boxes_ops.npz')
  kept = _survivors(
      stored['nms_boxes'],
      stored['nms_scores'],
      stored['nms_labels'],
      threshold=threshold,
  )
  np.testing.assert_array_equal(np.sort(kept), stored[f'nms_keep_{key}'])


def _crowded(seed, num_boxes=90):
  """Overlapping boxes of three classes, a third of them equal in score."""
  rng = np.random.default_rng(seed)
  boxes = naive_boxes.random_boxes(rng, (num_boxes,), 60, 60)
  scores = np.round(rng.random(num_boxes), 1).astype(np.float32)
  labels = rng.integers(0, 3, num_boxes).astype(np.int32)
  return boxes, scores, labels, rng.random(num_boxes) < 0.8


@pytest.mark.parametrize('block_size', [7, 512])
@pytest.mark.parametrize('seed', range(3))
def test_survivors_equal_the_sequential_algorithm(seed, block_size):
  inputs = _crowded(seed)
  expected = naive_boxes.non_max_suppression(*inputs, threshold=0.3)
  assert len(expected) < inputs[3].sum()
  kept = _survivors(*inputs, block_size=block_size)
  np.testing.assert_array_equal(kept, expected)
  # The benchmarks' loop is the same algorithm.
  looped = plain_nms.non_max_suppression(
      *inputs, threshold=0.3, max_outputs=len(expected) + 2
  )
  np.testing.assert_array_equal(looped, [*expected, -1, -1])


def test_few_outputs_are_the_first_of_many():
  inputs = _crowded(3)
  expected = naive_boxes.non_max_suppression(*inputs, threshold=0.3)
  kept = jax.jit(
      functools.partial(
          nms.non_max_suppression, threshold=0.3, max_outputs=5, block_size=4
      )
  )(*inputs)
  np.testing.assert_array_equal(kept, expected[:5])


def test_a_long_chain_of_suppressions_is_followed_to_its_end():
  # Each box overlaps the next alone, so every other one survives.
  x = np.arange(40, dtype=np.float32) * 4
  kept = _survivors(
      np.stack([x, 0 * x, x + 8, 0 * x + 9], axis=1),
      np.linspace(1, 0.5, 40, dtype=np.float32),
      np.zeros(40),
  )
  np.testing.assert_array_equal(kept, np.arange(0, 40, 2))


def test_equal_boxes_of_equal_score_leave_the_first_of_each_class():
  kept = _survivors(
      np.array([[1, 1, 9, 9]] * 4, np.float32),
      np.full(4, 0.5, np.float32),
      np.array([0, 1, 0, 1]),
  )
  np.testing.assert_array_equal(kept, [0, 1])


def test_nothing_survives_where_nothing_is_valid():
  boxes, scores, labels, valid = _crowded(0)
  assert _survivors(boxes, scores, labels, valid & False).size == 0


def test_a_batch_gives_what_its_images_give_alone():
  # The third image has nothing to visit while the others still iterate.
  images = [_crowded(seed, _NUM_BOXES) for seed in range(3)]
  images[2][3][:] = False
  batch = [np.stack(x) for x in zip(*images, strict=True)]
  run = functools.partial(_run, threshold=0.3, block_size=7)
  together = jax.jit(jax.vmap(run))(*batch)
  for kept, image in zip(together, images, strict=True):
    np.testing.assert_array_equal(kept, run(*image))
