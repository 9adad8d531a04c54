"""Collects what evaluations found, and writes the page about it."""

import dataclasses
import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from glip_jax import storage
from glip_jax.evaluators import feeding, match_metrics, protocols, runner
from glip_jax.evaluators.coco_ap import percent
from glip_jax.report import detection, page, words

FILE = 'report.html'
_PACKAGES = 'glip_jax', 'jax', 'flax', 'numpy', 'pycocotools', 'hotcoco'
_REDRAWS = 300
# Where a set has more detections, its intervals would take too long.
_MOST_REDRAWN = 100_000


class Report:
  """A page that grows by a section for each evaluation."""

  def __init__(self, evals: Mapping[str, runner.Evaluation]):
    """Begins with nothing.

    Args:
      evals: what is evaluated, by name.
    """
    self._evals = evals
    self._sections: list[str] = []
    self._paces: list[tuple[str, str]] = []

  def add(self, scored: runner.Scored) -> None:
    """Takes what an evaluation found, before it is forgotten."""
    spec = self._evals[scored.name]
    self._paces.append((f'speed, {scored.name}', _speed(scored.pace)))
    matches = None
    if hasattr(scored.evaluator, 'matches'):
      matches = scored.evaluator.matches()
    parts = [
        page.heading(scored.name, 2),
        page.paragraph(words.PROTOCOLS.get(spec.type, '')),
        page.facts(_data_facts(spec, scored)),
        page.heading('Numbers'),
        _numbers(scored.result, _intervals(matches)),
    ]
    if matches is not None:
      parts += detection.parts(
          matches,
          scored.predictions,
          scored.evaluator.truth(),
          scored.source,
          scored.result.metrics,
          _per_class(scored.result),
      )
    else:
      parts.append(page.terminal(scored.result.table()))
    self._sections += parts

  def write(
      self,
      path: epath.PathLike,
      *,
      title: str,
      facts: Sequence[tuple[str, str]],
      results: Mapping[str, protocols.Result],
  ) -> None:
    """Writes the page; a reader never sees half of it.

    Args:
      path: of the file.
      title: of the page.
      facts: what was evaluated by what, as names and words.
      results: of all evaluations; those that were not added, such as means
        over several, stand at the end.
    """
    more = [
        page.heading(name, 2) + page.terminal(result.table())
        for name, result in results.items()
        if name not in self._evals
    ]
    text = page.page(
        title,
        [
            page.facts([*facts, *self._paces]),
            page.heading('Command'),
            page.command(command_line()),
            *self._sections,
            *more,
        ],
    )
    storage.write_whole(epath.Path(path), text.encode())


def command_line() -> str:
  """How this program was started, to be given to a shell."""
  words_ = [os.path.basename(sys.executable) or 'python', *sys.argv]
  return shlex.join(words_)


def versions() -> str:
  """Of Python and of the packages that decide the numbers."""
  found = [f'Python {platform.python_version()}']
  for name in _PACKAGES:
    try:
      found.append(f'{name} {importlib.metadata.version(name)}')
    except importlib.metadata.PackageNotFoundError:
      continue
  return ', '.join(found)


def _numbers(
    result: protocols.Result, intervals: Mapping[str, tuple[float, float]]
) -> str:
  """A row a number, with what it is, and how sure it is where that is known."""
  rows = []
  for name, value in result.metrics.items():
    if name == 'n':  # A count, which the table below has.
      continue
    interval = ''
    if name in intervals and value >= 0:
      low, high = intervals[name]
      interval = f'{100 * low:.1f} to {100 * high:.1f}'
    cells = [name, percent(value).strip(), words.metric(name)]
    rows.append(cells[:2] + [interval] * bool(intervals) + cells[2:])
  head = ['', '%', 'what it is']
  if intervals:
    head.insert(2, '95 % interval')
  table = page.table(head, rows, says=len(head) - 1)
  if not intervals:
    return table
  return table + page.paragraph(
      f'Intervals: {_REDRAWS} redraws of the images.', note=True
  )


def _intervals(matches: Any) -> dict[str, tuple[float, float]]:
  """Of each number, from draws of the images; nothing for a large set."""
  if matches is None or not 0 < len(matches.score) <= _MOST_REDRAWN:
    return {}
  counts = match_metrics.draws(len(matches.images), _REDRAWS, seed=0)
  result = {}
  for name, values in match_metrics.metrics(matches, counts).items():
    defined = values[values >= 0]
    if len(defined):
      low, high = np.quantile(defined, [0.025, 0.975])
      result[name] = float(low), float(high)
  return result


def _per_class(result: Any) -> Sequence[Any]:
  """Classes, of LVIS by fixed AP."""
  return (result if hasattr(result, 'per_class') else result.fixed).per_class


def _data_facts(
    spec: runner.Evaluation, scored: runner.Scored
) -> list[tuple[str, str]]:
  """What it was made on, without what is as by default."""
  default = type(spec.data)()
  fields = {
      field.name: getattr(spec.data, field.name)
      for field in dataclasses.fields(spec.data)
  }
  said = [
      f'{name}={value!r}'
      for name, value in fields.items()
      if value != getattr(default, name) or name == 'source'
  ]
  rows = [
      ('type', spec.type),
      ('data', ', '.join(said)),
      ('images', str(len(scored.source))),
      ('batch size', str(spec.batch_size)),
  ]
  if hasattr(scored.source, 'names'):
    rows.insert(3, ('classes', str(len(scored.source.names))))
  if spec.views.on:
    rows.append(('views', f'{len(list(spec.views))}, flip={spec.views.flip}'))
  return rows


def _speed(pace: feeding.Pace | None) -> str:
  if pace is None:
    return 'not measured: one batch'
  return (
      f'{pace.images / pace.seconds:.3g} images/s ({pace.images} images after'
      ' the first batch, with reading)'
  )
