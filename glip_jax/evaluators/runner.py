"""One loop for every evaluator: batches in, named results and files out."""

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from etils import epath

from glip_jax import errors, types
from glip_jax.data import pipeline, settings, specs
from glip_jax.data.sources import protocol, table
from glip_jax.evaluators import (
    chunked,
    detecting,
    detection,
    flickr30k,
    grounding,
    lvis,
    matches,
    odinw,
    protocols,
    referring,
    unknown,
    voc,
)
from glip_jax.evaluators import views as views_lib
from glip_jax.fields import field, part

EVALUATORS = {
    'detection': detection.DetectionEvaluator,
    'lvis': lvis.LvisEvaluator,
    'voc': voc.VocEvaluator,
    'grounding': grounding.GroundingEvaluator,
    'flickr30k': flickr30k.Flickr30kEvaluator,
    'referring': referring.ReferringEvaluator,
    'unknown': unknown.UnknownEvaluator,
}

# Called with the evaluation's name, images done and images in all.
Progress = Callable[[str, int, int], None]
# Called with a value of this process; returns those of all processes.
Gather = Callable[[Any], list[Any]]
# Called with a function; returns what it gives in process 0, which alone calls.
OnFirst = Callable[[Callable[[], Any]], Any]


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """One of `config.evals`: what is measured, and on what."""

  type: str = field('detection', 'evaluator', choices=tuple(EVALUATORS))
  batch_size: int = field(
      16, 'images of one process at a time', least=1, most=2**20
  )
  data: specs.Spec = part(specs.Spec)
  views: views_lib.Views = part(views_lib.Views)
  target: str = field(
      'all', 'grounding: judged phrases of a caption', choices=grounding.TARGETS
  )
  min_iou: float = field(
      0.5,
      'flickr30k, grounding, referring, unknown: overlap from which a box is'
      ' right',
      above=0,
      most=1,
  )
  min_score: float = field(
      0.5,
      'referring, unknown: from which a detection counts as shown',
      least=0,
      most=1,
  )


def run_evals(
    evals: Mapping[str, Evaluation],
    detector: protocols.Detector,
    *,
    data: settings.Config,
    sources: Mapping[str, protocol.Source] | None = None,
    workdir: str | epath.PathLike | None = None,
    progress: Progress | None = None,
    process_index: int = 0,
    process_count: int = 1,
    gather: Gather = lambda value: [value],
    on_first: OnFirst = lambda compute: compute(),
) -> dict[str, protocols.Result]:
  """Runs every evaluation of a config.

  Args:
    evals: by name; `batch_size` counts the rows of one process.
    detector: finds what is named. Batch n + 1 is asked for before the answer to
      batch n is read, so that a device works while the host does.
    data: `config.data`: canvas, tokens and workers of the pipeline.
    sources: those of the evaluations where they are open already.
    workdir: where process 0 writes `metrics.json`,
      `<name>/predictions.json` and, where boxes are matched,
      `<name>/matches.npz`; nothing is written without.
    progress: told after every batch.
    process_index: which of the processes this is.
    process_count: number of processes that share the images.
    gather: joins the processes, e.g. `processes.gather`.
    on_first: has process 0 score and write, and tell the others, who return
      the same or fail alike, e.g. `processes.on_first`.

  Returns:
    The result of each evaluation, by name, and the means over sets of ODinW.

  Raises:
    UserError: a source cannot be opened or is of another kind, before anything
      is evaluated.
  """
  data, sources = settings.read_data(data), sources or {}
  evaluators = {
      name: build(
          name,
          spec,
          source=sources.get(name),
          bad_records=data.bad_records,
      )
      for name, spec in evals.items()
  }
  results, writes = {}, workdir is not None and process_index == 0
  for name, (source, evaluator) in evaluators.items():
    batches, detect = detecting.look(
        functools.partial(
            pipeline.eval_batches,
            source,
            data,
            batch_size=evals[name].batch_size,
            process_index=process_index,
            process_count=process_count,
        ),
        functools.partial(
            detecting.detect_in,
            source,
            data=data,
            most=getattr(evaluator, 'detections_per_image', chunked.MOST),
        ),
        detector,
        evals[name].views,
    )
    told = _tell(progress, name, len(source), process_count)
    feed(evaluator, batches, detect, progress=told)
    states = gather(evaluator.state())
    out = epath.Path(workdir) if writes else None
    results[name] = on_first(
        functools.partial(_score, name, evaluator, states, out)
    )
  results |= odinw.means(detection_data(evals), results)
  if workdir is not None:
    on_first(functools.partial(_write_metrics, workdir, results, writes))
  return results


def detection_data(
    evals: Mapping[str, Evaluation],
) -> dict[str, specs.Spec]:
  """What each evaluation of COCO's AP is made on."""
  return {n: x.data for n, x in evals.items() if x.type == 'detection'}


def _score(
    name: str,
    evaluator: protocols.Evaluator,
    states: Iterable[Any],
    out: epath.Path | None,
) -> protocols.Result:
  """The result of what the evaluators of all processes were given."""
  for state in states:
    evaluator.merge(state)
  result = evaluator.result()
  if out is not None:
    path = out / name / 'predictions.json'
    write_predictions(path, evaluator.predictions())
    if hasattr(evaluator, 'matches'):
      content = evaluator.matches().to_bytes()
      _write_whole(out / name / matches.FILE, content)
  return result


def _write_metrics(
    workdir, results: Mapping[str, protocols.Result], writes: bool
):
  if writes:
    write_metrics(epath.Path(workdir) / 'metrics.json', results)


def feed(
    evaluator: protocols.Evaluator,
    batches: Iterable[types.Batch],
    detect: detecting.Detect,
    *,
    progress: Callable[[int], None] | None = None,
) -> None:
  """Gives one evaluator what is found in batches.

  Args:
    evaluator: takes the detections.
    batches: what to detect in; padding rows have id -1.
    detect: detections of a batch, as in `run_evals`.
    progress: told the number of images done, after every batch.
  """
  done = 0
  waiting = None
  for batch in batches:
    latest = (batch, detect(batch))
    if waiting is not None:
      evaluator.add(*waiting)
    waiting = latest
    done += int((batch.id >= 0).sum())
    if progress is not None:
      progress(done)
  if waiting is not None:
    evaluator.add(*waiting)


def write_metrics(
    path: str | epath.PathLike, results: Mapping[str, protocols.Result]
) -> None:
  """Writes `{name: result}` as JSON; -1 stands where there is no truth."""
  values = {name: result.to_json() for name, result in results.items()}
  _write_whole(path, f'{json.dumps(values, indent=2)}\n'.encode())


def write_predictions(
    path: str | epath.PathLike, predictions: list[dict[str, Any]]
) -> None:
  """Writes rows as a JSON list, one row a line: COCO's result format."""
  rows = ',\n'.join(json.dumps(row) for row in predictions)
  _write_whole(path, (f'[\n{rows}\n]\n' if rows else '[]\n').encode())


def build(
    name: str,
    spec: Evaluation,
    *,
    source: protocol.Source | None = None,
    bad_records: str = 'skip',
) -> tuple[protocol.Source, protocols.Evaluator]:
  """The source and the evaluator of an evaluation.

  Args:
    name: of the evaluation.
    spec: what it is.
    source: the spec's, if it is open already.
    bad_records: for the source, if it is not.

  Raises:
    UserError: the source cannot be opened, or is none for this evaluator.
  """
  what = f'evals.{name}'
  make = EVALUATORS[spec.type]
  # The evaluator's own fields; those of others are not looked at.
  options = {
      key: getattr(spec, key)
      for key in list(inspect.signature(make).parameters)[1:]
  }
  if source is None:
    place = f'{what}.data'
    opened = table.open_source(spec.data, bad_records=bad_records, what=place)
    source = protocol.evaluated(opened)
  with errors.naming(what):
    return source, make(source, **options)


def _tell(
    progress: Progress | None, name: str, total: int, process_count: int
) -> Callable[[int], None] | None:
  """`progress` for one evaluation, as if all processes went in step."""
  if progress is None:
    return None
  return lambda done: progress(name, min(done * process_count, total), total)


def _write_whole(path: str | epath.PathLike, content: bytes) -> None:
  """Writes beside and renames: a reader never sees half a file."""
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  beside = path.with_name(path.name + '.tmp')
  try:
    beside.write_bytes(content)
    beside.replace(path)
  finally:
    beside.unlink(missing_ok=True)
