"""What rounding in float32 can explain of a difference from the reference.

A row is within its target, or it is over it in float32. If it is over, the same
program is run in float64 (`model.dtype`), where only the reference still
rounds. The row counts as noise if float64 shows that the program is right, and
if our rounding is of the size of a rounding that is not ours:

- of a stage, the reference's own distance from float64;
- of gradients and of steps of training, what float64 itself changes by when the
  parameters change as little as rounding: at random, by half a unit of
  float32's last place, or by that multiple of it that moves the box deltas as
  far as the reference's own rounding has moved them.
"""

import enum
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parity import reference, stages

# How many times that size ours may have: a forward pass rounds after every
# operation, not once.
FACTOR = 4.0
# Random changes of the parameters that are tried at most. Each finds some of
# the jumps of the gradient that lie within rounding; few find less than there
# is.
DRAWS = 8


class Verdict(enum.Enum):
  """What a row says; the value is what is printed behind it."""

  WITHIN = ''
  NOISE = '  <-- float32 rounds'
  OUT = '  <-- OUT'


def of_stage(error: float, floor: float, theirs: float, bound: float):
  """The verdict on a stage.

  Args:
    error: of our float32 from the reference.
    floor: of our float32 from our float64; nan if that was not run.
    theirs: of the reference from our float64; nan likewise.
    bound: what the error may be.
  """
  if error <= bound:
    return Verdict.WITHIN
  right = theirs <= bound and floor <= FACTOR * theirs
  return Verdict.NOISE if right else Verdict.OUT


def of_sensitive(
    error: float, exact: float, floor: float, largest: float, bound: float
):
  """The verdict on what changes when parameters change in their last place.

  Args:
    error: of our float32 from the reference.
    exact: of our float64 from the reference; nan if that was not run.
    floor: how far float64 changes with the parameters; nan likewise.
    largest: the largest floor of what is compared at once. One jump changes
      all gradients, each by another share, and float32 may jump where no draw
      did.
    bound: what the error may be.
  """
  if error <= bound:
    return Verdict.WITHIN
  right = exact <= max(bound, FACTOR * floor) and error <= FACTOR * largest
  return Verdict.NOISE if right else Verdict.OUT


def draws(name: str) -> Iterator[Any]:
  """The parameters of a model in float64, moved as far as rounding moves them.

  Yields:
    One random change of all of them after the other: each is large.
  """
  yield from moved(reference.model(name)[1], _scale(name))


def moved(params: Any, scale: float) -> Iterator[Any]:
  """The same of any parameters, by up to `scale` half units."""
  for draw in range(DRAWS):
    yield nudged(params, scale, draw)


def _scale(name: str) -> float:
  """Half units of the last place that move the deltas as rounding does."""
  stage, key = 'head/deltas', 'det_bbox_reg'
  exact = stages.double(name, 'det')[stage]
  params = nudged(reference.model(name)[1], 1.0, 0)
  moved = stages.run_double(name, 'det', params)[stage]
  theirs, _ = reference.stored(name).error(key, exact)
  return max(1.0, theirs / float(np.abs(moved - exact).max()))


def nudged(params: Any, scale: float, draw: int) -> Any:
  """Moves float32 parameters at random, by up to `scale` half units."""
  rng = np.random.default_rng(draw)

  def nudge(x):
    x = np.asarray(x)
    if x.dtype != np.float32:
      return x
    step = scale * np.spacing(np.abs(x)).astype(np.float64)
    return jnp.asarray(x + step * rng.uniform(-0.5, 0.5, x.shape))

  with jax.enable_x64(True):
    return jax.tree.map(nudge, params)
