"""One loop for every evaluator: batches in, named results and files out."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from etils import epath

from glip_jax import types
from glip_jax.data import pipeline, sources
from glip_jax.errors import UserError
from glip_jax.evaluators import detection, grounding

EVALUATORS = {
    'detection': detection.DetectionEvaluator,
    'grounding': grounding.GroundingEvaluator,
}

Predict = Callable[[types.Batch], types.Detections]
# Called with the evaluation's name, images done and images in all.
Progress = Callable[[str, int, int], None]


class Result(Protocol):
  """What an evaluator reports."""

  @property
  def metrics(self) -> dict[str, float]:
    """Scalars for curves, by short name."""

  def to_json(self) -> dict[str, Any]:
    """Everything it knows, in plain values."""

  def table(self) -> str:
    """Text for a terminal."""


class Evaluator(Protocol):
  """What `EVALUATORS` builds from a source."""

  def add(self, batch: types.Batch, detections: types.Detections) -> None:
    """Takes the detections of one batch."""

  def predictions(self) -> list[dict[str, Any]]:
    """What was added, in original ids and pixels."""

  def result(self) -> Result:
    """Scores what was added."""


def run_evals(
    specs: Mapping[str, Mapping[str, Any]],
    predict: Predict,
    *,
    data: Mapping[str, Any],
    workdir: str | epath.PathLike | None = None,
    progress: Progress | None = None,
) -> dict[str, Result]:
  """Runs every evaluation of a config.

  Args:
    specs: by name: `type` (a key of `EVALUATORS`), `data` (a source spec),
      `batch_size`; whatever else it holds goes to the evaluator.
    predict: detections of a batch, boxes in input pixels. Batch n + 1 is
      asked for before the answer to batch n is read, so that a device works
      while the host does.
    data: `config.data`: canvas, tokens and workers of the pipeline.
    workdir: where `metrics.json` and `<name>/predictions.json` are written;
      nothing is written without.
    progress: told after every batch.

  Returns:
    The result of each evaluation, by name.

  Raises:
    UserError: a `type` is unknown, before anything runs.
  """
  for name, spec in specs.items():
    _check_type(name, spec)
  results = {}
  for name, spec in specs.items():
    source = sources.build_source(spec['data'])
    options = {
        key: value
        for key, value in spec.items()
        if key not in ('type', 'data', 'batch_size')
    }
    evaluator = EVALUATORS[spec['type']](source, **options)
    batches = pipeline.eval_batches(
        spec['data'], data, batch_size=spec['batch_size']
    )
    told = _tell(progress, name, len(source))
    results[name] = evaluate(evaluator, batches, predict, progress=told)
    if workdir is not None:
      path = epath.Path(workdir) / name / 'predictions.json'
      write_predictions(path, evaluator.predictions())
  if workdir is not None:
    write_metrics(epath.Path(workdir) / 'metrics.json', results)
  return results


def evaluate(
    evaluator: Evaluator,
    batches: Iterable[types.Batch],
    predict: Predict,
    *,
    progress: Callable[[int], None] | None = None,
) -> Result:
  """Feeds one evaluator.

  Args:
    evaluator: takes the detections.
    batches: what to detect in; padding rows have id -1.
    predict: as in `run_evals`.
    progress: told the number of images done, after every batch.
  """
  done = 0
  waiting = None
  for batch in batches:
    latest = (batch, predict(batch))
    if waiting is not None:
      evaluator.add(*waiting)
    waiting = latest
    done += int((batch.id >= 0).sum())
    if progress is not None:
      progress(done)
  if waiting is not None:
    evaluator.add(*waiting)
  return evaluator.result()


def write_metrics(
    path: str | epath.PathLike, results: Mapping[str, Result]
) -> None:
  """Writes `{name: result}` as JSON; -1 stands where there is no truth."""
  values = {name: result.to_json() for name, result in results.items()}
  _write_json(path, json.dumps(values, indent=2) + '\n')


def write_predictions(
    path: str | epath.PathLike, predictions: list[dict[str, Any]]
) -> None:
  """Writes rows as a JSON list, one row a line: COCO's result format."""
  rows = ',\n'.join(json.dumps(row) for row in predictions)
  _write_json(path, f'[\n{rows}\n]\n' if rows else '[]\n')


def _check_type(name: str, spec: Mapping[str, Any]) -> None:
  if spec['type'] not in EVALUATORS:
    raise UserError(
        f'evals.{name}.type={spec["type"]!r} is unknown: use one of'
        f' {sorted(EVALUATORS)}'
    )


def _tell(
    progress: Progress | None, name: str, total: int
) -> Callable[[int], None] | None:
  if progress is None:
    return None
  return lambda done: progress(name, done, total)


def _write_json(path: str | epath.PathLike, text: str) -> None:
  """Writes beside and renames: a reader never sees half a file."""
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  beside = path.with_name(path.name + '.tmp')
  beside.write_text(text)
  beside.replace(path)
