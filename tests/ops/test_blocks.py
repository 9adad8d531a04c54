"""Axes that are cut into blocks of one size, and joined again."""

import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.ops import blocks


@pytest.mark.parametrize('counts', [(7,), (12, 5), (1, 8, 3)])
@pytest.mark.parametrize('size', [1, 4, 5, 30])
@pytest.mark.parametrize('axis', [0, 1, 2])
def test_joining_undoes_cutting(counts, size, axis):
  layout = blocks.Blocks(counts, size)
  shape = [2, 3, 4]
  shape[axis] = sum(counts)
  x = np.arange(np.prod(shape)).reshape(shape)
  cut = layout.cut(jnp.asarray(x), axis)
  assert cut.shape[1:][axis] == size
  assert len(cut) == len(layout.segment)
  np.testing.assert_array_equal(layout.join(cut, axis), x)


def test_a_block_lies_in_one_segment_and_is_filled_up_with_zeros():
  layout = blocks.Blocks((3, 4), 2)
  cut = layout.cut(jnp.array([1, 1, 1, 2, 2, 2, 2]), 0)
  np.testing.assert_array_equal(cut, [[1, 1], [1, 0], [2, 2], [2, 2]])
  np.testing.assert_array_equal(layout.segment, [0, 0, 1, 1])


def test_the_largest_size_that_fills_up_least_is_taken():
  assert blocks.Blocks.between((16_800, 4_200), 512, 2048).size == 1400
  assert blocks.Blocks.between((22_400,), 683, 1024).size == 896
  # Nothing fits: the smallest size fills up least.
  assert blocks.Blocks.between((3, 3), 5, 9).size == 5
