"""Detections of several views merged as by the original's code."""

import numpy as np
import pytest

from glip_jax.evaluators import merging

RULES = {
    'nms': dict(rule='nms'),
    'vote': dict(rule='vote'),
    'softvote': dict(rule='soft_vote'),
    'softnms': dict(rule='soft_nms', min_score=0.2),
}


@pytest.fixture(scope='module')
def stored(golden):
  return np.load(golden / 'extras' / 'multiscale_nanoB.npz')


def _found(stored, name):
  return merging.Found(
      *(stored[f'{name}_{part}'] for part in ('boxes', 'scores', 'labels'))
  )


@pytest.mark.parametrize('name', RULES)
def test_views_are_merged_as_by_the_original(stored, name):
  how = merging.Merging(min_iou=0.6, **RULES[name])
  found = merging.merge(_found(stored, 'pooled'), how)
  expected = _found(stored, f'merged_{name}')
  np.testing.assert_array_equal(found.labels, expected.labels)
  np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)
  np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize('rule', ['nms', 'vote', 'soft_vote', 'soft_nms'])
def test_the_best_of_all_classes_are_kept(stored, rule):
  pooled = _found(stored, 'pooled')
  whole = merging.merge(pooled, merging.Merging(rule=rule))
  some = merging.merge(pooled, merging.Merging(rule=rule, most=7))
  best = np.sort(whole.scores)[-7:]
  np.testing.assert_array_equal(np.sort(some.scores), best)


@pytest.mark.parametrize('rule', ['nms', 'vote', 'soft_vote', 'soft_nms'])
def test_one_box_is_left_alone_and_none_is_none(rule):
  how = merging.Merging(rule=rule)
  box = np.array([[1, 2, 3, 4]], np.float32)
  one = merging.Found(box, np.array([0.3], np.float32), np.array([2]))
  found = merging.merge(one, how)
  np.testing.assert_array_equal(found.boxes, box)
  np.testing.assert_array_equal(found.scores, one.scores)
  np.testing.assert_array_equal(found.labels, [2])
  none = one[np.zeros(0, int)]
  assert merging.merge(none, how).scores.shape == (0,)
