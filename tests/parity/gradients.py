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
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax

from configs import glip as glip_config
from glip_jax.detectors.glip import official_weights as glip
from glip_jax.training import optimizer as optimizer_lib
from parity import noise, programs, reference

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
    bound: what either may be.
  """

  name: str
  norm: float
  norm_error: float
  error: float
  relative_to: float
  bound: float = BOUND

  @property
  def ok(self) -> bool:
    return self.worst <= self.bound

  @property
  def worst(self) -> float:
    """The larger of the two errors."""
    return max(self.norm_error, self.error)

  @property
  def short(self) -> str:
    """The name without what all parameters of its part share."""
    return re.sub(r'^.*(body|head|encoder)\.', '', self.name)


@dataclasses.dataclass(frozen=True)
class Gradients:
  """What is compared: norms, and the entries that the reference stores.

  Attributes:
    total: norm over all parameters.
    norms: of each parameter, by official name.
    entries: all, or a sample.
    sizes: how many entries there are in all.
  """

  total: float
  norms: dict[str, float]
  entries: dict[str, np.ndarray]
  sizes: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The gradients of one model beside the reference's.

  Attributes:
    stored: the reference's.
    ours: parameters, whether in float64 -> ours.
    params: () -> the stored parameters.
    draws: () -> these, moved as far as rounding moves them.
    bound: what the relative error may be.
    zero: matches names whose true gradient is zero.
    noise: median and 95th percentile of the relative distance between the
      reference's float32 and its float64, where it was measured.
  """

  stored: Gradients
  ours: Callable[[Any, bool], Gradients]
  params: Callable[[], Any]
  draws: Callable[[], Iterator[Any]]
  bound: float
  zero: re.Pattern[str]
  noise: tuple[float, ...] = ()

  def rows(self, *, double: bool = False) -> list[Row]:
    """Every stored gradient beside ours; `double` computes it in float64."""
    return self._rows(self.stored, self._exact if double else self._own)

  def rounding(self) -> dict[str, float]:
    """How far our float32 is from our float64, by the name of a row."""
    rows = self._rows(self._exact, self._own)
    return {row.name: row.worst for row in rows}

  def floors(self) -> Iterator[dict[str, float]]:
    """How far float64's gradients change when parameters change by rounding.

    Yields:
      After each of the draws of `noise`: by the name of a row, its worst
      error over the draws so far.
    """
    found = {}
    for moved in self.draws():
      for row in self._rows(self._exact, self.ours(moved, True)):
        found[row.name] = max(found.get(row.name, 0.0), row.worst)
      yield dict(found)

  @functools.cached_property
  def _own(self) -> Gradients:
    return self.ours(self.params(), False)

  @functools.cached_property
  def _exact(self) -> Gradients:
    """Ours in float64, at the stored parameters."""
    return self.ours(self.params(), True)

  def _rows(self, want: Gradients, mine: Gradients) -> list[Row]:
    """Every parameter, after the norm over all."""
    error = abs(mine.total / want.total - 1)
    total = Row(
        'grad_global_norm', want.total, error, 0.0, want.total, self.bound
    )
    return [total] + [self._row(want, mine, name) for name in want.norms]

  def _row(self, want: Gradients, mine: Gradients, name: str) -> Row:
    norm = want.norms[name]
    scale = want.total if self.zero.search(name) else norm
    entries = want.entries[name].reshape(-1)
    # Of a sample, what its share of the gradient would be were all alike.
    share = scale * np.sqrt(entries.size / mine.sizes[name])
    error = np.linalg.norm(mine.entries[name] - entries)
    error = float(error) / max(share, float(np.linalg.norm(entries)))
    norm_error = abs(mine.norms[name] - norm) / scale
    return Row(name, norm, norm_error, error, scale, self.bound)


@functools.cache
def comparison(name: str) -> Comparison:
  """That of a GLIP."""
  return Comparison(
      stored=_stored(name),
      ours=lambda params, double: _ours(name, params, double=double),
      params=lambda: _params(name),
      draws=lambda: noise.draws(name),
      bound=BOUND,
      zero=_ZERO,
  )


def rows(name: str, *, double: bool = False) -> list[Row]:
  """Every stored gradient of a GLIP beside ours."""
  return comparison(name).rows(double=double)


def _params(name: str) -> Any:
  return reference.model(name)[1]


def _stored(name: str) -> Gradients:
  """The reference's."""
  arrays = reference.stored(name)
  prefix = 'gradnorm/'
  names = [x[len(prefix) :] for x in arrays.arrays.files if prefix in x]
  kind = lambda key: 'grad' if f'grad/{key}' in arrays else 'gradsample'
  return Gradients(
      total=float(arrays['grad_global_norm']),
      norms={key: float(arrays[prefix + key]) for key in names},
      entries={key: arrays[f'{kind(key)}/{key}'] for key in names},
      sizes={},
  )


def _ours(name: str, params: Any, *, double: bool = False) -> Gradients:
  """Ours."""
  _, grads = programs.gradients(name, params, double=double)
  total = norm(grads)
  grads = glip.to_official(jax.tree.map(np.asarray, grads))
  norms, entries, sizes = {}, {}, {}
  for key, want in _stored(name).entries.items():
    mine = np.asarray(grads[key], np.float64)
    norms[key], sizes[key] = float(np.linalg.norm(mine)), mine.size
    whole = want.size == mine.size
    entries[key] = (
        mine.reshape(-1) if whole else reference.sample(key, mine, want.size)
    )
  return Gradients(total, norms, entries, sizes)


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


def trajectory(
    name: str, *, double: bool = False, params: Any = None
) -> list[Step]:
  """The stored steps of training, and ours.

  Args:
    name: of the model.
    double: True computes in float64.
    params: to start from, by default the stored ones.
  """
  path = reference.folder(name) / 'train_steps.json'
  stored = json.loads(path.read_text())[name]
  params = jax.tree.map(np.asarray, params or _params(name))
  total_steps, config = _solver(name, stored['solver_overrides'])
  optimizer = optimizer_lib.make_optimizer(config, params, total_steps)

  def update(grads, state, params):
    updates, state = optimizer.transform.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  update, state, steps = jax.jit(update), optimizer.transform.init(params), []
  if double:
    params, state = reference.in_float64((params, state))
  for i, row in enumerate(stored['rows']):
    copy = jax.tree.map(np.array, params)  # It may be given up.
    (loss, _), grads = programs.gradients(name, copy, double=double)
    steps.append(
        Step(
            (float(loss), row['total']),
            (norm(grads, optimizer.trained), row['grad_norm_before_clip']),
            (float(optimizer.schedule(i)), row['lr_fpn_weight']),
        )
    )
    with jax.enable_x64(double):
      params, state = update(grads, state, params)
  return steps


def trajectory_floors(name: str, exact: list[Step]) -> list[float]:
  """How far float64's steps change when the first parameters do by rounding.

  Args:
    name: of the model.
    exact: its steps in float64.

  Returns:
    Of each step the larger relative change of loss and norm, over the draws.
  """
  found = [0.0] * len(exact)
  for moved in noise.draws(name):
    steps = trajectory(name, double=True, params=moved)
    for i, (mine, want) in enumerate(zip(steps, exact, strict=True)):
      pairs = (mine.loss[0], want.loss[0]), (mine.norm[0], want.norm[0])
      found[i] = max(found[i], *(abs(x / y - 1) for x, y in pairs))
  return found


def norm(grads: Any, trained: Any = None) -> float:
  """Global norm of gradients, by default of all parameters."""
  if trained is None:
    trained = jax.tree.map(lambda _: True, grads)
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
