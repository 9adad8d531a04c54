"""Where the layers of the query model norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.detectors.query import transformer

SIZES = dict(depth=2, num_heads=2, mlp_width=8, dropout_rate=0.0)


def _silent(params):
  """Parameters of layers whose attention and MLP add nothing."""

  def still(path, leaf):
    names = {key.key for key in path}
    return 0 * leaf if names & {'out', 'mlp_out'} else leaf

  return jax.tree_util.tree_map_with_path(still, params)


def _normed(x):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize('norm_first', [False, True])
def test_the_residual_of_a_stack_that_norms_first_is_not_normed(norm_first):
  x = 3.0 * jax.random.normal(jax.random.key(0), (1, 5, 8))
  inside, waves = jnp.ones((1, 5), bool), jnp.ones_like(x)
  encoder = transformer.Encoder(**SIZES, norm_first=norm_first)
  decoder = transformer.Decoder(**SIZES, norm_first=norm_first)
  stacks = {encoder: (x, waves, inside), decoder: (x, x, x, waves, inside)}
  for stack, given in stacks.items():
    params = _silent(stack.init(jax.random.key(1), *given)['params'])
    # The layers alone: without the norm behind the last.
    held, kept = stack.apply(
        {'params': params},
        *given,
        capture_intermediates=lambda module, _: module.name == 'layers',
        mutable=['intermediates'],
    )
    layers = jax.tree.leaves(kept['intermediates']['layers'])[0]
    want = x if norm_first else _normed(x)
    np.testing.assert_allclose(
        layers.reshape(-1, *x.shape)[-1], want, atol=1e-4
    )
    last = held.reshape(-1, *x.shape)[-1]
    np.testing.assert_allclose(last, _normed(x), atol=1e-4)
