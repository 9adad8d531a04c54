"""Draws the metrics of runs as curves.

python -m glip_jax.tools.plot --runs=runs/a,runs/b --out=curves.png
"""

import pathlib
from collections.abc import Sequence

from absl import app, flags

from glip_jax import draw_curves
from glip_jax.errors import UserError
from glip_jax.training import metrics


def plot(runs: Sequence[str], out: str, names: Sequence[str]) -> None:
  """Writes one picture of all runs.

  Args:
    runs: work folders or `metrics.jsonl` files.
    out: path of a picture; its ending says which format.
    names: metrics, a panel each.

  Raises:
    UserError: a run has no metrics, or none of these.
  """
  records = {}
  for run in runs:
    path = pathlib.Path(run)
    path = path / metrics.FILE if path.is_dir() else path
    if not path.exists():
      raise UserError(
          f'runs: {str(path)!r} does not exist: give folders that training'
          ' wrote to, or metrics.jsonl files'
      )
    folder = path.parent if path.name == metrics.FILE else path
    records[folder.name if len(runs) > 1 else folder.stem] = (
        metrics.read_metrics(path)
    )
  draw_curves.plot_metrics(records, names).save(out)


def main(_: Sequence[str]) -> int:
  """Runs the command line; a user's error is one line and status 1."""
  options = flags.FLAGS
  try:
    plot(options.runs, options.out, options.metrics)
  except UserError as error:
    print(error)
    return 1
  print(f'wrote {options.out}')
  return 0


if __name__ == '__main__':
  flags.DEFINE_list(
      'runs',
      None,
      'Work folders (or metrics.jsonl files), each a curve.',
      required=True,
  )
  flags.DEFINE_string('out', 'curves.png', 'Picture to write.')
  flags.DEFINE_list(
      'metrics', ['loss', 'AP'], 'A panel each; AP also finds val/AP.'
  )
  app.run(main)
