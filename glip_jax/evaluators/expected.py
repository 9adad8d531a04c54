"""Numbers that an evaluation must give, in percent, as its tables have them."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from glip_jax.errors import UserError
from glip_jax.evaluators import metric_names, protocols, runner

_SLACK = 1e-9  # Percent; 46.4 is within 0.2 of 46.6, whatever floats say.


class Expected(NamedTuple):
  """One number.

  Attributes:
    evaluation: name of the evaluation.
    metric: name of its metric.
    value: in percent.
    tolerance: by how much it may be off, in percent.
  """

  evaluation: str
  metric: str
  value: float
  tolerance: float

  def __str__(self) -> str:
    name = f'{self.evaluation}/{self.metric}'
    return f'{name}={self.value:g}+-{self.tolerance:g}'


def read(
    text: str, evals: Mapping[str, runner.Evaluation], what: str = '--expect'
) -> tuple[Expected, ...]:
  """Reads 'val/AP=46.6+-0.2', several separated by commas.

  Args:
    text: none if empty.
    evals: what will run.
    what: where it was given, for messages.

  Raises:
    UserError: it is malformed, or names what no evaluation gives.
  """
  return tuple(
      _read(part.strip(), evals, what)
      for part in (text.split(',') if text else ())
  )


def check(
    expected: Sequence[Expected], results: Mapping[str, protocols.Result]
) -> None:
  """Refuses results that are off.

  Raises:
    UserError: naming each number that is.
  """
  off = []
  for row in expected:
    value = results[row.evaluation].metrics.get(row.metric, -1.0)
    if value < 0:
      off.append(f'{row}: there is no truth to measure it on')
    elif not abs(100 * value - row.value) <= row.tolerance + _SLACK:
      off.append(f'{row}: it is {100 * value:.2f}')
  if off:
    raise UserError(f'not as expected: {"; ".join(off)}')


def _read(
    part: str, evals: Mapping[str, runner.Evaluation], what: str
) -> Expected:
  name, equals, numbers = part.partition('=')
  value, sign, tolerance = numbers.partition('+-')
  try:
    read_value, read_tolerance = float(value), float(tolerance)
  except ValueError:
    read_value = read_tolerance = math.nan
  finite = math.isfinite(read_value) and math.isfinite(read_tolerance)
  if not (equals and sign and finite) or read_tolerance < 0:
    raise UserError(
        f'{what}={part!r:.100} must be EVALUATION/METRIC=PERCENT+-TOLERANCE, as'
        " 'val/AP=46.6+-0.2', several separated by commas"
    )
  return Expected(
      *metric_names.check(name.strip(), evals, what), read_value, read_tolerance
  )
