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
each whether all is within target; if not, the exit status is 1.

The full-size models (A B C L) need GLIP_JAX_SHARED, the folder that holds
reference/golden. See docs/parity.md.
"""

import argparse
import subprocess
import sys

import numpy as np
import parity_detections
import parity_reference
import parity_stages
import parity_training

NAMES = parity_reference.SMALL + parity_reference.FULL
SKIPPABLE = ('double', 'detections', 'losses')


class Report:
  """Prints rows of measurements and remembers which were out of bounds."""

  def __init__(self, name: str):
    self.name = name
    self.count = 0
    self.failures: list[str] = []

  def row(self, what: str, ok: bool, values: str) -> None:
    """Prints one measurement."""
    self.count += 1
    if not ok:
      self.failures.append(what)
    print(f'  {what:34s} {values}{"" if ok else "  <-- OUT"}', flush=True)

  def verdict(self) -> str:
    """One line: within target or not."""
    if not self.failures:
      return f'{self.name}: within target ({self.count} rows)'
    names = ', '.join(self.failures)
    return f'{self.name}: NOT within target: {names}'


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
    for row in rows if every else parity_stages.worst(rows):
      values = (row.error, row.floor, row.theirs, row.size, row.bound)
      report.row(row.stage, row.ok, ' '.join(f'{x:8.1e}' for x in values))
    # Those that are not printed count too.
    report.failures += [
        row.stage
        for row in rows
        if not row.ok and row.stage not in report.failures
    ]


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


def check(name: str, *, every: bool, skip: tuple[str, ...]) -> Report:
  """Prints all of one model."""
  report = Report(name)
  stages(report, every=every, floor='double' not in skip)
  if 'detections' not in skip:
    detections(report)
  if 'losses' not in skip:
    losses(report)
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
    return 1 if report.failures else 0
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
