"""BERT leaves padding out and nothing else; its pooler is transformers'."""

import compiling
import jax
import jax.numpy as jnp
import named_weights
import numpy as np
import pytest
from parity import reference

from glip_jax.models import bert
from glip_jax.ops import token_lengths
from glip_jax.weights import encoder_file, rules

T = 128


def _bert(dtype):
  return bert.Bert(
      vocab_size=50,
      width=8,
      depth=2,
      num_heads=2,
      mlp_width=16,
      max_positions=T,
      dtype=dtype,
  )


def _inputs(*lengths):
  """(ids, mask) of prompts of these lengths."""
  rng = np.random.default_rng(0)
  ids = rng.integers(0, 50, (len(lengths), T))
  mask = np.arange(T) < np.array(lengths)[:, None]
  return jnp.asarray(ids, jnp.int32), jnp.asarray(mask)


def _run(params, ids, mask):
  """(tokens, gradients of a sum over them)."""

  def total(params):
    tokens = _bert(jnp.float64).apply({'params': params}, ids, mask)
    return jnp.sum(jnp.sin(tokens) * mask[..., None]), tokens

  gradients, tokens = jax.grad(total, has_aux=True)(params)
  return tokens, gradients


@pytest.mark.parametrize('longest', [1, 33, 98, 99])
def test_tokens_left_out_change_no_other(monkeypatch, longest):
  ids, mask = _inputs(longest, 1)
  valid = np.asarray(mask)
  with jax.enable_x64(True):
    params = _bert(jnp.float64).init(jax.random.key(0), ids, mask)['params']
    params = reference.in_float64(params)
    tokens, gradients = compiling.quick_jit(_run)(params, ids, mask)
    monkeypatch.setattr(token_lengths, 'choices', lambda n: [n])
    all_tokens, want = compiling.quick_jit(lambda *x: _run(*x))(
        params, ids, mask
    )
  np.testing.assert_allclose(tokens[valid], all_tokens[valid], atol=1e-12)
  for mine, other in zip(*map(jax.tree.leaves, (gradients, want)), strict=True):
    np.testing.assert_allclose(mine, other, atol=1e-12)
  used = next(n for n in (32, 64, 98, 128) if n >= longest)
  assert not tokens[:, used:].any()
  assert all_tokens.any(axis=-1).all()


def test_stages_show_all_tokens():
  ids, mask = _inputs(5)
  model = _bert(jnp.float32)
  params = model.init(jax.random.key(0), ids, mask)['params']
  tokens, state = model.apply(
      {'params': params}, ids, mask, mutable=['intermediates']
  )
  (states,) = state['intermediates']['layers']['output']
  np.testing.assert_array_equal(states[-1], tokens)
  assert states.any(axis=-1).all()
  used = model.apply({'params': params}, ids, mask)
  np.testing.assert_allclose(used[0, :5], tokens[0, :5], atol=1e-5)
  assert not used[0, 32:].any()


def test_in_training_all_tokens_are_computed():
  ids, mask = _inputs(5)
  model = _bert(jnp.float32)
  params = model.init(jax.random.key(0), ids, mask)
  run = lambda seed: model.apply(
      params, ids, mask, train=True, rngs={'dropout': jax.random.key(seed)}
  )
  assert run(0).any(axis=-1).all()
  np.testing.assert_array_equal(run(0), run(0))
  assert jnp.abs(run(0) - run(1)).max() > 0.1


def test_the_pooler_and_the_tokens_are_those_of_transformers(golden):
  stored = np.load(golden / 'bert' / 'pooler.npz')
  ids, mask = jnp.asarray(stored['ids']), jnp.asarray(stored['mask'])
  model = bert.Bert(50, 16, 2, 2, 32, 12, pooler=True)
  shapes = jax.eval_shape(model.init, jax.random.key(0), ids, mask)['params']
  state = named_weights.official_state(golden / 'bert' / 'pooler.json')
  read = encoder_file.read_encoder(state, {'language': shapes})
  assert not read.unused
  flat = [read.params[f'language/{path}'] for path in rules.flatten(shapes)]
  params = jax.tree.unflatten(jax.tree.structure(shapes), flat)
  run = compiling.full_jit(lambda *x: model.apply({'params': x[0]}, *x[1:]))
  tokens, pooled = run(params, ids, mask)
  own = stored['mask']
  for mine, want in (
      (pooled, stored['pooled']),
      (tokens[own], stored['tokens'][own]),
  ):
    bound = 1e-5 * np.abs(want).max()
    np.testing.assert_allclose(mine, want, rtol=0, atol=bound)
