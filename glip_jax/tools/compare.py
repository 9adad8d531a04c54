"""Sets evaluations of several runs side by side, and says how sure they differ.

python -m glip_jax.tools.compare runs/a/eval runs/b/eval

Each number of each evaluation stands in percent, those of the second run and
later with the difference to the first and its interval: images are drawn anew,
with replacement, and what was matched in them is scored. Runs over different
images are refused. Numbers without stored matches, such as recall of phrases,
have no interval.
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from glip_jax import configuring, errors
from glip_jax.evaluators import bootstrap, matches

_METRICS = 'metrics.json'
_NO_METRICS = 'n', 'min_score'  # Stand among them.


def compare(
    runs: Sequence[str | os.PathLike], *, redraws: int = 1000, seed: int = 0
) -> str:
  """The numbers of runs side by side, as text.

  Args:
    runs: folders that `eval.py` wrote, or workdirs with one in `eval`.
    redraws: of the images, for the intervals.
    seed: of the draws.

  Raises:
    UserError: a folder holds no evaluation, the runs have none in common, or
      they were made on different images.
  """
  if len(runs) < 2:
    raise errors.UserError(
        f'{len(runs)} runs are given: give the folders of two or more, such as'
        ' runs/a/eval runs/b/eval'
    )
  if redraws < 1:
    raise errors.UserError(f'--redraws={redraws}: give 1 or more')
  folders = [_folder(run) for run in runs]
  values = [_read(folder) for folder in folders]
  common = [name for name in values[0] if all(name in x for x in values)]
  if not common:
    named = '; '.join(
        f'{folder}: {", ".join(x)}'
        for folder, x in zip(folders, values, strict=True)
    )
    raise errors.UserError(f'the runs have no evaluation in common: {named}')
  lines = [f'{_letter(n)}  {folder}' for n, folder in enumerate(folders)]
  stored = {name: _matches(folders, name) for name in common}
  for name in common:
    rows = [_numbers(x[name]) for x in values]
    found = stored[name]
    steps = (
        bootstrap.differences(found, count=redraws, seed=seed) if found else ()
    )
    lines += ['', *_table(name, rows, steps)]
  for folder, own in zip(folders, values, strict=True):
    alone = [name for name in own if name not in common]
    if alone:
      lines += ['', f'not compared, of {folder}: {", ".join(alone)}']
  return '\n'.join(lines)


def _folder(run: str | os.PathLike) -> pathlib.Path:
  errors.check_no_url('runs', run)
  path = pathlib.Path(run).expanduser()
  for folder in (path, path / 'eval'):
    if (folder / _METRICS).is_file():
      return folder
  raise errors.UserError(
      f'{os.fspath(run)!r} has no {_METRICS}: give a folder that eval.py wrote'
      ' to, or the workdir of a run that has one in eval'
  )


def _read(folder: pathlib.Path) -> dict[str, Any]:
  """What `metrics.json` holds."""
  path = folder / _METRICS
  try:
    values = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise errors.UserError(
        f'{path} is damaged ({error!s:.200}): evaluate again'
    ) from error
  if not isinstance(values, dict) or not all(
      isinstance(x, dict) for x in values.values()
  ):
    raise errors.UserError(f'{path} is no file of metrics: evaluate again')
  return values


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
  return {
      name: value
      for name, value in values.items()
      if isinstance(value, float) and name not in _NO_METRICS
  }


def _matches(
    folders: Sequence[pathlib.Path], name: str
) -> list[matches.Matches]:
  """Those of all runs, of the same images; none where a run has none."""
  paths = [folder / name / matches.FILE for folder in folders]
  if not all(path.is_file() for path in paths):
    return []
  found = [matches.read(path) for path in paths]
  for n in range(1, len(found)):
    bootstrap.check_same(
        found[0], found[n], (str(paths[0].parent), str(paths[n].parent))
    )
  return found


def _table(
    name: str,
    rows: Sequence[Mapping[str, float]],
    steps: Sequence[Mapping[str, bootstrap.Difference]],
) -> list[str]:
  """One evaluation: a line a number, a group of columns a run."""
  metrics = [key for key in rows[0] if all(key in row for row in rows)]
  width = max(len(x) for x in (*metrics, name))
  head = [f'{name:<{width}}  {_letter(0):>6}']
  for n in range(1, len(rows)):
    title = f'{_letter(n)} - {_letter(0)}   (95 % interval)'
    head.append(f'{_letter(n):>6}  {title:<27}')
  lines = ['  '.join(head).rstrip()]
  for key in metrics:
    cells = [f'{key:<{width}}  {_percent(rows[0][key]):>6}']
    for n in range(1, len(rows)):
      step = steps[n - 1].get(key) if steps else None
      said = _difference(rows[0][key], rows[n][key], step)
      cells.append(f'{_percent(rows[n][key]):>6}  {said:<27}')
    lines.append('  '.join(cells).rstrip())
  return lines


def _difference(
    first: float, other: float, step: bootstrap.Difference | None
) -> str:
  if first < 0 or other < 0:
    return f'{"-":>6}'
  said = f'{100 * (other - first):>+6.1f}'
  if step is None:
    return said
  interval = f'({100 * step.low:+.1f} to {100 * step.high:+.1f})'
  return f'{said}  {interval:<17}{" *" * step.is_clear}'


def _percent(value: float) -> str:
  return '-' if value < 0 else f'{100 * value:.1f}'


def _letter(n: int) -> str:
  return chr(ord('A') + n) if n < 26 else f'run {n + 1}'


def main(argv: Sequence[str]):
  """Runs the command line."""
  options = flags.FLAGS
  print(compare(argv[1:], redraws=options.redraws, seed=options.seed))
  print('\n* the interval does not hold zero')


if __name__ == '__main__':
  flags.DEFINE_integer('redraws', 1000, 'Draws of the images.')
  flags.DEFINE_integer('seed', 0, 'Of the draws.')
  configuring.run(main, words=True)
