"""How sure the difference of two runs is, by redrawing the images of both."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from glip_jax.errors import UserError
from glip_jax.evaluators import match_metrics
from glip_jax.evaluators.matches import Matches


class Difference(NamedTuple):
  """One number of a run against that of the first.

  Attributes:
    value: how much higher it is, in [-1, 1].
    low: lower end of the interval.
    high: its upper end.
  """

  value: float
  low: float
  high: float

  @property
  def is_clear(self) -> bool:
    """Whether zero lies outside the interval."""
    return self.low > 0 or self.high < 0


def check_same(first: Matches, other: Matches, names: tuple[str, str]) -> None:
  """Refuses runs that were not made on the same images and truth.

  Args:
    first: matches of a run.
    other: of another.
    names: of both, for the message.

  Raises:
    UserError: what they differ in.
  """
  said = f'{names[0]} and {names[1]}'
  remedy = 'evaluate both on the same data'
  if first.protocol != other.protocol:
    raise UserError(
        f'{said} are of type {first.protocol!r} and {other.protocol!r}:'
        ' compare evaluations of one type'
    )
  for what in ('images', 'names'):
    own, others = (getattr(x, what) for x in (first, other))
    if own == others:
      continue
    kind = 'images' if what == 'images' else 'classes'
    only = [x for x in own if x not in set(others)]
    more = [x for x in others if x not in set(own)]
    example = (
        f'{only[0]!r} is in the first alone'
        if only
        else f'{more[0]!r} is in the second alone'
        if more
        else 'they stand in another order'
    )
    raise UserError(
        f'{said} are of different {kind}, {len(own)} and {len(others)}, of'
        f' which {example}: {remedy}'
    )
  if not _same_truth(first, other):
    raise UserError(
        f'{said} are of different boxes of truth,'
        f' {len(first.annotation)} and {len(other.annotation)}: {remedy}'
    )


def differences(
    runs: Sequence[Matches],
    *,
    count: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[dict[str, Difference]]:
  """Each number of each run against the first, by name.

  The same draws of the images are taken of all runs, so that what makes an
  image hard for both cancels. Numbers without truth are left out.

  Args:
    runs: on the same images (`check_same`).
    count: number of draws.
    seed: of the draws; the same gives the same intervals.
    level: share of the draws that lie in an interval.

  Returns:
    For each run but the first.
  """
  counts = match_metrics.draws(len(runs[0].images), count, seed=seed)
  whole = [match_metrics.metrics(run) for run in runs]
  drawn = [match_metrics.metrics(run, counts) for run in runs]
  return [
      {
          name: _difference(name, whole[0], whole[n], drawn[0], drawn[n], level)
          for name, value in whole[n].items()
          if value[0] >= 0 and whole[0][name][0] >= 0
      }
      for n in range(1, len(runs))
  ]


def _difference(name, first, other, drawn_first, drawn, level) -> Difference:
  # A draw may have no truth of a kind: it says nothing of the number.
  defined = (drawn_first[name] >= 0) & (drawn[name] >= 0)
  steps = (drawn[name] - drawn_first[name])[defined]
  tail = (1 - level) / 2
  low, high = np.quantile(steps, [tail, 1 - tail]) if len(steps) else (-1, 1)
  value = other[name][0] - first[name][0]
  return Difference(float(value), float(low), float(high))


def _same_truth(first: Matches, other: Matches) -> bool:
  columns = 'truth_image', 'truth_category', 'counted'
  return all(
      np.array_equal(getattr(first, x), getattr(other, x)) for x in columns
  )
