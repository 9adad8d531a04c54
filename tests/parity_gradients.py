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
    return self.worst <= BOUND

  @property
  def worst(self) -> float:
    """The larger of the two errors."""
    return max(self.norm_error, self.error)

  @property
  def short(self) -> str:
    """The name without what all parameters of its part share."""
    return re.sub(r'^.*(body|head|encoder)\.', '', self.name)


def _loss_and_gradients(name: str, double: bool):
  """params, image, batch -> ((loss, parts), gradients); nothing random."""
  model = reference_lib.precise if double else reference_lib.model
  recipe, _ = model(name)

  def loss(params, image, batch):
    # The stored images are normalised: `batch.image` is not read.
    prompt = batch.prompt
    outputs = recipe.model.apply(
        {'params': params}, image, batch.extent, prompt.ids, prompt.mask
    )
    return recipe.loss(outputs, batch)

  return jax.value_and_grad(loss, has_aux=True)


@functools.cache
def compiled(name: str, double: bool = False):
  """Compiled: params, image, batch -> ((loss, parts), gradients)."""
  function = _loss_and_gradients(name, double)
  if double:
    return jax.jit(function)
  return jax.jit(function, compiler_options=reference_lib.OPTIONS)


def gradients(
    name: str, params: Any, *, double: bool = False
) -> tuple[tuple[Any, Any], Any]:
  """((loss, parts), gradients) on the stored training batch."""
  inputs = params, reference_lib.image(name), reference_lib.training_batch(name)
  if double:
    with jax.enable_x64(True):
      return compiled(name, double)(*reference_lib.in_float64(inputs))
  with jax.default_matmul_precision('highest'):
    return compiled(name)(*inputs)


def rows(name: str, *, double: bool = False) -> list[Row]:
  """Every stored gradient beside ours; `double` computes them in float64."""
  reference = reference_lib.reference(name)
  params = reference_lib.model(name)[1]
  _, grads = gradients(name, params, double=double)
  mine = glip.to_official(jax.tree.map(np.asarray, grads))
  total = float(reference['grad_global_norm'])
  ours = _norm(grads, jax.tree.map(lambda _: True, grads))
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


@dataclasses.dataclass(frozen=True)
class Step:
  """One step of training: (ours, stored) of what is compared.

  Attributes:
    loss: total loss before the update.
    norm: global norm of the gradients of trained parameters before clipping.
    lr: base learning rate.
  """

  loss: tuple[float, float]
  norm: tuple[float, float]
  lr: tuple[float, float]

  @property
  def errors(self) -> tuple[float, ...]:
    """Relative errors of loss, rate and norm."""
    pairs = (self.loss, self.lr, self.norm)
    return tuple(abs(mine / want - 1) for mine, want in pairs)

  @property
  def ok(self) -> bool:
    return max(self.errors) <= TRAJECTORY


def trajectory(name: str, *, double: bool = False) -> list[Step]:
  """The stored steps of training, and ours; `double` computes in float64."""
  path = reference_lib.folder(name) / 'train_steps.json'
  stored = json.loads(path.read_text())[name]
  params = jax.tree.map(np.asarray, reference_lib.model(name)[1])
  total_steps, config = _solver(name, stored['solver_overrides'])
  optimizer = optimizer_lib.make_optimizer(config, params, total_steps)

  def update(grads, state, params):
    updates, state = optimizer.transform.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  update, state, steps = jax.jit(update), optimizer.transform.init(params), []
  if double:
    params, state = reference_lib.in_float64((params, state))
  for i, row in enumerate(stored['rows']):
    (loss, _), grads = gradients(name, params, double=double)
    steps.append(
        Step(
            (float(loss), row['total']),
            (_norm(grads, optimizer.trained), row['grad_norm_before_clip']),
            (float(optimizer.schedule(i)), row['lr_fpn_weight']),
        )
    )
    with jax.enable_x64(double):
      params, state = update(grads, state, params)
  return steps


def _norm(grads: Any, trained: Any) -> float:
  """Global norm of the trained parameters' gradients."""
  pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(trained), strict=True)
  return float(
      np.sqrt(
          sum(np.sum(np.square(g, dtype=np.float64)) for g, t in pairs if t)
      )
  )


def _solver(name: str, overrides: list[str]) -> tuple[int, dict[str, Any]]:
  """(steps, config.optimizer) of configs/glip.py with the stored overrides."""
  changes = dict(zip(overrides[::2], overrides[1::2], strict=True))
  changes = {k.removeprefix('SOLVER.'): v for k, v in changes.items()}
  config = glip_config.get_config(name).optimizer.to_dict()
  config['schedule'] |= dict(
      warmup_steps=int(changes.pop('WARMUP_ITERS')),
      warmup_factor=float(changes.pop('WARMUP_FACTOR')),
      boundaries=tuple(json.loads(f'[{changes.pop("STEPS").strip("()")}]')),
  )
  if config['decay_boundaries']:
    # The official weight decay falls at 0.667 of every milestone.
    config['decay_boundaries'] = tuple(
        0.667 * x for x in config['schedule']['boundaries']
    )
  total_steps = int(changes.pop('MAX_ITER'))
  assert not changes, changes
  return total_steps, config
