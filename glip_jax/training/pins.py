"""Keeps activations split by the batch alone, inside of a step.

Where parameters are split over 'fsdp', the compiler may split activations by a
parameter's axis too, and hold their rows on all devices of 'fsdp'. Models know
nothing of it: parameters are gathered before they are used, gradients summed
before they are split again, and what goes in and out is pinned.
"""

import dataclasses
from typing import Any

import jax
from jax.sharding import PartitionSpec

from glip_jax.training import sharding


@dataclasses.dataclass(frozen=True)
class Pins:
  """Constraints inside of a step, for a given mesh.

  Attributes:
    params: shardings of the parameters; without, nothing is pinned.
  """

  params: Any = None

  def whole(self, params: Any) -> Any:
    """Parameters to compute with; their gradients are summed before `split`."""
    return self._constrain(params, PartitionSpec())

  def split(self, grads: Any) -> Any:
    """Gradients where their parameters are."""
    if self.params is None:
      return grads
    return jax.lax.with_sharding_constraint(grads, self.params)

  def rows(self, tree: Any, num_rows: int) -> Any:
    """Arrays of a batch of so many rows, split by `sharding.batch_sharding`."""
    return self._constrain(tree, PartitionSpec(sharding.AXES), num_rows)

  def _constrain(
      self, tree: Any, spec: PartitionSpec, num_rows: int | None = None
  ) -> Any:
    """Constrains all arrays, or those of so many rows."""
    if self.params is None:
      return tree
    mesh = jax.tree.leaves(self.params)[0].mesh
    where = jax.sharding.NamedSharding(mesh, spec)

    def constrain(x):
      if num_rows is not None and x.shape[:1] != (num_rows,):
        return x
      return jax.lax.with_sharding_constraint(x, where)

    return jax.tree.map(constrain, tree)
