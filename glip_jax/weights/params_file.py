"""A file of weights as the parameters of a model, whoever named its arrays."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from glip_jax import errors
from glip_jax.weights import encoder_file, formats, rules, variants


def read(
    path: str | os.PathLike,
    params: Any,
    recipe: Any,
    *,
    ema: bool = False,
    remedy: str = 'that',
) -> Any:
  """Parameters from a file of ours, or one with names that a family knows.

  Args:
    path: of a file that `formats.read` reads.
    params: parameters of the model, or their shapes.
    recipe: of the model; its `read_weights` knows the names of others.
    ema: read the average of the weights, where the file holds one beside them.
    remedy: how a user gives the variant that a file looks like, as
      '--variant={}'.

  Returns:
    A tree like `params`, of numpy arrays.

  Raises:
    UserError: the file cannot be read or nobody's names are in it.
    WeightsError: lists every array of it that does not fit the model.
  """
  state = formats.read(path, ema=ema)
  name = os.fspath(path)
  try:
    return _convert(state, params, name, recipe)
  except errors.UserError as error:
    raise _told(error, name, state, params, remedy) from None


def read_start(
    path: str | os.PathLike, params: Any, recipe: Any, *, remedy: str = 'that'
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """What a file has for a model to start from: all of it, or one encoder.

  Args:
    path: of a file that `read` takes, or of a Swin, ResNet or BERT alone.
    params: parameters of the model, or their shapes.
    recipe: of the model.
    remedy: as for `read`.

  Returns:
    Arrays by path of the parameter, and names of the file that are not used.

  Raises:
    UserError: the file cannot be read or nobody's names are in it.
    WeightsError: lists every array of it that does not fit the model.
  """
  state, name = formats.read(path), os.fspath(path)
  try:
    if encoder_file.is_encoder(state):
      encoder = encoder_file.read_encoder(state, params)
      return encoder.params, encoder.unused
    return rules.flatten(_convert(state, params, name, recipe)), ()
  except errors.UserError as error:
    raise _told(error, name, state, params, remedy) from None


def write(
    path: str | os.PathLike,
    params: Any,
    recipe: Any,
    *,
    official: bool,
    texts: Mapping[str, str] | None = None,
):
  """Writes parameters to a file.

  Args:
    path: ends in one of `formats.ENDINGS`.
    params: arrays of a model.
    recipe: of the model.
    official: under the names of the family's reference code, which then loads
      the file; else under ours.
    texts: as for `formats.write`.

  Raises:
    UserError: the path has another ending.
    WeightsError: the model has parts that the official one does not.
  """
  if official:
    state = recipe.write_weights(params)
  else:
    state = {name: np.asarray(x) for name, x in rules.flatten(params).items()}
  formats.write(path, state, texts)


def _told(
    error: errors.UserError,
    name: str,
    state: Mapping[str, np.ndarray],
    params: Any,
    remedy: str,
) -> errors.UserError:
  """The error with the name of the file, and what it looks like instead."""
  if isinstance(error, rules.WeightsError):
    error = rules.WeightsError(error.faults, name)
  if hint := variants.hint(state, rules.flatten(params), remedy):
    error.args = (f'{error}; {hint}',)
  return error


def _convert(
    state: Mapping[str, np.ndarray], params: Any, name: str, recipe: Any
) -> Any:
  known = recipe.read_weights(state, params)
  if known is not None:
    return known
  own = rules.flatten(params)
  if own.keys() & state.keys():
    return rules.convert(state, [rules.Rule(p, p) for p in own], params)
  raise errors.UserError(
      f'{name} holds no model of this family, neither under the names of its'
      f' reference code nor ours; it begins with {", ".join(list(state)[:3])}'
  )
