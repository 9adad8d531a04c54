"""All evaluations of a config, and their results as numbers and as text."""

import sys
from collections.abc import Mapping
from typing import Any

import ml_collections
from etils import epath

from glip_jax import errors
from glip_jax.data import pipeline
from glip_jax.evaluators import detection, pictures, runner


def check(config: ml_collections.ConfigDict):
  """Refuses evaluations that could not run, before anything else does.

  Args:
    config: `evals` and `data` are read.

  Raises:
    UserError: a `type` or a field is unknown, a source cannot be opened or is
      empty, or the prompt of its classes does not fit.
  """
  for name, spec in config.evals.items():
    source, _ = runner.build(name, spec, config.data.get('bad_records', 'skip'))
    if not len(source):
      raise errors.UserError(
          f'evals.{name}.data has no records: give a source that has, or remove'
          ' the evaluation'
      )
    pipeline.check_prompt(source, pipeline.to_element(config.data))


def evaluate(
    config: ml_collections.ConfigDict,
    predict: runner.Predict,
    *,
    out: epath.PathLike | None = None,
    process_index: int = 0,
    process_count: int = 1,
    gather: runner.Gather = lambda value: [value],
) -> dict[str, runner.Result]:
  """Runs `config.evals`; writes numbers, predictions and pictures.

  Args:
    config: `evals` and `data` are read.
    predict: detections of a batch of this process, boxes in input pixels.
    out: folder for `metrics.json`, `<name>/predictions.json` (COCO's result
      format) and `<name>/pictures.png`; nothing is written without.
    process_index: which of the processes this is.
    process_count: number of processes that share the images.
    gather: as for `runner.run_evals`.

  Returns:
    The result of each evaluation, by name.
  """
  results = runner.run_evals(
      config.evals,
      predict,
      data=config.data,
      workdir=out,
      progress=show_progress if process_index == 0 else None,
      process_index=process_index,
      process_count=process_count,
      gather=gather,
  )
  if out is not None:
    for name, spec in config.evals.items():
      sheet = pictures.prediction_sheet(spec, predict, data=config.data)
      if process_index == 0:
        with (epath.Path(out) / name / 'pictures.png').open('wb') as file:
          sheet.save(file, format='PNG')
  return results


def scalars(results: Mapping[str, Any]) -> dict[str, float]:
  """Every number of every evaluation, as `<evaluation>/<metric>`."""
  return {
      f'{name}/{metric}': value
      for name, result in results.items()
      for metric, value in result.metrics.items()
  }


def headline(results: Mapping[str, runner.Result]) -> dict[str, float]:
  """What the best checkpoint is chosen by: AP on `val`, or else the first."""
  for name in sorted(results, key=lambda name: name != 'val'):
    if 'AP' in results[name].metrics:
      return {'AP': results[name].metrics['AP']}
  return {}


def tables(results: Mapping[str, Any], *, per_class: bool) -> str:
  """The tables of all evaluations, for a terminal."""
  parts = []
  for name, result in results.items():
    if isinstance(result, detection.CocoResult):
      text = detection.format_table(result, per_class=per_class)
    else:
      text = result.table()
    parts.append(f'{name}\n{text}')
  return '\n\n'.join(parts)


def show_progress(name: str, done: int, total: int):
  """One line on the terminal that counts images."""
  if sys.stderr.isatty():
    end = '\n' if done >= total else ''
    print(f'\r{name} {done}/{total}\x1b[K', end=end, file=sys.stderr)
