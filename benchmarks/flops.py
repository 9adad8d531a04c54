"""Counts the arithmetic of a function, loops as often as they run.

XLA's own cost analysis counts the body of a loop once, and these models are
loops over blocks, taps and chunks.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.extend


def count(function: Callable[..., Any], *arguments: Any, platform: str) -> int:
  """Multiply-adds, times two, of all matrix products and convolutions.

  Args:
    function: that can be traced.
    *arguments: arrays or their shapes.
    platform: 'cpu', 'gpu' or 'tpu': whose forms are counted. Of branches that
      the data decide the dearest counts; loops of unknown length count once.
  """
  return _count(jax.make_jaxpr(function)(*arguments).jaxpr, platform)


def _count(jaxpr: Any, platform: str) -> int:
  return sum(_equation(equation, platform) for equation in jaxpr.eqns)


def _equation(equation: Any, platform: str) -> int:
  params, name = equation.params, equation.primitive.name
  if name == 'dot_general':
    (contracted, _), _ = params['dimension_numbers']
    shape = equation.invars[0].aval.shape
    depth = math.prod(shape[i] for i in contracted)
    return 2 * depth * math.prod(equation.outvars[0].aval.shape)
  if name == 'conv_general_dilated':
    kernel = equation.invars[1].aval.shape
    depth = math.prod(kernel) // kernel[params['dimension_numbers'].rhs_spec[0]]
    return 2 * depth * math.prod(equation.outvars[0].aval.shape)
  inner = [
      _count(jaxpr, platform)
      for jaxpr in jax.extend.core.jaxprs_in_params(params)
  ]
  if name != 'cond':
    return params.get('length', 1) * sum(inner)
  names = params.get('branches_platforms')
  if not names:
    return max(inner)
  own = {'gpu': ('gpu', 'cuda', 'rocm')}.get(platform, (platform,))
  fits = [n is None or bool(set(n) & set(own)) for n in names]
  return inner[fits.index(True)]
