"""In which order the records of a training stream come, before any is read."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import grain
import numpy as np

from glip_jax.data.training_sources import Opened, TrainingSources


class Place(NamedTuple):
  """Where a record of the stream comes from.

  Attributes:
    stream: which of `Order.opened` it is read by.
    index: of the record in its source.
  """

  stream: int
  index: int


class Order:
  """The endless order: shuffled in every pass, repeated, mixed by weight.

  A curriculum comes before the mixture. Access is random and costs
  microseconds; the order follows from the seed alone.

  Attributes:
    opened: the sources and how each is used: the mixture, then the curriculum.
  """

  def __init__(self, sources: TrainingSources, seed: int):
    """Lays out the order.

    Args:
      sources: from `open_training`.
      seed: what it is drawn by.
    """
    self.opened = (*sources.train, *sources.curriculum)
    self._places = _preceded(_mixed(sources.train, seed), sources, seed)

  def __getitem__(self, position: int) -> Place:
    """Where the record at a position of the stream comes from."""
    return Place(*self._places[position])


def _mixed(
    opened: Sequence[Opened], seed: int
) -> grain.MapDataset[tuple[int, int]]:
  """The endless mixture."""
  streams = [
      _shuffled(number, each, [seed, number])
      for number, each in enumerate(opened)
  ]
  if len(streams) == 1:
    return streams[0]
  return grain.MapDataset.mix(streams, [each.share for each in opened])


def _preceded(
    stream: grain.MapDataset[tuple[int, int]],
    sources: TrainingSources,
    seed: int,
) -> grain.MapDataset[tuple[int, int]]:
  """Puts the stages of the curriculum, each in its order, before a stream."""
  if not sources.curriculum:
    return stream
  parts, start = [], 0
  for number, each in enumerate(sources.curriculum):
    own = _shuffled(len(sources.train) + number, each, [seed, 0, number + 1])
    parts.append(own[: each.spec.until - start])
    start = each.spec.until
  # Endless streams cannot be joined, so this one ends where counting does.
  return grain.MapDataset.concatenate([*parts, stream[: len(stream) - start]])


def _shuffled(
    number: int, opened: Opened, seed: Sequence[int]
) -> grain.MapDataset[tuple[int, int]]:
  """The endless order of one source, new in every pass."""
  own_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
  indices = grain.MapDataset.range(len(opened.source)).seed(own_seed)
  return indices.shuffle().repeat().map(functools.partial(_place, number))


def _place(number: int, index: int) -> tuple[int, int]:
  return number, int(index)
