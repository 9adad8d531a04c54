"""Agreement with the reference implementation, in one table.

    python tests/parity.py                        # all eight models
    python tests/parity.py nanoA B --all          # these, every stage
    python tests/parity.py L --skip=double,gradients

Of each model: the stages of the forward pass (of each family the one nearest
to its bound, or --all), with the largest absolute error, the noise floor (how
far our float32 is from our own float64, and how far the reference, float32 as
well, is from it) and the stage's largest value; then
detections, losses, positive sets, gradients and, of small models, trajectories
of the optimizer. Each model has a process of its own. The last lines say of
each whether all is within target; if not, the exit status is 1. Of what is over
its bound in float32 it says whether the same program in float64 is within.

The full-size models (A B C L) need GLIP_JAX_SHARED, the folder that holds
reference/golden. See docs/parity.md.
"""

import argparse
import os
import subprocess
import sys

import numpy as np
import parity_detections
import parity_gradients
import parity_modes
import parity_reference
import parity_stages
import parity_training

NAMES = parity_reference.SMALL + parity_reference.FULL
SKIPPABLE = ('double', 'detections', 'losses', 'gradients', 'trajectory')
TRAJECTORIES = ('nanoA', 'nanoB', 'nanoL')


class Report:
  """Prints rows of measurements and remembers which were out of bounds."""

  def __init__(self, name: str):
    self.name = name
    self.count = 0
    self.over: dict[str, bool] = {}

  def row(self, what: str, ok: bool, values: str, *, exact=None) -> None:
    """Prints and counts one measurement.

    Args:
      what: its name.
      ok: True if float32 is within target.
      values: what was measured.
      exact: where float32 is not: True if our float64 is, False if not, None
        if that is not known.
    """
    print(f'  {what:34s} {values}{self.count_row(what, ok, exact)}', flush=True)

  def count_row(self, what: str, ok: bool, exact: bool | None) -> str:
    """Counts a measurement; what to write behind it."""
    self.count += 1
    if ok:
      return ''
    self.over[what] = self.over.get(what, True) and bool(exact)
    return '  <-- OUT, float64 within' if exact else '  <-- OUT'

  def verdict(self) -> str:
    """One line: within target or not."""
    if not self.over:
      return f'{self.name}: within target ({self.count} measurements)'
    line = f'{self.name}: NOT within target ({len(self.over)} of {self.count})'
    for what, chosen in (('', False), ('float64 is within in ', True)):
      names = [name for name, exact in self.over.items() if exact == chosen]
      line += f'; {what}{len(names)}: {", ".join(names)}' if names else ''
    return line


def stages(report: Report, *, every: bool, floor: bool) -> None:
  """Stages of the category prompt, and those stored of the sentence."""
  for prefix, title in (('det', 'categories'), ('grd', 'sentence')):
    rows = parity_stages.rows(report.name, prefix, floor=floor)
    print(
        f'{report.name}, stages on {title}: {len(rows)} compared'
        f'{"" if every else ", the nearest to the bound of each family"}\n'
        f'  {"stage":34s} {"error":>8s} {"floor":>8s} {"theirs":>8s}'
        f' {"largest":>8s} {"bound":>8s}'
    )
    shown = rows if every else parity_stages.worst(rows)
    for row in rows:
      values = (row.error, row.floor, row.theirs, row.size, row.bound)
      values = ' '.join(f'{x:8.1e}' for x in values)
      if row in shown or not row.ok:
        report.row(row.stage, row.ok, values, exact=row.theirs <= row.bound)
      else:
        report.count_row(row.stage, row.ok, None)


def detections(report: Report) -> None:
  """Detections in three prompt modes."""
  print(f'{report.name}, detections matched one to one')
  for key, share in parity_detections.shares(report.name).items():
    report.row(key, share == 1.0, f'{share:8.1%}')


def losses(report: Report) -> None:
  """Losses, and the anchors that are matched to each box."""
  print(f'{report.name}, losses (error, value) and positives')
  for key, (error, size) in parity_training.loss_errors(report.name).items():
    report.row(
        key, error <= parity_training.LOSS * size, f'{error:8.1e} {size:8.1e}'
    )
  for i, (mine, want) in enumerate(parity_training.positive_sets(report.name)):
    equal = np.array_equal(mine, want)
    word = 'equal' if equal else 'DIFFER'
    report.row(f'positives of image {i}', equal, f'{(want >= 0).sum()} {word}')


def gradients(report: Report, *, every: bool) -> None:
  """Gradients of the stored parameters; in float64 where float32 is out."""
  rows = parity_gradients.rows(report.name)
  exact = {}
  if not all(row.ok for row in rows):
    exact = {
        row.name: row for row in parity_gradients.rows(report.name, double=True)
    }
  print(
      f'{report.name}, gradients: {len(rows)} compared\n  {"parameter":34s}'
      f' {"of norm":>8s} {"entries":>8s} {"float64":>8s} {"norm":>8s}'
  )
  worst = sorted(rows, key=lambda row: -row.worst)[:4]
  for row in rows:
    yardstick = exact.get(row.name)
    double = yardstick.worst if yardstick else float('nan')
    if every or row in worst or row is rows[0]:
      values = (row.norm_error, row.error, double, row.norm)
      report.row(
          row.short,
          row.ok,
          ' '.join(f'{x:8.1e}' for x in values),
          exact=yardstick and yardstick.ok,
      )
    else:
      report.count_row(row.short, row.ok, yardstick and yardstick.ok)


def trajectory(report: Report) -> None:
  """Six steps of the optimizer; in float64 where float32 is out."""
  steps = parity_gradients.trajectory(report.name)
  exact = [None] * len(steps)
  if not all(step.ok for step in steps):
    exact = parity_gradients.trajectory(report.name, double=True)
  print(
      f'{report.name}, steps of training: relative errors\n  {"step":34s}'
      f' {"of loss, rate and norm":>26s} {"in float64":>26s}'
  )
  show = lambda values: ' '.join(f'{x:8.1e}' for x in values)
  for i, (step, double) in enumerate(zip(steps, exact, strict=True)):
    values = show(step.errors)
    if double:
      values = f'{values} {show(double.errors)}'
    report.row(f'step {i}', step.ok, values, exact=double and double.ok)


def modes(report: Report) -> None:
  """Chunks of LVIS (nanoB) and phrases of Flickr (nanoL)."""
  run = {'nanoB': parity_modes.lvis, 'nanoL': parity_modes.flickr}
  if report.name not in run or 'GLIP_JAX_SHARED' not in os.environ:
    return
  print(f'{report.name}, detections of one picture, original pixels')
  for key, share in run[report.name]().items():
    report.row(key, share == 1.0, f'{share:8.1%}')


def check(name: str, *, every: bool, skip: tuple[str, ...]) -> Report:
  """Prints all of one model."""
  report = Report(name)
  stages(report, every=every, floor='double' not in skip)
  if 'detections' not in skip:
    detections(report)
    modes(report)
  if 'losses' not in skip:
    losses(report)
  if 'gradients' not in skip:
    gradients(report, every=every)
  if 'trajectory' not in skip and name in TRAJECTORIES:
    trajectory(report)
  return report


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('names', nargs='*', help=f'of {" ".join(NAMES)}')
  parser.add_argument('--all', action='store_true', help='print every stage')
  parser.add_argument('--skip', default='', help=f'of {",".join(SKIPPABLE)}')
  args = parser.parse_args()
  skip = tuple(filter(None, args.skip.split(',')))
  if unknown := set(skip) - set(SKIPPABLE):
    parser.error(f'--skip={sorted(unknown)}: choose of {SKIPPABLE}')
  names = args.names or list(NAMES)
  for name in names:
    parity_reference.folder(name)
  if len(names) == 1:
    report = check(names[0], every=args.all, skip=skip)
    print(report.verdict(), flush=True)
    return int(bool(report.over))
  return _each_alone(names, [f'--skip={args.skip}'] + ['--all'] * args.all)


def _each_alone(names: list[str], options: list[str]) -> int:
  """Every model in a process that gives its memory back."""
  verdicts, status = [], 0
  for name in names:
    command = [sys.executable, __file__, name, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = f'{name}: failed to run'
    for line in process.stdout:
      print(line, end='', flush=True)
    status |= int(process.wait() != 0)
    ended = line.strip() if line.startswith(name) else f'{name}: it broke off'
    verdicts.append(ended)
  print('\n' + '\n'.join(verdicts))
  return status


if __name__ == '__main__':
  sys.exit(main())
