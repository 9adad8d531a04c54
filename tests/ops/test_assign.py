"""Assignment against a loop and the reference's positive sets."""

import functools

import jax
import jax.numpy as jnp
import naive_boxes
import numpy as np
import pytest

from glip_jax.ops import anchors as anchor_ops
from glip_jax.ops import assign
from glip_jax.ops import boxes as box_ops

_CANVAS = (192, 224)
_SIZES = anchor_ops.pyramid_sizes(*_CANVAS)
_NUM_BOXES = 6


@functools.partial(jax.jit, static_argnames='sizes')
def _run(boxes, box_valid, extent, sizes):
  """Assignment on a canvas: (matched, anchors, valid anchors)."""
  strides = anchor_ops.STRIDES[: len(sizes)]
  anchors = anchor_ops.pyramid_anchors(sizes, strides=strides)
  anchors = jnp.broadcast_to(anchors, (2, *anchors.shape))
  valid = anchor_ops.anchors_inside(extent, sizes, strides=strides)
  matched = assign.assign_atss(
      anchors, valid, boxes, box_valid, level_sizes=sizes
  )
  return matched, anchors, valid


def _matches(boxes, box_valid, extent=(_CANVAS, _CANVAS), sizes=_SIZES):
  """`_run` with numpy in and out; few shapes are compiled."""
  results = _run(boxes, box_valid, np.array(extent), sizes)
  return jax.tree.map(np.asarray, results)


@pytest.mark.parametrize('model', ['nanoA', 'nanoB', 'nanoL'])
def test_positives_equal_the_reference(golden, model):
  stored = np.load(golden / 'nano' / f'{model}.npz')
  boxes = np.zeros((2, _NUM_BOXES, 4), np.float32)
  box_valid = np.zeros((2, _NUM_BOXES), bool)
  for image in range(2):
    truth = stored[f'train_img{image}_boxes']
    boxes[image, : len(truth)] = truth
    box_valid[image, : len(truth)] = True
  matched, anchors, _ = _matches(boxes, box_valid)
  for image in range(2):
    positive = np.flatnonzero(matched[image] >= 0)
    key = f'train_img{image}_pos'
    np.testing.assert_array_equal(positive, stored[f'{key}_anchor_idx'])
    matched_box = matched[image][positive]
    np.testing.assert_array_equal(matched_box, stored[f'{key}_matched_gt'])
    deltas = jax.jit(box_ops.encode_boxes)(
        boxes[image][np.maximum(matched[image], 0)], anchors[image]
    )
    deltas = np.asarray(deltas)[positive]
    np.testing.assert_allclose(deltas, stored[f'{key}_reg_targets'], atol=1e-5)


@pytest.mark.parametrize('seed', range(4))
def test_matches_equal_a_loop_under_padding_and_crowds(seed):
  rng = np.random.default_rng(seed)
  extent = ((96, 224), (64, 64))
  boxes = np.stack(
      [naive_boxes.random_boxes(rng, (_NUM_BOXES,), *size) for size in extent]
  )
  # Two boxes alike compete for the same anchors.
  boxes[:, 1] = boxes[:, 0] + 3
  box_valid = rng.random((2, _NUM_BOXES)) < 0.7
  matched, anchors, valid = _matches(boxes, box_valid, extent)
  for image in range(2):
    expected = naive_boxes.assign_atss(
        anchors[image], valid[image], boxes[image], box_valid[image], _SIZES, 9
    )
    assert (expected >= 0).any()
    np.testing.assert_array_equal(matched[image], expected)


def test_matches_do_not_depend_on_the_canvas():
  boxes = np.array([[10, 10, 90, 60], [30, 5, 60, 40]], np.float32)
  boxes = np.pad(boxes, ((0, _NUM_BOXES - 2), (0, 0)))[None].repeat(2, 0)
  box_valid = np.arange(_NUM_BOXES)[None].repeat(2, 0) < 2
  extent = ((64, 96),) * 2
  padded, _, valid = _matches(boxes, box_valid, extent)
  sizes = anchor_ops.pyramid_sizes(*extent[0])
  alone, _, _ = _matches(boxes, box_valid, extent, sizes)
  assert (alone >= 0).any()
  np.testing.assert_array_equal(padded[0][valid[0]], alone[0])


def test_nothing_matches_where_no_box_or_no_anchor_is_valid():
  rng = np.random.default_rng(5)
  boxes = naive_boxes.random_boxes(rng, (2, _NUM_BOXES), *_CANVAS)
  none = np.zeros((2, _NUM_BOXES), bool)
  assert (_matches(boxes, none)[0] == -1).all()
  assert (_matches(boxes, ~none, ((0, 0), (0, 0)))[0] == -1).all()


def test_padding_boxes_change_nothing_wherever_they_stand():
  rng = np.random.default_rng(6)
  boxes = naive_boxes.random_boxes(rng, (2, _NUM_BOXES), *_CANVAS)
  box_valid = np.array([[True] * 3 + [False] * 3] * 2)
  matched = _matches(boxes, box_valid)[0]
  flipped = _matches(boxes[:, ::-1], box_valid[:, ::-1])[0]
  np.testing.assert_array_equal(
      matched, np.where(flipped >= 0, _NUM_BOXES - 1 - flipped, -1)
  )


def test_the_better_of_two_candidates_is_below_their_unbiased_threshold():
  # mean + |a - b| / sqrt(2) exceeds both; a biased deviation would reach one.
  boxes = np.zeros((2, 1, 4), np.float32) + [0, 0, 40, 8]
  matched, anchors, _ = _matches(
      boxes, np.ones((2, 1), bool), ((8, 16),) * 2, sizes=((1, 2),)
  )
  first, second = (naive_boxes.iou(a, boxes[0, 0], 1.0) for a in anchors[0])
  assert first != second
  assert (matched == -1).all()
