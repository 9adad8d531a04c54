"""Agreement with the reference implementation, in one table.

Of each model: the stages of the forward pass (of each family the one nearest
to its bound, or --all), with the largest absolute error, the noise floor (how
far our float32 is from our own float64, and how far the reference, float32 as
well, is from it) and the stage's largest value; then
detections, losses, positive sets, gradients and, of small models, trajectories
of the optimizer. Each model has a process of its own. The last lines say of
each whether all is within target; if not, the exit status is 1. What is over
its bound in float32 is within only if measured rounding explains it
(noise.py), and is marked and named.

The full-size models (A B C L) need GLIP_JAX_SHARED, the folder that holds
reference/golden. See docs/parity.md.
"""

import argparse
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from parity import (
    detections,
    gradients,
    modes,
    noise,
    programs,
    reference,
    stages,
    training,
)
from parity.noise import Verdict

NAMES = reference.SMALL + reference.FULL
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
  """Stages of the category prompt, and those stored of the sentence."""
  for prefix, title in (('det', 'categories'), ('grd', 'sentence')):
    rows = stages.rows(report.name, prefix, floor=floor)
    print(
        f'{report.name}, stages on {title}: {len(rows)} compared'
        f'{"" if every else ", the nearest to the bound of each family"}\n'
        f'  {"stage":34s} {"error":>8s} {"floor":>8s} {"theirs":>8s}'
        f' {"largest":>8s} {"bound":>8s}'
    )
    shown = rows if every else stages.worst(rows)
    for row in rows:
      values = (row.error, row.floor, row.theirs, row.size, row.bound)
      values = _show(values)
      verdict = noise.of_stage(row.error, row.floor, row.theirs, row.bound)
      if row in shown or not row.ok:
        report.row(row.stage, verdict, values)
      else:
        report.count_row(row.stage, verdict)


def report_detections(report: Report) -> None:
  """Detections in three prompt modes."""
  print(f'{report.name}, detections matched one to one')
  for key, share in detections.shares(report.name).items():
    report.row(key, share == 1.0, f'{share:8.1%}')


def report_losses(report: Report) -> None:
  """Losses, and the anchors that are matched to each box."""
  print(f'{report.name}, losses (error, value) and positives')
  for key, (error, size) in training.loss_errors(report.name).items():
    report.row(key, error <= training.LOSS * size, f'{error:8.1e} {size:8.1e}')
  for i, (mine, want) in enumerate(training.positive_sets(report.name)):
    equal = np.array_equal(mine, want)
    word = 'equal' if equal else 'DIFFER'
    report.row(f'positives of image {i}', equal, f'{(want >= 0).sum()} {word}')


def report_gradients(report: Report, *, every: bool) -> None:
  """Gradients of the stored parameters; yardsticks where float32 is over."""
  rows = gradients.rows(report.name)
  exact, floors, draws = {}, {}, 0
  verdicts = _of_gradients(rows, exact, floors)
  if Verdict.OUT in verdicts.values():
    _forget()
    double = gradients.rows(report.name, double=True)
    exact = {row.name: row.worst for row in double}
    # More draws than explain all could only raise the floors.
    for floors in gradients.floors(report.name):
      draws += 1
      verdicts = _of_gradients(rows, exact, floors)
      if Verdict.OUT not in verdicts.values():
        break
  print(
      f'{report.name}, gradients: {len(rows)} compared, {draws} draws\n'
      f'  {"parameter":34s}'
      f' {"of norm":>8s} {"entries":>8s} {"float64":>8s} {"floor":>8s}'
      f' {"norm":>8s}'
  )
  worst = sorted(rows, key=lambda row: -row.worst)[:4]
  for row in rows:
    verdict = verdicts[row.name]
    if every or row in worst or row is rows[0] or verdict is Verdict.OUT:
      yardsticks = exact.get(row.name, np.nan), floors.get(row.name, np.nan)
      values = (row.norm_error, row.error, *yardsticks, row.norm)
      report.row(row.short, verdict, _show(values))
    else:
      report.count_row(row.short, verdict)


def _of_gradients(rows, exact, floors) -> dict[str, Verdict]:
  """The verdict on each row, given float64's errors and the floors so far."""
  largest = max(floors.values(), default=np.nan)
  return {
      row.name: noise.of_sensitive(
          row.worst,
          exact.get(row.name, np.nan),
          floors.get(row.name, np.nan),
          largest,
          gradients.BOUND,
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
  return ' '.join(f'{x:8.1e}' for x in values)


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
  report = Report(name)
  report_stages(report, every=every, floor='double' not in skip)
  if 'detections' not in skip:
    report_detections(report)
    report_modes(report)
  if 'losses' not in skip:
    report_losses(report)
  if 'gradients' not in skip:
    _forget()
    report_gradients(report, every=every)
  if 'trajectory' not in skip and name in TRAJECTORIES:
    report_trajectory(report)
  return report


def _forget() -> None:
  """Gives memory back: in float64 a full model needs all there is."""
  programs.forget()
  stages.forget()
  reference.forget()


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
    reference.folder(name)
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
