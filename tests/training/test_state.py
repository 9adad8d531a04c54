"""The state before the first step: made where it belongs, and once."""

import gc

import jax
import numpy as np
import toy_training

from glip_jax.data import settings
from glip_jax.training import optimizer, sharding, state

BLANK = state.blank_batch(
    settings.Data(num_tokens=2, num_phrases=1, image_size=(64, 64))
)


def _parts():
  """Initial parameters, the optimizer, and where the state shall live."""
  recipe = toy_training.ToyRecipe(toy_training.Toy(width=128))
  init_params = state.make_init_params(recipe, BLANK, seed=0)
  abstract = state.abstract_params(init_params)
  made = optimizer.make_optimizer(toy_training.OPTIMIZER, abstract, 8)
  mesh = sharding.make_mesh({'data': -1}, jax.devices()[:1])
  specs = sharding.param_shardings(abstract, mesh)
  whole = state.abstract_state(abstract, made, ema=True)
  return (
      state.materialise(init_params, specs),
      lambda params: state.make_state(params, made, ema=True),
      sharding.state_shardings(whole, specs, mesh),
  )


def _nbytes(tree):
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_the_state_takes_over_the_memory_of_the_parameters():
  gc.collect()
  before = {id(array) for array in jax.live_arrays()}
  params, make, shardings = _parts()
  kernel = np.array(params['body']['kernel'])
  places = jax.tree.map(lambda leaf: leaf.unsafe_buffer_pointer(), params)
  made = state.materialise(make, shardings, params)
  held = [array for array in jax.live_arrays() if id(array) not in before]
  # `params` is still referred to: only its memory is gone.
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(params))
  assert _nbytes(held) == _nbytes(made) < 4.01 * _nbytes(made.params)
  now = jax.tree.map(lambda leaf: leaf.unsafe_buffer_pointer(), made.params)
  copies = jax.tree.map(lambda leaf: leaf.unsafe_buffer_pointer(), made.ema)
  taken = {*jax.tree.leaves(now), *jax.tree.leaves(copies)}
  assert set(jax.tree.leaves(places)) <= taken
  np.testing.assert_array_equal(made.params['body']['kernel'], kernel)
  np.testing.assert_array_equal(made.ema['body']['kernel'], kernel)


def test_what_is_made_on_accelerators_is_compiled_as_usual(monkeypatch):
  """Though the process computes on CPU by default."""
  options = []

  def jit(make, *, compiler_options, **_):
    options.append(compiler_options)
    return make

  class Elsewhere:

    def __init__(self, platform):
      self.device_set = {self}
      self.platform = platform

  monkeypatch.setattr(state.jax, 'jit', jit)
  for platform in ('cpu', 'tpu'):
    state.materialise(dict, {'x': Elsewhere(platform)})
  assert options == [{'xla_backend_optimization_level': 0}, None]
