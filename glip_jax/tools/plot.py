"""Draws the metrics of runs as curves.

python -m glip_jax.tools.plot --runs=runs/a,runs/b --out=curves.png
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import pathlib
from collections.abc import Sequence

from absl import flags

from glip_jax import configuring, draw_curves, errors, storage
from glip_jax.training import metrics


def plot(
    runs: Sequence[str], out: str, names: Sequence[str], over: str = 'steps'
) -> None:
  """Writes one image of all runs.

  Args:
    runs: work folders or `metrics.jsonl` files.
    out: path of an image; its ending says which format.
    names: metrics, a panel each.
    over: 'steps', or 'images': steps times the batch size that the
      `config.json` beside the metrics holds.

  Raises:
    UserError: a run has no metrics, or none of these, or no config where it is
      drawn over images.
  """
  target = pathlib.Path(out).expanduser()
  if target.suffix.lower() not in ('.png', '.jpg', '.jpeg', '.webp'):
    raise errors.UserError(f'out={out!r} is no image: let it end in .png, say')
  storage.check_out('out', target)
  if not runs:
    raise errors.UserError(
        '--runs is empty: give folders that training wrote to'
    )
  records, batch_sizes = {}, {}
  for run in runs:
    errors.check_no_url('runs', run)
    path = pathlib.Path(run).expanduser()
    path = path / metrics.FILE if path.is_dir() else path
    if not path.exists():
      raise errors.UserError(
          f'runs: {str(path)!r} does not exist: give folders that training'
          ' wrote to, or metrics.jsonl files'
      )
    folder = path.parent if path.name == metrics.FILE else path
    name = folder.name if folder.name not in records else str(folder)
    records[name] = metrics.read_metrics(path)
    if over == 'images':
      batch_sizes[name] = _batch_size(path.parent)
  figure = draw_curves.plot_metrics(records, names, batch_sizes or None)
  target.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(target)


def _batch_size(workdir: pathlib.Path) -> int:
  """That a run was trained with."""
  size = configuring.load(workdir).get('batch_size')
  if type(size) is not int or size < 1:
    raise errors.UserError(
        f'{workdir}/{configuring.CONFIG_FILE} says batch_size={size!r:.40}:'
        ' draw it --over=steps'
    )
  return size


def main(_: Sequence[str]):
  """Runs the command line."""
  options = flags.FLAGS
  plot(options.runs, options.out, options.metrics, options.over)
  print(f'wrote {options.out}')


if __name__ == '__main__':
  flags.DEFINE_list(
      'runs',
      None,
      'Work folders (or metrics.jsonl files), each a curve.',
      required=True,
  )
  flags.DEFINE_string('out', 'curves.png', 'Image to write.')
  flags.DEFINE_list(
      'metrics', ['loss', 'AP'], 'A panel each; AP also finds val/AP.'
  )
  flags.DEFINE_enum(
      'over', 'steps', ['steps', 'images'], 'What is on the horizontal axis.'
  )
  configuring.run(main)
