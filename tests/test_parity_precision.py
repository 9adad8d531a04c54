"""The measure of what bfloat16 keeps."""

import numpy as np
from parity import precision


def _found(boxes, scores, labels):
  return (
      np.array(boxes, np.float32).reshape(-1, 4),
      np.array(scores, np.float32),
      np.array(labels),
  )


def test_a_detection_is_kept_with_its_label_place_and_score():
  box, near, far = [0, 0, 100, 100], [2, 0, 100, 100], [12, 0, 100, 100]
  wanted = _found([box], [0.5], [1])
  for other, kept in (
      (_found([near], [0.515], [1]), 1),
      (_found([near], [0.525], [1]), 0),
      (_found([near], [0.5], [2]), 0),
      (_found([far], [0.5], [1]), 0),
      (_found([], [], []), 0),
  ):
    assert precision.num_kept(wanted, other) == kept


def test_one_detection_keeps_only_one():
  box, near = [0, 0, 100, 100], [2, 0, 100, 100]
  twice = _found([box, near], [0.5, 0.49], [1, 1])
  assert precision.num_kept(twice, _found([near], [0.5], [1])) == 1
  assert precision.num_kept(twice, twice) == 2


def test_two_empty_sets_keep_everything():
  nothing, one = _found([], [], []), _found([[0, 0, 9, 9]], [0.5], [1])
  assert precision.num_kept(nothing, nothing) == 0
  line = precision.line('empty', iter([(nothing, nothing)]))
  assert line.startswith('empty: 100.0% of 0')
  line = precision.line('more', iter([(nothing, one)]))
  assert '100.0% of 0' in line and line.endswith("0.0% of its 1 are float32's")
