"""Box arithmetic against loops and the reference's arrays."""

import jax
import jax.numpy as jnp
import naive_boxes
import numpy as np
import pytest

from glip_jax.ops import boxes as box_ops

# Compiled, because op by op is slower still.
_iou = jax.jit(box_ops.pairwise_iou, static_argnames='offset')
_giou = jax.jit(box_ops.generalized_iou)
_encode = jax.jit(box_ops.encode_boxes)
_decode = jax.jit(box_ops.decode_boxes)


@pytest.fixture(scope='module')
def stored(golden):
  return np.load(golden / 'parts' / 'boxes_ops.npz')


@pytest.mark.parametrize('offset', [0.0, 1.0])
def test_pairwise_iou_equals_a_loop_in_both_conventions(offset):
  rng = np.random.default_rng(0)
  boxes = naive_boxes.random_boxes(rng, (6,), 40, 60)
  others = naive_boxes.random_boxes(rng, (5,), 40, 60)
  expected = [[naive_boxes.iou(a, b, offset) for b in others] for a in boxes]
  actual = _iou(boxes, others, offset=offset)
  np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_pairwise_iou_equals_the_reference(stored):
  boxes = jnp.asarray(stored['nms_boxes'])
  actual = _iou(boxes[:10], boxes[10:17], offset=1.0)
  np.testing.assert_allclose(actual, stored['iou_plus1_10x7'], atol=1e-6)


def test_iou_of_empty_boxes_is_zero():
  empty = jnp.zeros((1, 4))
  assert _iou(empty, empty).item() == 0.0


def test_area_equals_the_reference(stored):
  actual = box_ops.box_area(jnp.asarray(stored['clip_out']), offset=1.0)
  np.testing.assert_allclose(actual, stored['clip_area_plus1'], rtol=1e-6)


def test_clipping_equals_the_reference(stored):
  width, height = stored['clip_size_wh']
  actual = box_ops.clip_boxes(
      jnp.asarray(stored['clip_in'])[None], jnp.array([[height, width]])
  )
  np.testing.assert_array_equal(actual[0], stored['clip_out'])


def test_coder_equals_the_reference(stored):
  anchors = jnp.asarray(stored['coder_anchors'])
  encoded = _encode(jnp.asarray(stored['coder_gt']), anchors)
  np.testing.assert_allclose(encoded, stored['coder_encoded'], atol=1e-5)
  decoded = _decode(jnp.asarray(stored['coder_preds']), anchors)
  np.testing.assert_allclose(
      decoded, stored['coder_decoded'], rtol=1e-5, atol=2e-3
  )


def test_decoding_inverts_encoding():
  rng = np.random.default_rng(1)
  anchors = jnp.asarray(naive_boxes.random_boxes(rng, (3, 7), 300, 400))
  boxes = jnp.asarray(naive_boxes.random_boxes(rng, (3, 7), 300, 400))
  deltas = _encode(boxes, anchors)
  decoded = _decode(deltas, anchors)
  np.testing.assert_allclose(decoded, boxes, atol=1e-3)


def test_decoded_sizes_are_at_most_62_anchors_and_a_half():
  anchor = jnp.array([0.0, 0.0, 63.0, 63.0])
  decoded = _decode(jnp.array([0.0, 0.0, 99.0, 0.0]), anchor)
  sizes = box_ops.box_sizes(decoded, offset=1.0)
  np.testing.assert_allclose(sizes, [62.5 * 64, 64], rtol=1e-5)


def test_decoding_is_computed_in_float32():
  anchor = jnp.array([1000.0, 1000.0, 1063.0, 1063.0])
  decoded = _decode(jnp.ones(4, jnp.bfloat16), anchor)
  assert decoded.dtype == jnp.float32
  expected = _decode(jnp.ones(4), anchor)
  np.testing.assert_array_equal(decoded, expected)


def _naive_giou(box, other):
  x2, y2 = max(box[0], box[2]), max(box[1], box[3])
  width = min(x2, other[2]) - max(box[0], other[0])
  height = min(y2, other[3]) - max(box[1], other[1])
  intersection = width * height if width > 0 and height > 0 else 0.0
  union = (x2 - box[0]) * (y2 - box[1]) - intersection
  union += (other[2] - other[0]) * (other[3] - other[1]) + 1e-7
  hull = max(x2, other[2]) - min(box[0], other[0])
  hull *= max(y2, other[3]) - min(box[1], other[1])
  hull += 1e-7
  return intersection / union - (hull - union) / hull


def test_generalized_iou_equals_a_loop_even_where_corners_are_crossed():
  rng = np.random.default_rng(2)
  boxes = naive_boxes.random_boxes(rng, (20,), 40, 60)
  boxes[:5] = boxes[:5, [2, 1, 0, 3]]
  others = naive_boxes.random_boxes(rng, (20,), 40, 60)
  expected = [_naive_giou(a, b) for a, b in zip(boxes, others, strict=True)]
  actual = _giou(boxes, others)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_generalized_iou_has_finite_gradients_for_degenerate_boxes():
  boxes = jnp.array([[5.0, 5, 5, 5], [9, 9, 2, 2], [1, 1, 4, 4], [0, 0, 0, 0]])
  others = jnp.array([[5.0, 5, 5, 5], [3, 3, 8, 8], [1, 1, 4, 4], [9, 9, 9, 9]])
  gradient = jax.jit(jax.grad(lambda x: _giou(x, others).sum()))(boxes)
  assert jnp.isfinite(gradient).all()


def test_pairwise_generalized_iou_of_centred_boxes_equals_the_reference(golden):
  stored = np.load(golden / 'query' / 'parts' / 'parts.npz')
  pixels = [
      1000 * box_ops.from_centre(jnp.asarray(stored[name]))
      for name in ('giou_a', 'giou_b')
  ]
  actual = jax.jit(box_ops.pairwise_generalized_iou)(*pixels)
  np.testing.assert_allclose(actual, stored['giou'], atol=1e-6)


def test_edges_and_centres_undo_each_other():
  boxes = jnp.array([[1.0, 2, 5, 10], [3, 3, 3, 3]])
  centred = box_ops.to_centre(boxes)
  np.testing.assert_array_equal(centred, [[3, 6, 4, 8], [3, 3, 0, 0]])
  np.testing.assert_array_equal(box_ops.from_centre(centred), boxes)


def test_relative_boxes_are_shares_of_each_image():
  boxes = jnp.array([[[10.0, 20, 30, 60]], [[0.0, 0, 0, 0]]])
  size = jnp.array([[80, 40], [0, 0]])
  found = box_ops.to_relative(boxes, size)
  np.testing.assert_allclose(found[0, 0], [0.5, 0.5, 0.5, 0.5])
  assert np.isfinite(found).all()
  np.testing.assert_allclose(box_ops.from_relative(found, size), boxes)
