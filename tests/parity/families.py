"""What the comparison asks of a family of models.

Each family has modules of its own that know its arrays and its stages; here
they are put behind one set of names.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from parity import (
    detections,
    dino,
    dino_detections,
    dino_stages,
    dino_training,
    gradients,
    programs,
    reference,
    stages,
    training,
)


@dataclasses.dataclass(frozen=True)
class Family:
  """How a family of models is compared; each function takes a model's name.

  Attributes:
    names: of its models.
    folder: where the stored arrays are.
    runs: stored runs of the forward pass -> what they are of.
    rows: name, run, floor=whether in float64 too -> the stages of a run.
    moved: name, run -> how far rounding moves its stages, after each draw; None
      where no stage is that sensitive.
    ranks: name, run -> how our own choice of positions compares, as (what,
      whether it is within target, in words).
    detections: -> share that is matched one to one, by prompt.
    losses: name, floor -> every loss.
    matches: -> (ours, stored) what is matched to the true boxes.
    gradients: -> their comparison.
    in_float64: whether gradients are always compared with float64 too.
    forget: drops everything, to give memory back; takes nothing.
  """

  names: tuple[str, ...]
  folder: Callable[[str], pathlib.Path]
  runs: dict[str, str]
  rows: Callable[..., list[stages.Row]]
  moved: Callable[[str, str], Iterator[dict[str, float]]] | None
  ranks: Callable[[str, str], list[tuple[str, bool, str]]]
  detections: Callable[[str], dict[str, float]]
  losses: Callable[..., list[stages.Row]]
  matches: Callable[[str], dict[str, bool]]
  gradients: Callable[[str], gradients.Comparison]
  in_float64: bool
  forget: Callable[[], None]


def of(name: str) -> Family:
  """The family of a model.

  Raises:
    SystemExit: none has a model of that name.
  """
  for family in FAMILIES:
    if name in family.names:
      return family
  raise SystemExit(f'{name!r} is unknown: choose of {NAMES}')


def _forget_glip() -> None:
  programs.forget()
  stages.forget()
  reference.forget()


def _forget_dino() -> None:
  dino_training.forget()
  dino_stages.forget()
  dino.forget()


def _positives(name: str) -> dict[str, bool]:
  """Which images have the reference's positives."""
  return {
      f'positives of image {i}, {(want >= 0).sum()}': np.array_equal(mine, want)
      for i, (mine, want) in enumerate(training.positive_sets(name))
  }


GLIP = Family(
    names=reference.SMALL + reference.FULL,
    folder=reference.folder,
    runs={'det': 'categories', 'grd': 'sentence'},
    rows=stages.rows,
    moved=None,
    ranks=lambda name, run: [],
    detections=detections.shares,
    losses=training.rows,
    matches=_positives,
    gradients=gradients.comparison,
    in_float64=False,
    forget=_forget_glip,
)
GROUNDING_DINO = Family(
    names=dino.SMALL + dino.FULL,
    folder=dino.folder,
    runs=dino_stages.RUNS,
    rows=dino_stages.rows,
    moved=dino_stages.moved,
    ranks=dino_stages.ranks,
    detections=dino_detections.shares,
    losses=dino_training.rows,
    matches=dino_training.matches,
    gradients=dino_training.comparison,
    in_float64=True,
    forget=_forget_dino,
)
FAMILIES = (GLIP, GROUNDING_DINO)
NAMES = GLIP.names + GROUNDING_DINO.names
