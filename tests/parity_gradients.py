"""Gradients by official name, and the optimizer's first six steps.

The reference stores, of 60 or so parameters, the norm of the gradient and its
entries (all, or 256 of them). Errors are relative to the parameter's own
gradient. Where that is zero in exact arithmetic (a bias of attention keys
shifts all logits of a row alike) both sides hold rounding noise alone, so
there the error is relative to the norm over all parameters.
"""

import dataclasses
import functools
import json
import re
from typing import Any

import jax
import numpy as np
import optax
import parity_reference as reference_lib

from configs import glip as glip_config
from glip_jax.training import optimizer as optimizer_lib
from glip_jax.weights import glip

BOUND, TRAJECTORY = 1e-4, 1e-3
# Parameters whose true gradient is zero.
_ZERO = re.compile(r'attention\.self\.key\.bias$')


@dataclasses.dataclass(frozen=True)
class Row:
  """The gradient of one parameter.

  Attributes:
    name: official name, or 'grad_global_norm'.
    norm: of the stored gradient.
    norm_error: relative error of the norm.
    error: norm of the difference over the stored entries, relative to that of
      the entries.
    relative_to: what the two are relative to.
  """

  name: str
  norm: float
  norm_error: float
  error: float
  relative_to: float

  @property
  def ok(self) -> bool:
    return max(self.norm_error, self.error) <= BOUND


@functools.cache
def compiled(name: str):
  """Compiled: params, batch -> ((loss, parts), gradients); nothing random.

  The stored images are normalised, so they are part of the program's inputs
  and `Batch.image` is not read.
  """
  recipe, _ = reference_lib.model(name)

  def loss(params, image, batch):
    prompt = batch.prompt
    outputs = recipe.model.apply(
        {'params': params}, image, batch.extent, prompt.ids, prompt.mask
    )
    return recipe.loss(outputs, batch)

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


def gradients(name: str, params: Any) -> tuple[tuple[Any, Any], Any]:
  """((loss, parts), gradients) on the stored training batch."""
  with jax.default_matmul_precision('highest'):
    return compiled(name)(
        params,
        reference_lib.image(name),
        reference_lib.training_batch(name),
    )


def rows(name: str) -> list[Row]:
  """Every stored gradient beside ours."""
  reference = reference_lib.reference(name)
  _, grads = gradients(name, reference_lib.model(name)[1])
  mine = glip.to_official(jax.tree.map(np.asarray, grads))
  total = float(reference['grad_global_norm'])
  ours = np.sqrt(
      sum(
          np.sum(np.square(g, dtype=np.float64)) for g in jax.tree.leaves(grads)
      )
  )
  found = [Row('grad_global_norm', total, abs(ours / total - 1), 0.0, total)]
  for key in reference.arrays.files:
    if key.startswith('gradnorm/'):
      parameter = key.removeprefix('gradnorm/')
      found.append(_compare(reference, parameter, mine[parameter], total))
  return found


def _compare(reference, name: str, mine: np.ndarray, total: float) -> Row:
  """One parameter; `total` is the norm over all of them."""
  mine = np.asarray(mine, np.float64)
  norm = float(reference[f'gradnorm/{name}'])
  scale = total if _ZERO.search(name) else norm
  if f'grad/{name}' in reference:
    want, entries = reference[f'grad/{name}'], mine.reshape(-1)
  else:
    want = reference[f'gradsample/{name}']
    entries = reference_lib.sample(name, mine, want.size)
  # Of a sample, what its share of the gradient would be were all entries alike.
  share = scale * np.sqrt(want.size / mine.size)
  return Row(
      name,
      norm,
      abs(np.linalg.norm(mine) - norm) / scale,
      float(np.linalg.norm(entries - want)) / max(share, np.linalg.norm(want)),
      scale,
  )
