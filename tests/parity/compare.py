"""Agreement with the reference implementation, in one table.

Of each model: the stages of every stored run of the forward pass (of each
family of stages the one nearest to its target, or --all), then detections,
losses, what is matched to each box, gradients and, of small GLIPs, steps of the
optimizer. Beside the error stand its target and the yardsticks: `floor`, how
far our float32 is from our own float64, `theirs`, how far the reference, in
float32 as well, is from that, `noise`, what the reference measured of itself,
and `moved`, how far rounding the parameters moves float64 (where a row is over
its target). Each model has a process of its own. The last lines say of each
whether all is within target; if not, the exit status is 1. What is over its
target in float32 is within only if measured rounding explains it (noise.py),
and is marked and named.

Full-size models (A B C L gd_full mm_full) need GLIP_JAX_SHARED, the folder that
holds reference/golden. See docs/parity.md.
"""

import argparse
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from parity import families, gradients, modes, noise, stages
from parity.noise import Verdict

NAMES = families.NAMES
SKIPPABLE = ('double', 'detections', 'losses', 'gradients', 'trajectory')
TRAJECTORIES = ('nanoA', 'nanoB', 'nanoL')


class Report:
  """Prints rows of measurements and remembers which were out of bounds."""

  def __init__(self, name: str):
    self.name = name
    self.count = 0
    self.rows: dict[Verdict, list[str]] = {Verdict.NOISE: [], Verdict.OUT: []}

  def row(self, what: str, verdict: Verdict | bool, values: str) -> None:
    """Prints and counts one measurement; True is within target."""
    verdict = self.count_row(what, verdict)
    print(f'  {what:34s} {values}{verdict.value}', flush=True)

  def count_row(self, what: str, verdict: Verdict | bool) -> Verdict:
    """Counts a measurement."""
    if isinstance(verdict, bool):
      verdict = Verdict.WITHIN if verdict else Verdict.OUT
    self.count += 1
    if verdict in self.rows:
      self.rows[verdict].append(what)
    return verdict

  @property
  def failed(self) -> bool:
    return bool(self.rows[Verdict.OUT])

  def verdict(self) -> str:
    """One line: within target or not."""
    word = 'NOT within' if self.failed else 'within'
    line = f'{self.name}: {word} target ({self.count} measurements)'
    for verdict, what in (
        (Verdict.OUT, 'out'),
        (Verdict.NOISE, 'at the rounding of float32'),
    ):
      names = self.rows[verdict]
      line += f'; {len(names)} {what}: {", ".join(names)}' if names else ''
    return line


def report_stages(report: Report, *, every: bool, floor: bool) -> None:
  """Stages of every stored run, and what it chooses by itself."""
  family = families.of(report.name)
  for run, title in family.runs.items():
    rows = family.rows(report.name, run, floor=floor)
    verdicts, moved = _of_stages(rows, {}), {}
    if floor and family.moved and Verdict.OUT in verdicts.values():
      for moved in family.moved(report.name, run):
        verdicts = _of_stages(rows, moved)
        if Verdict.OUT not in verdicts.values():
          break
    print(
        f'{report.name}, stages on {title}: {len(rows)} compared'
        f'{"" if every else ", the nearest to the bound of each family"}'
    )
    _report_rows(report, rows, verdicts, moved, every=every)
    for what, ok, words in family.ranks(report.name, run):
      report.row(what, ok, words)


def _of_stages(rows, moved) -> dict[str, Verdict]:
  """The verdict on each stage, given how far rounding moves some of them."""
  found = {}
  for row in rows:
    verdict = noise.of_stage(row.error, row.floor, row.theirs, row.bound)
    if verdict is Verdict.OUT and row.stage in moved:
      change = moved[row.stage]
      verdict = noise.of_sensitive(
          row.error, row.theirs, change, change, row.bound
      )
    found[row.stage] = verdict
  return found


def _report_rows(report, rows, verdicts, moved, *, every: bool) -> None:
  """A table of stages or losses, with all yardsticks that there are."""
  columns = ('error', 'target', 'floor', 'theirs', 'noise', 'moved', 'largest')
  print(f'  {"":34s} {" ".join(f"{column:>8s}" for column in columns)}')
  shown = rows if every else stages.worst(rows)
  for row in rows:
    values = (row.error, row.bound, row.floor, row.theirs, row.noise)
    values = _show((*values, moved.get(row.stage, np.nan), row.size))
    if row in shown or not row.ok:
      report.row(row.stage, verdicts[row.stage], values)
    else:
      report.count_row(row.stage, verdicts[row.stage])


def report_detections(report: Report) -> None:
  """Detections in all prompt modes, or of all thresholds."""
  print(f'{report.name}, detections matched one to one')
  found = families.of(report.name).detections(report.name)
  for key, share in found.items():
    report.row(key, share == 1.0, f'{share:8.1%}')


def report_losses(report: Report, *, every: bool, floor: bool) -> None:
  """Losses, and what is matched to each box."""
  family = families.of(report.name)
  print(f'{report.name}, losses and matches')
  rows = family.losses(report.name, floor=floor)
  _report_rows(report, rows, _of_stages(rows, {}), {}, every=every)
  for what, equal in family.matches(report.name).items():
    report.row(what, equal, 'equal' if equal else 'DIFFER')


def report_gradients(report: Report, *, every: bool, floor: bool) -> None:
  """Gradients of the stored parameters; yardsticks where float32 is over."""
  family = families.of(report.name)
  compared = family.gradients(report.name)
  rows = compared.rows()
  exact, own, floors, draws = {}, {}, {}, 0
  verdicts = _of_gradients(rows, exact, floors)
  over = Verdict.OUT in verdicts.values()
  if over or (floor and family.in_float64):
    family.forget()
    exact = {row.name: row.worst for row in compared.rows(double=True)}
    own = compared.rounding()
  if over:
    # More draws than explain all could only raise the floors.
    for floors in compared.floors():
      draws += 1
      verdicts = _of_gradients(rows, exact, floors)
      if Verdict.OUT not in verdicts.values():
        break
  print(f'{report.name}, gradients: {len(rows)} compared, {draws} draws')
  _report_spread(compared, rows, exact, own)
  columns = ('of norm', 'entries', 'target', 'floor', 'theirs', 'moved', 'norm')
  print(f'  {"":34s} {" ".join(f"{column:>8s}" for column in columns)}')
  worst = sorted(rows, key=lambda row: -row.worst)[:4]
  for row in rows:
    verdict = verdicts[row.name]
    if every or row in worst or row is rows[0] or verdict is Verdict.OUT:
      found = [x.get(row.name, np.nan) for x in (own, exact, floors)]
      values = (row.norm_error, row.error, row.bound, *found, row.norm)
      report.row(row.short, verdict, _show(values))
    else:
      report.count_row(row.short, verdict)


def _report_spread(compared, rows, exact, own) -> None:
  """The median and the 95th percentile of all parameters."""
  for what, values in (
      ('error', [row.worst for row in rows]),
      ('floor', list(own.values())),
      ('theirs', list(exact.values())),
      ('noise that the reference measured', None),
  ):
    spread = np.quantile(values, (0.5, 0.95)) if values else ()
    spread = compared.noise if values is None else spread
    if len(spread):
      print(f'  {what}: median {spread[0]:.1e}, 95 % within {spread[1]:.1e}')


def _of_gradients(rows, exact, floors) -> dict[str, Verdict]:
  """The verdict on each row, given float64's errors and the floors so far."""
  largest = max(floors.values(), default=np.nan)
  return {
      row.name: noise.of_sensitive(
          row.worst,
          exact.get(row.name, np.nan),
          floors.get(row.name, np.nan),
          largest,
          row.bound,
      )
      for row in rows
  }


def report_trajectory(report: Report) -> None:
  """Six steps of the optimizer; yardsticks where float32 is over."""
  steps = gradients.trajectory(report.name)
  exact, floors = [None] * len(steps), [np.nan] * len(steps)
  if not all(step.ok for step in steps):
    exact = gradients.trajectory(report.name, double=True)
    floors = gradients.trajectory_floors(report.name, exact)
  print(
      f'{report.name}, steps of training: relative errors\n  {"step":34s}'
      f' {"of loss, rate and norm":>26s} {"in float64":>26s} {"floor":>8s}'
  )
  for i, (step, double) in enumerate(zip(steps, exact, strict=True)):
    values, yardstick = _show(step.errors), np.nan
    if double:
      yardstick = max(double.errors)
      values = f'{values} {_show((*double.errors, floors[i]))}'
    verdict = noise.of_sensitive(
        max(step.errors),
        yardstick,
        floors[i],
        floors[i],
        gradients.TRAJECTORY,
    )
    report.row(f'step {i}', verdict, values)


def _show(values) -> str:
  return ' '.join(f'{x:8.1e}' if x == x else f'{"-":>8s}' for x in values)


def report_modes(report: Report) -> None:
  """Chunks of LVIS (nanoB) and phrases of Flickr (nanoL)."""
  run = {'nanoB': modes.lvis, 'nanoL': modes.flickr}
  if report.name not in run or 'GLIP_JAX_SHARED' not in os.environ:
    return
  print(f'{report.name}, detections of one image, original pixels')
  for key, share in run[report.name]().items():
    report.row(key, share == 1.0, f'{share:8.1%}')


def check(name: str, *, every: bool, skip: tuple[str, ...]) -> Report:
  """Prints all of one model."""
  report, floor = Report(name), 'double' not in skip
  report_stages(report, every=every, floor=floor)
  if 'detections' not in skip:
    report_detections(report)
    report_modes(report)
  if 'losses' not in skip:
    report_losses(report, every=every, floor=floor)
  if 'gradients' not in skip:
    # In float64 a full model needs all the memory that there is.
    families.of(name).forget()
    report_gradients(report, every=every, floor=floor)
  if 'trajectory' not in skip and name in TRAJECTORIES:
    report_trajectory(report)
  return report


def main(arguments: Sequence[str]) -> int:
  """Compares the models that the arguments name, by default all."""
  parser = argparse.ArgumentParser(
      prog='tests/parity',
      description=(
          f'{__doc__}\n`padding --help` and `precision --help` tell of'
          ' the other two programs.'
      ),
      formatter_class=argparse.RawTextHelpFormatter,
  )
  parser.add_argument('names', nargs='*', help=f'of {" ".join(NAMES)}')
  parser.add_argument('--all', action='store_true', help='print every stage')
  parser.add_argument('--skip', default='', help=f'of {",".join(SKIPPABLE)}')
  args = parser.parse_args(arguments)
  skip = tuple(filter(None, args.skip.split(',')))
  if unknown := set(skip) - set(SKIPPABLE):
    parser.error(f'--skip={sorted(unknown)}: choose of {SKIPPABLE}')
  names = args.names or list(NAMES)
  for name in names:
    families.of(name).folder(name)
  if len(names) == 1:
    report = check(names[0], every=args.all, skip=skip)
    print(report.verdict(), flush=True)
    return int(report.failed)
  return _each_alone(names, [f'--skip={args.skip}'] + ['--all'] * args.all)


def _each_alone(names: list[str], options: list[str]) -> int:
  """Every model in a process that gives its memory back."""
  verdicts, status = [], 0
  folder = pathlib.Path(__file__).parent
  for name in names:
    command = [sys.executable, str(folder), name, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = f'{name}: failed to run'
    for line in process.stdout:
      print(line, end='', flush=True)
    status |= int(process.wait() != 0)
    ended = line.strip() if line.startswith(name) else f'{name}: it broke off'
    verdicts.append(ended)
  print('\n' + '\n'.join(verdicts))
  return status
