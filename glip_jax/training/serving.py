"""Weights as a function from batches to detections."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from glip_jax import types
from glip_jax.training import sharding, state, step, tables


def make_predict(
    recipe: Any,
    read_params: Callable[[Any], Any],
    mesh: jax.sharding.Mesh,
    *,
    data: Mapping[str, Any],
    table: tables.Table = (),
) -> Callable[[types.Batch], types.Detections]:
  """The prediction of a model whose parameters come from anywhere.

  Args:
    recipe: from `glip_jax.detectors.glip.recipe.build`.
    read_params: given the shapes and shardings of the parameters, returns
      them, on the host or where they belong.
    mesh: divides the batches.
    data: `config.data`: the shapes of a batch.
    table: `config.sharding`: where parameters live.

  Returns:
    The prediction of host batches, as `step.make_host_predict` makes it.
  """
  params = state.abstract_params(
      state.make_init_params(recipe, state.blank_batch(data), seed=0)
  )
  shardings = sharding.param_shardings(params, mesh, table)
  params = read_params(state.with_shardings(params, shardings))
  params = jax.device_put(params, shardings)
  predict = step.make_host_predict(recipe, mesh, shardings)
  return functools.partial(predict, params)
