"""A function of arrays as StableHLO, for any number of images, by `jax.export`.

The number of images is a symbol, so one program takes any; its canvas is fixed.
The forms for CPU alone (`ops.forms`) are chosen where the program is compiled,
so that a program for several platforms computes on each what the live model
computes there.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
from jax import export as jax_export

from glip_jax.exporting.functions import Function

PLATFORMS = ('cpu', 'cuda', 'tpu')


def export(
    function: Function,
    canvases: Sequence[tuple[int, int]],
    platforms: Sequence[str] = PLATFORMS,
) -> tuple[dict[tuple[int, int], jax_export.Exported], dict[str, Any]]:
  """Exports a function for every canvas, with the arrays that it reads.

  Args:
    function: from `functions`.
    canvases: (h, w) of images.
    platforms: of `PLATFORMS`.

  Returns:
    Programs by canvas, which take a list of arrays and then the inputs; and
    the arrays by name, in the order of the list.
  """
  traced = {canvas: _Traced.of(function, canvas) for canvas in canvases}
  used = set().union(*(each.used for each in traced.values()))
  kept = {name: x for name, x in function.arrays.items() if name in used}
  made = {
      canvas: each.export(list(kept), platforms)
      for canvas, each in traced.items()
  }
  return made, kept


class _Traced:
  """A function as it was traced for one canvas and any number of images."""

  def __init__(self, names, shapes, inputs, closed, outputs):
    self._names, self._shapes, self._inputs = names, shapes, inputs
    self._closed, self._outputs = closed, outputs

  @classmethod
  def of(cls, function: Function, canvas: tuple[int, int]) -> '_Traced':
    names = list(function.arrays)
    shapes = [
        jax.ShapeDtypeStruct(x.shape, x.dtype) for x in function.arrays.values()
    ]
    (rows,) = jax_export.symbolic_shape('b')
    inputs = function.shapes(canvas, rows)

    def call(arrays, *inputs):
      return function.call(dict(zip(names, arrays, strict=True)), *inputs)

    traced = jax.make_jaxpr(call, return_shape=True)(shapes, *inputs)
    return cls(names, shapes, inputs, *traced)

  @property
  def used(self) -> set[str]:
    """Names of the arrays that the outputs depend on, or maybe a few more."""
    jaxpr = self._closed.jaxpr
    live = set(map(id, jaxpr.outvars))
    for equation in reversed(jaxpr.eqns):
      if equation.effects or live & set(map(id, equation.outvars)):
        live |= set(map(id, equation.invars))
    arrays = jaxpr.invars[: len(self._names)]
    return {
        name
        for name, each in zip(self._names, arrays, strict=True)
        if id(each) in live
    }

  def export(
      self, kept: Sequence[str], platforms: Sequence[str]
  ) -> jax_export.Exported:
    """A program that takes a list of some arrays, and then the inputs."""
    run = jax.extend.core.jaxpr_as_fun(self._closed)
    shapes = dict(zip(self._names, self._shapes, strict=True))

    def call(arrays, *inputs):
      given = dict(zip(kept, arrays, strict=True))
      whole = [
          # Of what is not read nothing comes into the program.
          given[name] if name in given else jnp.zeros(x.shape, x.dtype)
          for name, x in shapes.items()
      ]
      outputs = run(*whole, *inputs)
      return jax.tree.unflatten(jax.tree.structure(self._outputs), outputs)

    return jax_export.export(jax.jit(call), platforms=tuple(platforms))(
        [shapes[name] for name in kept], *self._inputs
    )
