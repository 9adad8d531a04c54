"""The pure training step, for any recipe."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from glip_jax import types
from glip_jax.training import optimizer as optimizer_lib
from glip_jax.training import pins, sharding
from glip_jax.training import state as state_lib

# Metrics of a step: if these are finite, so is everything in its state.
FINITE = ('loss', 'grad_norm', 'param_norm')

Metrics = dict[str, jax.Array]
Step = Callable[
    [state_lib.TrainState, types.Batch], tuple[state_lib.TrainState, Metrics]
]


def make_train_step(
    recipe: Any,
    optimizer: optimizer_lib.Optimizer,
    *,
    ema_decay: float = 0.0,
    seed: int = 0,
    param_shardings: Any = None,
) -> Step:
  """Builds `step(state, batch) -> (state, metrics)`, to be jitted.

  Everything random is drawn from `seed` folded with the step, so a resumed run
  repeats the uninterrupted one and no random state is saved.

  Args:
    recipe: model, loss and forward, from `detectors.recipe.build`.
    optimizer: from `make_optimizer`.
    ema_decay: decay of `state.ema`, less in the first steps: at most
      (1 + step) / (10 + step). Unused where the state keeps none.
    seed: seed of dropout and the like.
    param_shardings: where the parameters live on a mesh of several devices;
      activations are then split by the batch alone.

  Returns:
    The step. Its metrics are float32 scalars: `loss`, the recipe's parts of
    it, `grad_norm` (of the trained parameters, before clipping), `param_norm`
    and `lr`, the base learning rate of this step (of an earlier one where
    `skip_nonfinite` left steps out, for the optimizer does not count those).
    Where steps may be left out there are also their numbers, `skipped` and
    `skipped_in_a_row`; `loss` and the norms of such a step are what it would
    have led to.
  """

  pinned = pins.Pins(param_shardings)

  def step(state, batch):
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    num_rows = len(batch.image)
    batch = pinned.rows(batch, num_rows)

    def loss_fn(params):
      params, rngs = pinned.whole(params), {'dropout': key}
      outputs = recipe.forward(params, batch, train=True, rngs=rngs)
      return recipe.loss(pinned.rows(outputs, num_rows), batch)

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, parts), grads = grad_fn(state.params)
    grads = pinned.split(grads)
    new = _updated(state, grads, optimizer, ema_decay)
    metrics = {
        **parts,
        'loss': loss,
        'grad_norm': _trained_norm(grads, optimizer.trained),
        'param_norm': optax.global_norm(new.params),
        'lr': optimizer.schedule(state.step),
    }
    if optimizer.skip_nonfinite:
      new = _skip_nonfinite(state, new, metrics)
      metrics['skipped'] = new.skips.total
      metrics['skipped_in_a_row'] = new.skips.in_a_row
    return new, jax.tree.map(lambda x: x.astype(jnp.float32), metrics)

  return step


def compile_step(
    step: Step, state: state_lib.TrainState, batch: types.Batch
) -> Step:
  """Compiles a step for a mesh; it then takes the state's memory over.

  Args:
    step: from `make_train_step`.
    state: abstract state with shardings, which the result has too.
    batch: a batch on the mesh; only its shapes and shardings matter.

  Returns:
    The compiled step; a state that was given to it must not be used again.
  """
  where = jax.tree.map(lambda leaf: leaf.sharding, state)
  everywhere = sharding.replicated(where.step.mesh)
  jitted = jax.jit(step, out_shardings=(where, everywhere), donate_argnums=0)
  return jitted.lower(state, batch).compile()


def _updated(
    state: state_lib.TrainState,
    grads: Any,
    optimizer: optimizer_lib.Optimizer,
    ema_decay: float,
) -> state_lib.TrainState:
  """The state after one step along these gradients."""
  updates, opt_state = optimizer.transform.update(
      grads, state.opt_state, state.params
  )
  params = optax.apply_updates(state.params, updates)
  ema = state.ema
  if ema is not None:
    # The first steps leave nothing of the parameters that training began with.
    count = state.step.astype(jnp.float32)
    decay = jnp.minimum(ema_decay, (1 + count) / (10 + count))
    ema = optax.incremental_update(params, ema, 1 - decay)
  return state.replace(
      step=state.step + 1, params=params, opt_state=opt_state, ema=ema
  )


def _skip_nonfinite(
    old: state_lib.TrainState, new: state_lib.TrainState, metrics: Metrics
) -> state_lib.TrainState:
  """The new state, or the old one with the skipped step counted."""
  finite = jnp.all(jnp.array([jnp.isfinite(metrics[n]) for n in FINITE]))
  kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
  skips = state_lib.Skips(
      total=old.skips.total + ~finite,
      in_a_row=jnp.where(finite, 0, old.skips.in_a_row + 1),
  )
  return kept.replace(step=new.step, skips=skips)


def _trained_norm(grads: Any, trained: Any) -> jax.Array:
  """Global norm over the trained leaves; the others are never computed."""
  pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(trained), strict=True)
  return optax.global_norm([grad for grad, train in pairs if train])
