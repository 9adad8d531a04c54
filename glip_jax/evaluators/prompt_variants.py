"""Evaluating a set by several prompts at once: each image is encoded once.

Of each variant of the prompt, the order of its classes may be permuted too, as
what stands beside a name changes what a model with fusion makes of it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from glip_jax import types
from glip_jax.data import pipeline, settings, vocabularies
from glip_jax.data.sources import protocol
from glip_jax.evaluators import chunked, protocols, runner
from glip_jax.evaluators.coco_ap import percent
from glip_jax.text import lists, prompts


@dataclasses.dataclass(frozen=True)
class Variant:
  """What a set reaches by one prompt.

  Attributes:
    name: of the prompt.
    values: the number that is looked at, by order of the classes: first their
      own, then each permutation.
    metrics: all numbers in the order of the classes.
  """

  name: str
  values: tuple[float, ...]
  metrics: Mapping[str, float]

  def to_json(self) -> dict[str, Any]:
    """Plain values, with mean, deviation and range over the orders."""
    return {
        'values': list(self.values),
        'mean': float(np.mean(self.values)),
        'deviation': self.deviation,
        'range': [min(self.values), max(self.values)],
        'metrics': dict(self.metrics),
    }

  @property
  def deviation(self) -> float:
    """Standard deviation over the orders; 0 of a single one."""
    if len(self.values) < 2:
      return 0.0
    return float(np.std(self.values, ddof=1))


@dataclasses.dataclass(frozen=True)
class Report:
  """What every variant reaches.

  Attributes:
    metric: what `Variant.values` are, in [0, 1]; -1 where there is no truth.
    seed: of the permutations.
    variants: in the order in which they were given.
  """

  metric: str
  seed: int
  variants: tuple[Variant, ...]

  @property
  def metrics(self) -> dict[str, float]:
    """The number of each variant in the order of the classes."""
    return {each.name: each.values[0] for each in self.variants}

  def to_json(self) -> dict[str, Any]:
    """Everything it knows, in plain values."""
    found = {each.name: each.to_json() for each in self.variants}
    return {'metric': self.metric, 'seed': self.seed, 'variants': found}

  def table(self, *, per_class: bool = False) -> str:
    """A row a variant, in percent: as it is, and over all orders."""
    del per_class
    width = max(len('prompt'), *(len(each.name) for each in self.variants))
    heads = [self.metric]
    if len(self.variants[0].values) > 1:
      heads += ['mean', 'dev', 'low', 'high']
    lines = [f'{"prompt":<{width}}' + ''.join(f'{x:>7}' for x in heads)]
    for each in self.variants:
      values = each.values
      cells = [values[0], np.mean(values), each.deviation]
      cells = [*cells, min(values), max(values)][: len(heads)]
      shown = ''.join(f'{percent(float(x)):>7}' for x in cells)
      lines.append(f'{each.name:<{width}}{shown}')
    return '\n'.join(lines)


def metric_of(spec: runner.Evaluation) -> str:
  """The number of an evaluation that prompts are compared by."""
  names = runner.EVALUATORS[spec.type].metric_names
  return 'AP' if 'AP' in names else names[0]


def evaluate(
    name: str,
    spec: runner.Evaluation,
    sources: Mapping[str, protocol.DetectionSource],
    detector: protocols.Detector,
    *,
    data: settings.Data,
    permutations: int = 0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Report:
  """Runs an evaluation by every prompt, in one pass over its images.

  Args:
    name: of the evaluation.
    spec: what it is; its views are not looked at.
    sources: the same set by the name of the prompt that it asks by.
    detector: finds what is named.
    data: `config.data`.
    permutations: random orders of the classes beside their own.
    seed: of the orders, which are the same for every prompt.
    progress: told the number of images done, after every batch.

  Raises:
    UserError: a model cannot read a prompt, or the evaluator refuses the set.
  """
  first = next(iter(sources.values()))
  orders = _orders(len(first.names), permutations, seed)
  asked = [
      _Asked(source, order, detector, data, _evaluator(name, spec, source))
      for source in sources.values()
      for order in orders
  ]
  batches = pipeline.eval_batches(first, data, batch_size=spec.batch_size)
  _feed(asked, batches, detector, progress)
  metric, found = metric_of(spec), []
  for number, variant in enumerate(sources):
    own = asked[number * len(orders) : (number + 1) * len(orders)]
    results = [each.evaluator.result().metrics for each in own]
    values = tuple(float(metrics[metric]) for metrics in results)
    found.append(Variant(variant, values, results[0]))
  return Report(metric, seed, tuple(found))


class _Ordered(NamedTuple):
  """The classes of a source in another order."""

  names: tuple[str, ...]
  prompt: prompts.TextPrompt


class _Asked:
  """One prompt in one order of its classes, and what judges it."""

  def __init__(
      self,
      source: protocol.DetectionSource,
      order: Sequence[int],
      detector: protocols.Detector,
      data: settings.Data,
      evaluator: protocols.Evaluator,
  ):
    self.evaluator = evaluator
    self._order, self._detector = np.array(order), detector
    ordered = _Ordered(
        tuple(source.names[label] for label in order),
        lists.picked(source.prompt, order),
    )
    parts = vocabularies.split(ordered, data)
    encoder = settings.to_element(data)
    if data.class_captions:
      encoder = vocabularies.captions(ordered, data)
    self._most = getattr(evaluator, 'detections_per_image', chunked.MOST)
    if len(parts) == 1:
      self._most = None  # What one prompt gives is what a model gives.
    self._prompts = [
        (part.first, chunked.row(encoder.encode(part.text))) for part in parts
    ]

  def ask(self, features: types.Features, batch: types.Batch) -> list[Any]:
    """What each part of the prompt finds; does not wait for it."""
    return [
        (first, self._detector.ground(features, batch, prompt))
        for first, prompt in self._prompts
    ]

  def add(self, batch: types.Batch, found: list[Any]) -> None:
    """Gives the evaluator what was found, labelled by the usual order."""
    joined = chunked.join(found, self._most)
    named = joined.valid & (joined.labels >= 0)
    labels = np.where(named, self._order[joined.labels * named], -1)
    self.evaluator.add(batch, joined.replace(labels=labels))


def _feed(
    asked: Sequence[_Asked],
    batches: Iterable[types.Batch],
    detector: protocols.Detector,
    progress: Callable[[int], None] | None,
) -> None:
  """Encodes each batch once, and asks for everything in it."""
  done = 0
  for batch in batches:
    features = detector.encode_image(batch)
    # The device works on what comes next while the host judges.
    waiting = None
    for each in asked:
      latest = (each, each.ask(features, batch))
      if waiting is not None:
        waiting[0].add(batch, waiting[1])
      waiting = latest
    waiting[0].add(batch, waiting[1])
    done += int((batch.id >= 0).sum())
    if progress is not None:
      progress(done)


def _evaluator(
    name: str, spec: runner.Evaluation, source: protocol.Source
) -> protocols.Evaluator:
  _, evaluator = runner.build(name, spec, source=source)
  return evaluator


def _orders(count: int, permutations: int, seed: int) -> list[list[int]]:
  """The classes in their own order, and in random ones."""
  rng = np.random.default_rng(seed)
  own = list(range(count))
  return [own, *(rng.permutation(count).tolist() for _ in range(permutations))]
