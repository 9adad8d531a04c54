"""The train state: everything that a step changes and a checkpoint holds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from glip_jax import types
from glip_jax.training import optimizer as optimizer_lib


@struct.dataclass
class Skips:
  """Steps that were left out because they were not finite.

  Attributes:
    total: int32 scalar, since the run began.
    in_a_row: int32 scalar, up to the last step.
  """

  total: jax.Array
  in_a_row: jax.Array


@struct.dataclass
class TrainState:
  """Step, parameters, optimizer state and averaged parameters.

  Attributes:
    step: int32 scalar, number of batches that were taken.
    params: tree of parameters.
    opt_state: state of the optimizer.
    ema: exponential moving average of the parameters, or None.
    skips: of the steps that were not finite; counted where some may be.
  """

  step: jax.Array
  params: Any
  opt_state: Any
  ema: Any = None
  skips: Skips | None = None

  @property
  def best_params(self) -> Any:
    """The parameters to evaluate: the average if one is kept."""
    return self.params if self.ema is None else self.ema


def blank_batch(data: Any) -> types.Batch:
  """A batch of one blank image in the shapes of `config.data`, no targets."""
  tokens, phrases = data.num_tokens, data.num_phrases
  prompt = types.Prompt(
      ids=np.zeros((1, tokens), np.int32),
      mask=np.zeros((1, tokens), bool),
      spans=np.zeros((1, phrases, tokens), bool),
  )
  return types.Batch(
      image=np.zeros((1, *data.image_size, 3), np.uint8),
      size=np.zeros((1, 2), np.int32),
      extent=np.zeros((1, 2), np.int32),
      scale=np.ones((1, 2), np.float32),
      id=np.zeros(1, np.int32),
      prompt=prompt,
  )


def make_init_params(
    recipe: Any, batch: types.Batch, seed: int
) -> Callable[[], Any]:
  """A pure function that draws the initial parameters of a recipe.

  Args:
    recipe: what `glip_jax.detectors.recipe.build` returns.
    batch: any batch; only its shapes matter, and of one image.
    seed: seed of the random draw.

  Returns:
    A function without arguments, to be traced.
  """

  def blank(leaf):
    return jnp.zeros((1, *leaf.shape[1:]), leaf.dtype)

  def init_params() -> Any:
    one = jax.tree.map(blank, batch)
    return recipe.init(jax.random.key(seed), one)

  return init_params


def make_state(
    params: Any, optimizer: optimizer_lib.Optimizer, *, ema: bool
) -> TrainState:
  """The state before the first step.

  Args:
    params: initial parameters.
    optimizer: from `make_optimizer`.
    ema: True keeps a moving average, which starts at the parameters.
  """
  zero = jnp.zeros((), jnp.int32)
  return TrainState(
      step=zero,
      params=params,
      opt_state=optimizer.transform.init(params),
      ema=jax.tree.map(jnp.copy, params) if ema else None,
      # Always there: who stopped at a broken step may allow it and go on.
      skips=Skips(zero, zero),
  )


def abstract_params(init_params: Callable[[], Any]) -> Any:
  """Shapes of the parameters, without computing or allocating them."""
  return jax.eval_shape(init_params)


def abstract_state(
    params: Any, optimizer: optimizer_lib.Optimizer, *, ema: bool
) -> TrainState:
  """Shapes of the whole state, from the shapes of the parameters."""
  return jax.eval_shape(lambda p: make_state(p, optimizer, ema=ema), params)


def with_shardings(abstract: Any, shardings: Any) -> Any:
  """Abstract arrays that know where they live, as restoring wants them."""

  def attach(leaf, sharding):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  return jax.tree.map(attach, abstract, shardings)


def materialise(make: Callable[..., Any], shardings: Any, *args: Any) -> Any:
  """Runs `make`, once, so that each leaf is created where it belongs.

  Args:
    make: a traceable function.
    shardings: tree of shardings like its result.
    *args: trees of arrays for `make`, whose memory is taken over: nothing is
      held twice, and they must not be used again.
  """
  # What runs once is not worth LLVM's time: half of a cold start's on CPU.
  options = (
      {'xla_backend_optimization_level': 0} if _on_cpu(shardings) else None
  )
  made = jax.jit(
      make,
      out_shardings=shardings,
      donate_argnums=tuple(range(len(args))),
      compiler_options=options,
  )
  return made(*args)


def _on_cpu(shardings: Any) -> bool:
  """Whether what is sharded so lives on CPUs, whatever JAX's default is."""
  devices = jax.tree.leaves(shardings)[0].device_set
  return next(iter(devices)).platform == 'cpu'
