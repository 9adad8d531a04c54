"""The mean over the sets of ODinW, made of the results of its evaluations.

An evaluation of data with `source='odinw'` is one of the sets. Where all 13 or
all 35 are evaluated, once each, their mean is a result of its own. The protocol
stands beside it: which split of each set, and which prompts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from glip_jax.data import specs
from glip_jax.data.sources.odinw_sets import ODINW
from glip_jax.evaluators.coco_ap import percent

MEANS: Mapping[str, tuple[str, ...]] = {
    'ODinW-13': tuple(name for name, row in ODINW.items() if row.in_13),
    'ODinW-35': tuple(ODINW),
}
METRICS = 'AP', 'AP50'


class SetScore(NamedTuple):
  """What one set reached.

  Attributes:
    dataset: its name.
    split: that was evaluated.
    prompt: 'names', a list of all of them, 'sentence', the published one, or
      'own', of the config's `class_prompts`.
    AP: mean over IoU 0.50:0.05:0.95, in [0, 1].
    AP50: at IoU 0.50.
  """

  dataset: str
  split: str
  prompt: str
  AP: float
  AP50: float


@dataclasses.dataclass(frozen=True)
class OdinwResult:
  """The mean of some sets, in the order of the table of sets."""

  sets: tuple[SetScore, ...]

  @property
  def metrics(self) -> dict[str, float]:
    """Means over the sets, in [0, 1]; -1 where a set has no truth."""
    return {key: _mean([getattr(x, key) for x in self.sets]) for key in METRICS}

  def to_json(self) -> dict[str, Any]:
    """Plain values for a metrics file."""
    return self.metrics | {'sets': [x._asdict() for x in self.sets]}

  def table(self, *, per_class: bool = False) -> str:
    """A row a set, in percent, and the mean."""
    del per_class
    width = max(len(x.dataset) for x in self.sets)
    rows = [
        f'{x.dataset:<{width}}  {x.split:<8}  {x.prompt:<8}  {percent(x.AP)}'
        f'  {percent(x.AP50)}'
        for x in self.sets
    ]
    means = '  '.join(percent(value) for value in self.metrics.values())
    label = f'mean of {len(self.sets)}'
    return '\n'.join([
        f'{"set":<{width}}  split     prompt       AP   AP50',
        *rows,
        f'{label:<{width + 20}}  {means}',
    ])


def expected_means(data: Mapping[str, specs.Spec]) -> dict[str, list[str]]:
  """The means that some evaluations give, and the evaluations of each.

  Args:
    data: what each evaluation of detection is made on, by its name.
  """
  by_set: dict[str, list[str]] = {}
  for name, spec in data.items():
    if spec.source == 'odinw':
      by_set.setdefault(spec.dataset, []).append(name)
  return {
      mean: [by_set[dataset][0] for dataset in datasets]
      for mean, datasets in MEANS.items()
      if all(len(by_set.get(dataset, ())) == 1 for dataset in datasets)
  }


def means(
    data: Mapping[str, specs.Spec], results: Mapping[str, Any]
) -> dict[str, OdinwResult]:
  """The means of results, by name.

  Args:
    data: as for `expected_means`.
    results: of all evaluations, by name.
  """
  return {
      mean: OdinwResult(tuple(_score(data[x], results[x]) for x in names))
      for mean, names in expected_means(data).items()
  }


def _score(spec: specs.Spec, result: Any) -> SetScore:
  return SetScore(
      dataset=spec.dataset,
      split=spec.split or ODINW[spec.dataset].evaluated,
      prompt=_prompt(spec),
      AP=result.metrics['AP'],
      AP50=result.metrics['AP50'],
  )


def _prompt(spec: specs.Spec) -> str:
  if spec.class_prompts:
    return 'own'
  return 'sentence' if spec.published_prompt else 'names'


def _mean(values: list[float]) -> float:
  return sum(values) / len(values) if min(values) >= 0 else -1.0
