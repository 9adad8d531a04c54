"""The names of all numbers that some evaluations give, before any has run."""

from collections.abc import Mapping

from glip_jax.errors import UserError
from glip_jax.evaluators import odinw, runner


def known(evals: Mapping[str, runner.Evaluation]) -> dict[str, tuple[str, ...]]:
  """What each evaluation may give, and the means over sets of ODinW.

  All are in [0, 1], and higher is better.
  """
  names = {
      name: runner.EVALUATORS[spec.type].metric_names
      for name, spec in evals.items()
  }
  means = odinw.expected_means(runner.detection_data(evals))
  return names | dict.fromkeys(means, odinw.METRICS)


def check(
    metric: str, evals: Mapping[str, runner.Evaluation], what: str
) -> tuple[str, str]:
  """Refuses a name that is none of `known`.

  Args:
    metric: '<evaluation>/<metric>', such as 'val/AP'.
    evals: by name.
    what: where it was given, for the message.

  Returns:
    The name of the evaluation, and that of its metric.

  Raises:
    UserError: there is no such evaluation, or it gives no such number.
  """
  names = known(evals)
  evaluation, slash, measure = metric.partition('/')
  if not slash or evaluation not in names:
    there = ', '.join(names) or 'none'
    raise UserError(
        f'{what}={metric!r:.100} must be EVALUATION/METRIC, as val/AP; there is'
        f' no evaluation {evaluation!r:.100}, of evaluations there are: {there}'
    )
  if measure not in names[evaluation]:
    raise UserError(
        f'{what}={metric!r:.100}: {evaluation} gives no {measure!r:.100}, but'
        f' {", ".join(names[evaluation])}'
    )
  return evaluation, measure
