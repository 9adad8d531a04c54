"""What is kept of what was found: thresholds, numbers, overlaps."""

import numpy as np
import pytest

from glip_jax import choosing
from glip_jax.errors import UserError

BOXES = np.array(
    [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9.9], [20, 20, 30, 30]], float
)
SCORES = np.array([0.9, 0.8, 0.7, 0.4], np.float32)
LABELS = np.array([0, 0, 1, 1])
PHRASES = ('king', 'king', 'queen', 'queen')


def _kept(**options):
  choice = choosing.Choice(**({'threshold': None, 'default': 0.1} | options))
  return choice.rows(BOXES, SCORES, LABELS, PHRASES).tolist()


@pytest.mark.parametrize(
    'options, kept',
    [
        ({}, [0, 1, 2, 3]),
        (dict(threshold=0.75), [0, 1]),
        (dict(default=0.75), [0, 1]),
        (dict(threshold={'king': 0.85}), [0, 2, 3]),
        (dict(threshold={'queen': 0.5, 'king': 0.95}), [2]),
        (dict(threshold={'queen': 0.05}, default=0.75), [0, 1, 2, 3]),
        (dict(top_k=2), [0, 1]),
        (dict(suppress='class'), [0, 2, 3]),
        (dict(suppress='class', overlap=0.95), [0, 1, 2, 3]),
        (dict(suppress='all'), [0, 3]),
        (dict(suppress='box'), [0, 1, 3]),
        (dict(suppress='all', threshold={'king': 0.95}), [2, 3]),
        (dict(suppress='all', top_k=2), [0, 3]),
    ],
)
def test_what_is_kept(options, kept):
  assert _kept(**options) == kept


def test_suppression_is_that_of_a_plain_loop():
  rng = np.random.default_rng(0)
  corner = rng.uniform(0, 30, (60, 2))
  boxes = np.concatenate([corner, corner + rng.uniform(1, 30, (60, 2))], 1)
  labels = rng.integers(0, 3, 60)

  def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)

  for own in (None, labels):
    want = []
    for i in range(60):
      rivals = [j for j in want if own is None or own[i] == own[j]]
      if all(iou(boxes[i], boxes[j]) <= 0.3 for j in rivals):
        want.append(i)
    kept = choosing.unsuppressed(boxes, 0.3, own)
    assert np.flatnonzero(kept).tolist() == want
    assert 0 < len(want) < 60


def test_the_lowest_of_all_thresholds_is_what_a_model_is_asked_for():
  choice = choosing.Choice({'a': 0.5, 'b': 0.2}, default=0.3)
  assert choice.lowest == 0.2
  assert choosing.Choice({'a': 0.5}, default=0.3).lowest == 0.3


@pytest.mark.parametrize(
    'options, said',
    [
        (dict(threshold={'king': 3}), r'threshold=3 is not in \[0, 1\]'),
        (dict(threshold='high'), "threshold='high' is not in"),
        (dict(top_k=1.5), 'top_k=1.5 is no number of boxes'),
        (dict(suppress='all', overlap=-1), 'overlap=-1 is no share'),
    ],
)
def test_options_that_mean_nothing_are_refused(options, said):
  with pytest.raises(UserError, match=said):
    _kept(**options)
