"""A class as one token: what is made of its caption, and who reads it."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs import shapes
from glip_jax import run, types
from glip_jax.detectors import class_tokens
from glip_jax.errors import UserError


class _Recipe:
  """Its token features are the ids, doubled in the second channel."""

  def encode_text(self, params, prompt):
    ids = np.asarray(prompt.ids, np.float32)[..., None]
    tokens = params * np.concatenate([ids, 2 * ids], -1)
    return types.Text(jnp.asarray(tokens), prompt.mask)


def _captions(pool):
  return types.ClassCaptions(
      ids=np.array([[7, 3, 2], [5, 9, 0], [4, 6, 0]]),
      mask=np.array(
          [[True, True, True], [True, True, False], [True, True, False]]
      ),
      valid=np.array([True, True, False]),
      pool=pool,
  )


@pytest.mark.parametrize(
    'pool, want', [('first', [7, 5, 4]), ('mean', [4, 7, 5])]
)
def test_a_token_is_the_first_of_a_caption_or_the_mean_of_all(pool, want):
  text = class_tokens.encode(_Recipe(), 10.0, _captions(pool))
  np.testing.assert_allclose(text.tokens[0, :, 0], 10 * np.array(want))
  np.testing.assert_allclose(text.tokens[0, :, 1], 20 * np.array(want))
  assert np.asarray(text.mask).tolist() == [[True, True, False]]


def test_phrase_c_is_token_c_and_padding_classes_have_none():
  prompt = class_tokens.as_prompt(_captions('first'))
  want = np.diag([True, True, False])[None]
  np.testing.assert_array_equal(prompt.spans, want)


def test_a_pooling_that_there_is_not_is_refused():
  with pytest.raises(ValueError, match="pool='last'"):
    class_tokens.pool(jnp.zeros((1, 2, 3)), jnp.ones((1, 2), bool), 'last')


@pytest.mark.parametrize('family', ['query', 'grounding_dino'])
def test_families_that_cannot_read_it_refuse(family):
  config = shapes.get_config()
  config.data.class_captions = 'mean'
  assert run.read(config).data.class_captions == 'mean'
  with config.unlocked():
    config.model = {'family': family}
  with pytest.raises(UserError, match=f"class_captions .* family '{family}'"):
    run.read(config)
