"""AdamW with global-norm clipping, schedules and (regex, value) tables.

Reproduces the official GLIP solver (torch AdamW, decay scaled by the learning
rate, one clip over all trained parameters) with optax parts.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from glip_jax import errors, fields
from glip_jax.fields import field, part
from glip_jax.training import tables


@dataclasses.dataclass(frozen=True)
class Schedule:
  """The learning rate over time, as a factor of the base rate.

  Every schedule warms up linearly from `warmup_factor` to 1.
  """

  name: str = field('cosine', 'shape', choices=('constant', 'cosine', 'steps'))
  warmup_steps: int = field(0, 'length of the warm-up, in steps', least=0)
  warmup_factor: float = field(0.0, 'factor at step 0', least=0)
  boundaries: tuple[float, ...] = field(
      (), 'steps: shares of all steps after which the rate falls', least=0
  )
  decay: float = field(0.1, 'steps: what the rate is multiplied by', least=0)
  final_factor: float = field(0.0, 'cosine: factor at the last step', least=0)


@dataclasses.dataclass(frozen=True)
class Settings:
  """AdamW: `config.optimizer`."""

  lr: float = field(1e-4, 'base learning rate', least=0)
  betas: tuple[float, float] = field(
      (0.9, 0.999), "decay of Adam's two moments", least=0, below=1
  )
  eps: float = field(1e-8, 'added to the root of the second moment', least=0)
  weight_decay: float = field(
      0.0, 'decoupled, multiplied by the learning rate', least=0
  )
  decay_boundaries: tuple[float, ...] = field(
      (),
      'shares of all steps after which the weight decay is multiplied by'
      " the schedule's decay",
      least=0,
  )
  clip_norm: float = field(
      0.0, 'largest global norm of the gradients; 0 does not clip', least=0
  )
  schedule: Schedule = part(Schedule)
  lr_scales: tuple[tuple[str, float], ...] = field(
      (), '(regex, factor) over parameter paths'
  )
  decay_scales: tuple[tuple[str, float], ...] = field(
      (), 'the same for the weight decay'
  )
  frozen: tuple[str, ...] = field(
      (), 'regexes of parameters that are not trained'
  )
  skip_nonfinite: int = field(
      0,
      'steps in a row that are left out because they are not finite; one more'
      ' stops the run',
      least=0,
  )


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
    config: Settings | Mapping[str, Any], params: Any, total_steps: int
) -> Optimizer:
  """Builds the optimizer that `config.optimizer` describes.

  Args:
    config: settings, or a mapping with fields of them.
    params: the parameters, or their abstract shapes.
    total_steps: length of the training, which the schedule's fractions and the
      cosine refer to.

  Returns:
    The optimizer, its schedule, and which parameters it trains.

  Raises:
    UserError: for an unknown field or schedule, and for a regex that matches no
      parameter.
  """
  settings = fields.from_dict(Settings, config, 'config.optimizer')
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


def make_schedule(
    config: Schedule | Mapping[str, Any], lr: float, total_steps: int
) -> optax.Schedule:
  """The learning rate as a function of the step.

  'steps' is the official WarmupMultiStepLR. 'cosine' differs from the official
  one on purpose: it reaches its floor at the last step, not `warmup_steps`
  after it.

  Args:
    config: settings, or a mapping with fields of them.
    lr: base learning rate, reached at the end of the warm-up.
    total_steps: length of the training.

  Returns:
    A function from the (traced) step to the learning rate, float32.

  Raises:
    UserError: for an unknown field or name, or a negative warm-up.
  """
  settings = fields.from_dict(Schedule, config, 'config.optimizer.schedule')
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
  fade = _drops(settings.decay_boundaries, settings.schedule.decay, total_steps)
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
