"""A checksum finds any changed bit.

That it is the same on every mesh is for test_checkpointing.py to show, where
one device reads what eight wrote.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.training import checksums

DTYPES = ('float32', 'bfloat16', 'int32', 'uint8', 'bool')


def _array(dtype):
  numbers = np.random.default_rng(0).normal(size=(6, 5))
  return np.asarray(jnp.asarray(20 * numbers).astype(dtype))


@pytest.mark.parametrize('dtype', DTYPES)
def test_it_is_the_sum_of_words_times_odd_places(dtype):
  x = _array(dtype)
  words = x.view(f'uint{8 * x.itemsize}').reshape(-1)
  want = sum(int(w) * (2 * i + 1) for i, w in enumerate(words)) % 2**32
  assert checksums.sums({'a': {'b': x}}) == {'a/b': (want, True)}


def test_parts_add_up_to_the_whole():
  for x in (_array('float32'), np.arange(30.0).reshape(6, 5)):
    want = checksums.sums({'x': x})['x'].checksum
    corners = [
        (slice(0, 4), slice(None)),
        (slice(4, 6), slice(0, 2)),
        (slice(4, 6), slice(2, 5)),
    ]
    parts = [checksums._sum(x[i], i, x.shape).checksum for i in corners]
    assert sum(parts) % 2**32 == want


def test_any_flipped_bit_changes_it():
  x = _array('float32')
  want = checksums.sums({'x': x})['x'].checksum
  words = x.view(np.uint32).reshape(-1)
  for bit in range(0, 32 * words.size, 7):
    changed = words.copy()
    changed[bit // 32] ^= np.uint32(1) << np.uint32(bit % 32)
    changed = changed.view(np.float32).reshape(x.shape)
    assert checksums.sums({'x': changed})['x'].checksum != want


def test_two_that_changed_places_change_it():
  x = _array('float32')
  found = checksums.sums({'x': x, 'swapped': x[::-1]})
  assert found['x'].checksum != found['swapped'].checksum


def test_what_is_not_finite_is_told():
  x = _array('float32').copy()
  for value in (np.nan, np.inf):
    x[2, 3] = value
    assert not checksums.sums({'x': x})['x'].finite
  assert checksums.sums({'count': np.int32(3)})['count'] == (3, True)
