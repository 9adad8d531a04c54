"""Phrase scores against a loop and the reference's arrays."""

import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.ops import phrases

_REDUCE = {'mean': np.mean, 'max': np.max}


@pytest.mark.parametrize('mode', ['mean', 'max'])
def test_phrase_scores_equal_a_loop(mode):
  rng = np.random.default_rng(0)
  probabilities = rng.random((2, 5, 9)).astype(np.float32)
  spans = rng.random((2, 4, 9)) < 0.3
  spans[:, 3] = False
  expected = np.zeros((2, 5, 4))
  for b, r, c in np.ndindex(2, 5, 4):
    if spans[b, c].any():
      expected[b, r, c] = _REDUCE[mode](probabilities[b, r, spans[b, c]])
  actual = phrases.phrase_scores(
      jnp.asarray(probabilities), jnp.asarray(spans), mode=mode
  )
  np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize(
    'mode, key',
    [
        ('mean', 'agg_MEAN'),
        ('max', 'agg_MAX'),
        # The second version's function, told the number of phrases.
        ('mean', 'agg_v2_MEAN_num8'),
    ],
)
def test_phrase_scores_equal_the_reference(golden, mode, key):
  stored = np.load(golden / 'parts' / 'boxes_ops.npz')
  spans = np.zeros((2, 8, 16), bool)
  for phrase, tokens in {0: [1, 2], 1: [4], 2: [6, 7, 8], 4: [10]}.items():
    spans[:, phrase, tokens] = True
  actual = phrases.phrase_scores(
      jnp.asarray(stored['agg_logits']), jnp.asarray(spans), mode=mode
  )
  np.testing.assert_allclose(actual, stored[key], atol=1e-6)


def test_an_unknown_mode_is_refused():
  with pytest.raises(ValueError, match='median'):
    phrases.phrase_scores(
        jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1), bool), mode='median'
    )
