"""AdamW with global-norm clipping, schedules and (regex, value) tables.

Reproduces the official GLIP solver (torch AdamW, decay scaled by the learning
rate, one clip over all trained parameters) with optax parts.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from glip_jax import configuring, errors
from glip_jax.training import tables


@dataclasses.dataclass(frozen=True)
class Schedule:
  """The learning rate over time, as a factor of the base rate.

  Every schedule warms up linearly from `warmup_factor` to 1.

  Attributes:
    name: 'cosine', 'steps' or 'constant'.
    warmup_steps: length of the warm-up, in steps.
    warmup_factor: factor at step 0.
    boundaries: for 'steps': ascending fractions of the total steps at which
      the rate is multiplied by `decay`.
    decay: for 'steps': the multiplier (gamma).
    final_factor: for 'cosine': factor at the last step.
  """

  name: str = 'cosine'
  warmup_steps: int = 0
  warmup_factor: float = 0.0
  boundaries: tuple[float, ...] = ()
  decay: float = 0.1
  final_factor: float = 0.0


@dataclasses.dataclass(frozen=True)
class Settings:
  """What `config.optimizer` may hold.

  Attributes:
    lr: base learning rate.
    betas: decay rates of Adam's two moments.
    eps: added to the root of the second moment, as torch does.
    weight_decay: decoupled decay, multiplied by the learning rate.
    decay_boundaries: fractions of the total steps at which the weight decay is
      multiplied by the schedule's `decay` (the official WEIGHT_DECAY_SCHEDULE).
    clip_norm: largest global norm of the gradients of all trained parameters;
      0 does not clip.
    schedule: fields of `Schedule`.
    lr_scales: (regex, factor) table over parameter paths.
    decay_scales: the same for the weight decay.
    frozen: regexes of parameters that stay as they are; their gradients are
      neither computed nor part of the clip norm.
    ema_decay: decay of the moving average of the parameters; 0 keeps none.
    skip_nonfinite: how many consecutive steps that are not finite are left
      out, as if their batches had not been; one more stops the run. With 0
      the first one does.
  """

  lr: float = 1e-4
  betas: tuple[float, float] = (0.9, 0.999)
  eps: float = 1e-8
  weight_decay: float = 0.0
  decay_boundaries: tuple[float, ...] = ()
  clip_norm: float = 0.0
  schedule: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  lr_scales: tables.Table = ()
  decay_scales: tables.Table = ()
  frozen: tuple[str, ...] = ()
  ema_decay: float = 0.0
  skip_nonfinite: int = 0


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """A gradient transformation with the facts that a step reports.

  Attributes:
    transform: params and gradients to updates; frozen parameters get zeros.
    schedule: learning rate (before `lr_scales`) of a step.
    trained: tree of bools like the parameters, False where frozen.
    skip_nonfinite: as in `Settings`; the step sees to it.
  """

  transform: optax.GradientTransformation
  schedule: optax.Schedule
  trained: Any
  skip_nonfinite: int = 0


def make_optimizer(
    config: Mapping[str, Any], params: Any, total_steps: int
) -> Optimizer:
  """Builds the optimizer that `config.optimizer` describes.

  Args:
    config: a mapping with the fields of `Settings`.
    params: the parameters, or their abstract shapes.
    total_steps: length of the training, which the schedule's fractions and the
      cosine refer to.

  Returns:
    The optimizer, its schedule, and which parameters it trains.

  Raises:
    UserError: for an unknown field or schedule, and for a regex that matches no
      parameter.
  """
  settings = configuring.fill(Settings, config, 'config.optimizer')
  _check_ranges(settings)
  names = list(tables.named_leaves(params))
  for what in ('lr_scales', 'decay_scales'):
    regexes = [row[0] for row in getattr(settings, what)]
    tables.check_matches(f'config.optimizer.{what}', regexes, names)
  tables.check_matches('config.optimizer.frozen', settings.frozen, names)
  schedule = make_schedule(settings.schedule, settings.lr, total_steps)
  frozen = [(regex, False) for regex in settings.frozen]
  trained = tables.map_table(frozen, params, True)
  if not any(jax.tree.leaves(trained)):
    raise errors.UserError(
        f'config.optimizer.frozen={settings.frozen} leaves nothing to train:'
        ' remove a regex'
    )
  labels = jax.tree.map(lambda t: 'trained' if t else 'frozen', trained)
  transform = optax.partition(
      {
          'trained': _adamw(settings, schedule, total_steps),
          'frozen': optax.set_to_zero(),
      },
      labels,
  )
  return Optimizer(transform, schedule, trained, settings.skip_nonfinite)


def _check_ranges(settings: Settings) -> None:
  """Refuses numbers that no optimizer can mean."""
  for name in ('lr', 'weight_decay', 'clip_norm', 'eps', 'skip_nonfinite'):
    value = getattr(settings, name)
    if not 0 <= value < math.inf:
      raise errors.UserError(
          f'config.optimizer.{name}={value} must be 0 or more, and finite'
      )
  for name, value in (
      ('ema_decay', settings.ema_decay),
      *(('betas', beta) for beta in settings.betas),
  ):
    if not 0 <= value < 1:
      raise errors.UserError(
          f'config.optimizer.{name}={getattr(settings, name)} must be from 0 to'
          ' 1, 1 left out'
      )


def make_schedule(
    config: Mapping[str, Any], lr: float, total_steps: int
) -> optax.Schedule:
  """The learning rate as a function of the step.

  'steps' is the official WarmupMultiStepLR. 'cosine' differs from the official
  one on purpose: it reaches its floor at the last step, not `warmup_steps`
  after it.

  Args:
    config: a mapping with the fields of `Schedule`.
    lr: base learning rate, reached at the end of the warm-up.
    total_steps: length of the training.

  Returns:
    A function from the (traced) step to the learning rate, float32.

  Raises:
    UserError: for an unknown field or name, or a negative warm-up.
  """
  settings = configuring.fill(Schedule, config, 'config.optimizer.schedule')
  if settings.name not in _SHAPES:
    raise errors.UserError(
        f'config.optimizer.schedule.name={settings.name!r} is unknown;'
        f' choose one of {sorted(_SHAPES)}'
    )
  if settings.warmup_steps < 0:
    raise errors.UserError(
        f'config.optimizer.schedule.warmup_steps={settings.warmup_steps} must'
        ' be 0 or more'
    )
  shape = _SHAPES[settings.name](settings, total_steps)

  def schedule(step: jax.typing.ArrayLike) -> jax.Array:
    done = jnp.minimum(step / max(settings.warmup_steps, 1), 1.0)
    warmup = settings.warmup_factor + done * (1 - settings.warmup_factor)
    in_warmup = jnp.asarray(step) < settings.warmup_steps
    return lr * jnp.where(in_warmup, warmup, 1.0) * shape(step)

  return schedule


def _constant(settings: Schedule, total_steps: int) -> optax.Schedule:
  del settings, total_steps
  return jnp.ones_like


def _steps(settings: Schedule, total_steps: int) -> optax.Schedule:
  return _drops(settings.boundaries, settings.decay, total_steps)


def _cosine(settings: Schedule, total_steps: int) -> optax.Schedule:
  span = max(total_steps - settings.warmup_steps, 1)
  floor = settings.final_factor

  def factor(step: jax.typing.ArrayLike) -> jax.Array:
    done = jnp.clip((step - settings.warmup_steps) / span, 0.0, 1.0)
    return floor + (1 - floor) * 0.5 * (1 + jnp.cos(jnp.pi * done))

  return factor


_SHAPES: dict[str, Callable[[Schedule, int], optax.Schedule]] = {
    'constant': _constant,
    'cosine': _cosine,
    'steps': _steps,
}


def _drops(
    boundaries: tuple[float, ...], decay: float, total_steps: int
) -> optax.Schedule:
  """1, multiplied by `decay` at each boundary (fractions of the total)."""
  steps = [round(fraction * total_steps) for fraction in boundaries]

  def factor(step: jax.typing.ArrayLike) -> jax.Array:
    passed = jnp.asarray(step) >= jnp.asarray(steps, jnp.int32)
    return decay ** jnp.sum(passed).astype(jnp.float32)

  return factor


def _adamw(
    settings: Settings, schedule: optax.Schedule, total_steps: int
) -> optax.GradientTransformation:
  """Clip, Adam, decay, scale: torch's AdamW after clip_grad_norm_."""
  clip = optax.clip_by_global_norm(settings.clip_norm)
  gamma = configuring.fill(Schedule, settings.schedule, 'schedule').decay
  fade = _drops(settings.decay_boundaries, gamma, total_steps)
  return optax.chain(
      clip if settings.clip_norm else optax.identity(),
      optax.scale_by_adam(*settings.betas, eps=settings.eps),
      _add_decay(settings, fade),
      _scale_by_table(settings.lr_scales),
      optax.scale_by_learning_rate(schedule),
  )


def _add_decay(
    settings: Settings, fade: optax.Schedule
) -> optax.GradientTransformation:
  """Adds weight decay * table factor * fade(step) * parameter."""

  def update(updates, state, params):
    decay = settings.weight_decay * fade(state.count)

    def add(path, u, p):
      scale = tables.lookup(settings.decay_scales, tables.path_name(path), 1.0)
      return u + decay * scale * p if scale else u

    updates = jax.tree_util.tree_map_with_path(add, updates, params)
    count = optax.safe_increment(state.count)
    return updates, optax.ScaleByScheduleState(count=count)

  init = optax.scale_by_schedule(fade).init
  return optax.GradientTransformation(init, update)


def _scale_by_table(table: tables.Table) -> optax.GradientTransformation:
  """Multiplies each update by the table's factor for its path."""

  def scale(path, u):
    return u * tables.lookup(table, tables.path_name(path), 1.0)

  return optax.stateless(
      lambda updates, _: jax.tree_util.tree_map_with_path(scale, updates)
  )
