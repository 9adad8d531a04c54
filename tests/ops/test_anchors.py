"""Anchors against the reference's arrays."""

import jax
import numpy as np
import pytest

from glip_jax.ops import anchors


def _levels(sizes):
  return [
      anchors.level_anchors(size, stride)
      for size, stride in zip(sizes, anchors.STRIDES, strict=True)
  ]


@pytest.mark.parametrize(
    'name, height, width', [('800x1199', 800, 1216), ('352x384', 352, 416)]
)
def test_anchors_equal_the_reference(golden, name, height, width):
  stored = np.load(golden / 'parts' / 'boxes_ops.npz')
  sizes = anchors.pyramid_sizes(height, width)
  pyramid = jax.jit(lambda: _levels(sizes))()
  for level, boxes in enumerate(map(np.asarray, pyramid)):
    key = f'anchors_{name}_l{level}'
    assert len(boxes) == stored[f'{key}_count']
    np.testing.assert_array_equal(boxes[:5], stored[f'{key}_first5'])
    np.testing.assert_array_equal(boxes[-5:], stored[f'{key}_last5'])
    np.testing.assert_array_equal(
        boxes.sum(0, dtype=np.float64), stored[f'{key}_sum']
    )
    np.testing.assert_array_equal(boxes[:1], stored[f'cell_anchors_l{level}'])


def test_a_pyramid_is_its_levels_one_after_the_other(golden):
  stored = np.load(golden / 'nano' / 'nanoA.npz')
  sizes = anchors.pyramid_sizes(192, 224)
  assert [h * w for h, w in sizes] == stored['anchors_per_level'].tolist()
  boxes = anchors.pyramid_anchors(sizes)
  np.testing.assert_array_equal(boxes[::97], stored['anchors_sample_rows'])


def test_anchor_scale_sets_the_side_and_keeps_the_centre():
  large = anchors.pyramid_anchors(((2, 3),), strides=(16,))
  small = anchors.pyramid_anchors(((2, 3),), strides=(16,), anchor_scale=2.5)
  np.testing.assert_allclose(small[:, 2:] - small[:, :2] + 1, 40.0)
  np.testing.assert_allclose(small.sum(1), large.sum(1))


def test_as_many_strides_as_levels_are_asked_for():
  with pytest.raises(ValueError, match='zip'):
    anchors.pyramid_anchors(((4, 4), (2, 2)), strides=(8,))


def test_anchors_inside_are_those_of_the_image_alone():
  sizes = ((64, 160), (128, 32), (96, 224))
  canvas = anchors.pyramid_sizes(128, 224)

  def everything(extent):
    alone = [
        anchors.pyramid_anchors(anchors.pyramid_sizes(*size)) for size in sizes
    ]
    inside = anchors.anchors_inside(extent, canvas)
    return anchors.pyramid_anchors(canvas), inside, alone

  boxes, inside, alone = jax.jit(everything)(np.array(sizes))
  for image in range(len(sizes)):
    own = np.asarray(boxes)[np.asarray(inside)[image]]
    np.testing.assert_array_equal(own, alone[image])
