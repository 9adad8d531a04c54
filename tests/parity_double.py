"""The same program in float64: the yardstick of what float32 can hold.

A function is traced in float32 and its trace is played again with every
float32 as a float64: constants, casts and accumulators included. So the very
program that is measured is its own yardstick, wherever it says float32, and
no model needs an option for it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

_SINGLE, _DOUBLE = np.dtype('float32'), np.dtype('float64')
_CALLS = ('jaxpr', 'call_jaxpr', 'fun_jaxpr')


def in_double(function: Callable[..., Any]) -> Callable[..., Any]:
  """`function` with every float32 in it, and in its arguments, as float64.

  Args:
    function: pure, of arrays. Gradients are taken inside of it.

  Returns:
    A function of the same arguments whose results are numpy arrays. What is
    float64 among the arguments keeps its digits. Compiled at the first call;
    later ones must have the same shapes.
  """
  made = []

  def run(*args: Any) -> Any:
    if not made:
      trace, shape = jax.make_jaxpr(function, return_shape=True)(*args)
      play = jax.jit(functools.partial(_play, trace.jaxpr, trace.consts))
      made.extend((trace.in_avals, jax.tree.structure(shape), play))
    avals, structure, play = made
    leaves = zip(jax.tree.leaves(args), avals, strict=True)
    with jax.enable_x64(True):
      flat = [_as_double(x, aval.dtype) for x, aval in leaves]
      return jax.tree.unflatten(structure, [np.asarray(x) for x in play(flat)])

  return run


def _as_double(x: Any, dtype: np.dtype) -> np.ndarray:
  x = np.asarray(x)
  return _widen(x if x.dtype == _DOUBLE else x.astype(dtype))


def _widen(x: Any) -> Any:
  return x.astype(_DOUBLE) if getattr(x, 'dtype', None) == _SINGLE else x


def _play(jaxpr: Any, consts: list[Any], args: list[Any]) -> list[Any]:
  """Evaluates a trace, double for single."""
  if isinstance(jaxpr, core.ClosedJaxpr):
    jaxpr, consts = jaxpr.jaxpr, jaxpr.consts
  values: dict[Any, Any] = {}

  def read(x):
    if isinstance(x, core.Literal):
      return jnp.asarray(_widen(np.asarray(x.val, x.aval.dtype)))
    return values[x]

  values.update(zip(jaxpr.constvars, map(_widen, consts), strict=True))
  values.update(zip(jaxpr.invars, args, strict=True))
  for equation in jaxpr.eqns:
    results = _apply(equation, [read(x) for x in equation.invars])
    values.update(zip(equation.outvars, results, strict=True))
  return [read(x) for x in jaxpr.outvars]


def _apply(equation: Any, args: list[Any]) -> list[Any]:
  name, params = equation.primitive.name, equation.params
  if name in _LOOPS:
    return _LOOPS[name](params, args)
  inner = next((params[key] for key in _CALLS if key in params), None)
  if inner is not None:
    # jit, remat, custom derivatives: all are calls here.
    return _play(inner, [], args)
  params = {
      k: _DOUBLE if _is_single(v) else v for k, v in equation.params.items()
  }
  if params.get('update_jaxpr') is not None and args[0].dtype == _DOUBLE:
    params['update_jaxpr'] = _retrace(params['update_jaxpr'])
  results = equation.primitive.bind(*args, **params)
  return results if equation.primitive.multiple_results else [results]


def _retrace(combine: Any) -> Any:
  """How a scatter combines two numbers, of float64."""
  zero = np.zeros((), _DOUBLE)
  combine = functools.partial(_play, combine, [])
  return jax.make_jaxpr(lambda x, y: combine([x, y])[0])(zero, zero).jaxpr


def _is_single(value: Any) -> bool:
  return isinstance(value, (np.dtype, type)) and value in (_SINGLE, np.float32)


def _scan(params: dict[str, Any], args: list[Any]) -> list[Any]:
  first, second = params['num_consts'], params['num_consts']
  second += params['num_carry']
  consts = args[:first]

  def body(carry, inputs):
    results = _play(params['jaxpr'], [], [*consts, *carry, *inputs])
    return results[: len(carry)], results[len(carry) :]

  carry, stacked = jax.lax.scan(
      body,
      args[first:second],
      args[second:],
      length=params['length'],
      reverse=params['reverse'],
  )
  return [*carry, *stacked]


def _while(params: dict[str, Any], args: list[Any]) -> list[Any]:
  first, second = params['cond_nconsts'], params['cond_nconsts']
  second += params['body_nconsts']
  return jax.lax.while_loop(
      lambda x: _play(params['cond_jaxpr'], [], [*args[:first], *x])[0],
      lambda x: _play(params['body_jaxpr'], [], [*args[first:second], *x]),
      args[second:],
  )


def _cond(params: dict[str, Any], args: list[Any]) -> list[Any]:
  branches = [
      lambda *x, branch=branch: _play(branch, [], list(x))
      for branch in params['branches']
  ]
  return jax.lax.switch(args[0], branches, *args[1:])


_LOOPS = {'scan': _scan, 'while': _while, 'cond': _cond}
