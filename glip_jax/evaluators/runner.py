"""One loop for every evaluator: batches in, named results and files out."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from etils import epath

from glip_jax import errors, storage
from glip_jax.data import pipeline, settings, specs
from glip_jax.data.sources import protocol, table
from glip_jax.evaluators import (
    chunked,
    detecting,
    detection,
    feeding,
    flickr30k,
    grounding,
    lvis,
    matches,
    odinw,
    protocols,
    referring,
    resuming,
    unknown,
    voc,
    written,
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


class Scored(NamedTuple):
  """An evaluation that is done.

  Attributes:
    name: of it.
    source: what it was made on.
    evaluator: that all processes' detections were given.
    result: its numbers.
    predictions: what was found.
    pace: of process 0, where it was measured.
  """

  name: str
  source: protocol.Source
  evaluator: protocols.Evaluator
  result: protocols.Result
  predictions: list[dict[str, Any]]
  pace: feeding.Pace | None


# Called in process 0 with each evaluation that is done.
Told = Callable[[Scored], None]


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
    told: Told | None = None,
    place: resuming.Place | None = None,
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
    told: hears of each evaluation, if there is a workdir.
    place: where what was found is kept until all is done, so that the next run
      goes on from it; nothing is kept without.

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
  results, writes, logs = {}, workdir is not None and process_index == 0, []
  for name, (source, evaluator) in evaluators.items():
    log, start = None, 0
    if place is not None:
      share = (process_index, process_count)
      log = _log(place, name, evals[name], source, data, share)
      start = min(gather(log.replay(evaluator)))
      logs.append(log)
    batches, detect = detecting.look(
        functools.partial(
            pipeline.eval_batches,
            source,
            data,
            batch_size=evals[name].batch_size,
            process_index=process_index,
            process_count=process_count,
            start=start,
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
    size = evals[name].batch_size
    heard = _tell(progress, name, len(source), process_count, start * size)
    pace = feeding.feed(evaluator, batches, detect, progress=heard, log=log)
    states = gather(evaluator.state())
    out = epath.Path(workdir) if writes else None
    score = functools.partial(
        _score, name, source, evaluator, states, pace, out, told
    )
    results[name] = on_first(score)
  results |= odinw.means(detection_data(evals), results)
  if workdir is not None:
    on_first(functools.partial(_write_metrics, workdir, results, writes))
  for log in logs:
    log.remove()
  return results


def detection_data(
    evals: Mapping[str, Evaluation],
) -> dict[str, specs.Spec]:
  """What each evaluation of COCO's AP is made on."""
  return {n: x.data for n, x in evals.items() if x.type == 'detection'}


def _log(
    place: resuming.Place,
    name: str,
    spec: Evaluation,
    source: protocol.Source,
    data: settings.Data,
    share: tuple[int, int],
) -> resuming.Log:
  """What keeps an evaluation, by all that decides what is found."""
  fields = dataclasses.asdict(spec), dataclasses.asdict(data)
  on = resuming.data_key(source, dataclasses.asdict(spec.data))
  return resuming.Log(place, name, resuming.digest(*fields, on), *share)


def _score(
    name: str,
    source: protocol.Source,
    evaluator: protocols.Evaluator,
    states: Iterable[Any],
    pace: feeding.Pace | None,
    out: epath.Path | None,
    told: Told | None,
) -> protocols.Result:
  """The result of what the evaluators of all processes were given."""
  for state in states:
    evaluator.merge(state)
  result = evaluator.result()
  if out is not None:
    predictions = evaluator.predictions()
    written.write_predictions(out / name / 'predictions.json', predictions)
    if hasattr(evaluator, 'matches'):
      content = evaluator.matches().to_bytes()
      storage.write_whole(out / name / matches.FILE, content)
    if told is not None:
      told(Scored(name, source, evaluator, result, predictions, pace))
  return result


def _write_metrics(
    workdir, results: Mapping[str, protocols.Result], writes: bool
):
  if writes:
    written.write_metrics(epath.Path(workdir) / 'metrics.json', results)


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
    progress: Progress | None,
    name: str,
    total: int,
    process_count: int,
    before: int,
) -> Callable[[int], None] | None:
  """`progress` for one evaluation, as if all processes went in step.

  Args:
    progress: of all.
    name: of the evaluation.
    total: number of its images.
    process_count: number of processes.
    before: images of this process that were done before.
  """
  if progress is None:
    return None
  return lambda done: progress(
      name, min((before + done) * process_count, total), total
  )
