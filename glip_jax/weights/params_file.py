"""A file of weights as the parameters of a model, whoever named its arrays."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from glip_jax import errors
from glip_jax.detectors.glip import mmdet_weights as mmdet
from glip_jax.detectors.glip import official_weights as glip
from glip_jax.weights import files, pretraining, rules


def read(
    path: str | os.PathLike,
    params: Any,
    *,
    anchor_scale: float = 8.0,
    ema: bool = False,
) -> Any:
  """Parameters from an official file, one of mmdetection or one of ours.

  Args:
    path: of a file that `files.read` reads.
    params: parameters of the model, or their shapes.
    anchor_scale: of the model's head.
    ema: read the average of the weights, where the file holds one beside them.

  Returns:
    A tree like `params`, of numpy arrays.

  Raises:
    UserError: the file cannot be read or nobody's names are in it.
    WeightsError: lists every array of it that does not fit the model.
  """
  state = files.read(path, ema=ema)
  name = os.fspath(path)
  try:
    return _convert(state, params, name, anchor_scale)
  except rules.WeightsError as error:
    raise rules.WeightsError(error.faults, name) from None


def read_start(
    path: str | os.PathLike, params: Any, *, anchor_scale: float = 8.0
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """What a file has for a model to start from: all of it, or one encoder.

  Args:
    path: of a file that `read` takes, or of a Swin or a BERT alone.
    params: parameters of the model, or their shapes.
    anchor_scale: of the model's head.

  Returns:
    Arrays by path of the parameter, and names of the file that are not used.

  Raises:
    UserError: the file cannot be read or nobody's names are in it.
    WeightsError: lists every array of it that does not fit the model.
  """
  state, name = files.read(path), os.fspath(path)
  try:
    if pretraining.is_encoder(state):
      encoder = pretraining.read_encoder(state, params)
      return encoder.params, encoder.unused
    return rules.flatten(_convert(state, params, name, anchor_scale)), ()
  except rules.WeightsError as error:
    raise rules.WeightsError(error.faults, name) from None


def write(
    path: str | os.PathLike, params: Any, *, anchor_scale: float, official: bool
):
  """Writes parameters to a file.

  Args:
    path: ends in one of `files.ENDINGS`.
    params: arrays of a model.
    anchor_scale: of its head.
    official: under official names, for the official code; else under ours.

  Raises:
    UserError: the path has another ending.
    WeightsError: the model has parts that the official one does not.
  """
  if official:
    state = glip.to_official(params, anchor_scale=anchor_scale)
  else:
    state = {name: np.asarray(x) for name, x in rules.flatten(params).items()}
  files.write(path, state)


def _convert(
    state: Mapping[str, np.ndarray],
    params: Any,
    name: str,
    anchor_scale: float,
) -> Any:
  if any(key.startswith('rpn.head.') for key in state):
    return glip.from_official(state, params, anchor_scale=anchor_scale)
  if any(key.startswith('bbox_head.head.') for key in state):
    return mmdet.from_mmdet(state, params)
  own = rules.flatten(params)
  if own.keys() & state.keys():
    return rules.convert(state, [rules.Rule(p, p) for p in own], params)
  raise errors.UserError(
      f'{name} holds no GLIP model, neither under official names nor under'
      f" mmdetection's or ours; it begins with {', '.join(list(state)[:3])}"
  )
