"""Edges outside of the objective, last original pixels inside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax import types
from glip_jax.detectors.glip import inclusive
from glip_jax.detectors.glip import objective as dense
from glip_jax.evaluators import unpack
from glip_jax.ops import anchors as anchor_ops

_CANVAS = (64, 96)
_LEVELS = anchor_ops.pyramid_sizes(*_CANVAS)
_sums, _decode = jax.jit(dense.loss_sums), jax.jit(dense.decode)


def _from_edges(boxes, *scale):
  boxes, scale = (jnp.asarray(x, jnp.float32)[None] for x in (boxes, scale))
  return np.asarray(inclusive.from_edges(boxes, scale)[0])


@pytest.mark.parametrize(
    'scale, last',
    [
        # (y, x): what is taken from x2 and y2 is one original pixel.
        ((1, 1), [29, 39]),
        ((0.5, 0.5), [29.5, 39.5]),
        ((2, 2), [28, 38]),
        ((0.5, 2), [28, 39.5]),
        ((1.25, 0.7), [29.3, 38.75]),
    ],
)
def test_a_box_ends_an_original_pixel_before_its_edge(scale, last):
  boxes = _from_edges([[10, 20, 30, 40]], *scale)
  np.testing.assert_allclose(boxes, [[10, 20, *last]], rtol=1e-6)
  edges = inclusive.to_edges(
      jnp.asarray(boxes)[None], jnp.asarray([scale], jnp.float32)
  )
  np.testing.assert_allclose(edges[0], [[10, 20, 30, 40]], rtol=1e-6)


@pytest.mark.parametrize(
    'box, scale, last',
    [
        ([4, 4, 4.2, 4.2], (1, 1), [4, 4]),
        # A whole pixel of the original, three of the input.
        ([6, 6, 9, 9], (3, 3), [6, 6]),
        ([6, 6, 8, 12], (3, 3), [6, 9]),
        ([6, 6, 6.4, 7], (0.5, 0.5), [6, 6.5]),
        # No box at all, as in padding.
        ([0, 0, 0, 0], (2, 2), [0, 0]),
    ],
)
def test_a_box_thinner_than_a_pixel_ends_where_it_starts(box, scale, last):
  assert _from_edges([box], *scale).tolist() == [[*box[:2], *last]]


def _batch(scale, boxes=None):
  """Two images, each of its scale, with as many boxes each."""
  targets = None
  if boxes is not None:
    rows = boxes.shape[:2]
    targets = types.Targets(
        boxes=np.asarray(boxes, np.float32),
        phrase=np.zeros(rows, np.int32),
        tokens=np.ones((*rows, 4), bool),
        valid=np.ones(rows, bool),
        crowd=np.zeros(rows, bool),
    )
  return types.Batch(
      image=np.zeros((2, 1, 1, 3), np.uint8),
      size=np.array([_CANVAS, (50, 70)], np.int32),
      extent=np.array([_CANVAS] * 2, np.int32),
      scale=np.asarray(scale, np.float32),
      id=np.arange(2, dtype=np.int32),
      prompt=types.Prompt(
          ids=np.zeros((2, 4), np.int32),
          mask=np.ones((2, 4), bool),
          spans=np.eye(4, dtype=bool)[None].repeat(2, axis=0),
      ),
      targets=targets,
  )


def _outputs(seed):
  rng = np.random.default_rng(seed)
  anchors = np.asarray(anchor_ops.pyramid_anchors(_LEVELS))
  anchors = np.broadcast_to(anchors, (2, *anchors.shape))
  rows = anchors.shape[:2]
  return types.Outputs(
      logits=rng.normal(0, 2, (*rows, 4)).astype(np.float32),
      boxes=(anchors + rng.normal(0, 4, anchors.shape)).astype(np.float32),
      quality=rng.normal(0, 1, rows).astype(np.float32),
      anchors=anchors,
      valid=np.ones(rows, bool),
      level_sizes=_LEVELS,
  )


SCALES = ((0.5, 2.0), (1.3, 0.7))


def test_the_loss_sees_last_pixels_alone():
  rng = np.random.default_rng(0)
  corners = rng.uniform(0, 30, (2, 3, 2))
  last = np.concatenate([corners, corners + rng.uniform(8, 34, (2, 3, 2))], -1)
  pixels = np.array(SCALES)[:, None, ::-1]
  edges = last + np.concatenate([np.zeros_like(pixels), pixels], axis=-1)
  whole = last + [0, 0, 1, 1]
  outputs = _outputs(1)
  found = _sums(outputs, _batch(SCALES, edges))
  assert (found.num_positives > 0).all()
  # An image of several scales says (1, 1), and loses one pixel of the input.
  same = _sums(outputs, _batch([(1, 1)] * 2, whole))
  for one, other in zip(found, same, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5)
  other = _sums(outputs, _batch([(1, 1)] * 2, edges))
  assert not np.allclose(found.box, other.box, rtol=1e-3)


@pytest.mark.parametrize('scale', [*SCALES, (1, 1), (3, 3)])
def test_detections_in_original_pixels_are_those_of_one_pixel_added_there(
    scale,
):
  """Divided by the scale first and a pixel more then: the same to rounding."""
  outputs, batch = _outputs(2), _batch([scale] * 2)
  found = _decode(outputs, batch)
  assert found.valid.any(axis=1).all()
  for row, image in enumerate(unpack.unpack(batch, found)):
    valid = np.asarray(found.valid[row])
    height, width = batch.size[row] - 1
    last = np.clip(outputs.boxes[row], 0, [width, height, width, height])
    want = last.astype(float) / np.array(scale)[[1, 0, 1, 0]] + [0, 0, 1, 1]
    assert len(image.boxes) == valid.sum()
    # Which region a detection came from is not told: it is one of them.
    distance = np.abs(image.boxes[:, None] - want[None]).max(-1).min(1)
    assert distance.max() < 1e-4
    assert not np.asarray(found.boxes[row])[~valid].any()


def test_scores_and_labels_do_not_depend_on_the_scale():
  outputs = _outputs(3)
  one, other = (_decode(outputs, _batch(x)) for x in (SCALES, [(1, 1)] * 2))
  np.testing.assert_array_equal(one.scores, other.scores)
  np.testing.assert_array_equal(one.labels, other.labels)
  np.testing.assert_array_equal(one.boxes[..., :2], other.boxes[..., :2])
