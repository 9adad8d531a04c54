"""All evaluations of a config, and their results as numbers and as text."""

import functools
import sys
from collections.abc import Mapping

from etils import epath
from PIL import Image

from glip_jax import errors
from glip_jax.data import settings, vocabularies
from glip_jax.data.sources import protocol, table
from glip_jax.evaluators import detecting, protocols, resuming, runner, sheets


def check_places(evals: Mapping[str, runner.Evaluation]) -> None:
  """Refuses evaluations on files that are not there, before any is read.

  Raises:
    UserError: as `open_sources`.
  """
  table.check_places({f'evals.{n}.data': x.data for n, x in evals.items()})


def open_sources(
    evals: Mapping[str, runner.Evaluation], data: settings.Config
) -> dict[str, protocol.Source]:
  """Opens what is evaluated on; refuses evaluations that could not run.

  Args:
    evals: by name.
    data: `config.data`.

  Returns:
    The source of each evaluation, by name.

  Raises:
    UserError: a source cannot be opened, is empty or not of the evaluation's
      kind, or a model cannot read its classes
      (`vocabularies.check_evaluated`).
  """
  data, sources = settings.read_data(data), {}
  for name, spec in evals.items():
    source, _ = runner.build(name, spec, bad_records=data.bad_records)
    if not len(source):
      raise errors.UserError(
          f'evals.{name}.data has no records: give a source that has, or remove'
          ' the evaluation'
      )
    with errors.naming(f'evals.{name}.data'):
      _check_objects(source)
      vocabularies.check_evaluated(source, data)
    sources[name] = source
  return sources


def _check_objects(source: protocol.Source) -> None:
  """Refuses a truth of crowds alone, where that is known at once."""
  if protocol.num_boxes(source) is not None:
    return  # Looked at when it was opened.
  seen = protocol.look_for_object(source)
  whole = seen.records == len(source)
  if whole and seen.crowds and not seen.is_object:
    raise errors.UserError(
        f'of {seen.crowds} boxes none shows an object, all are crowds: give a'
        ' set with objects of the classes in use'
    )


def evaluate(
    evals: Mapping[str, runner.Evaluation],
    detector: protocols.Detector,
    *,
    data: settings.Config,
    sources: Mapping[str, protocol.Source],
    out: epath.PathLike | None = None,
    process_index: int = 0,
    process_count: int = 1,
    gather: runner.Gather = lambda value: [value],
    on_first: runner.OnFirst = lambda compute: compute(),
    told: runner.Told | None = None,
    place: resuming.Place | None = None,
) -> dict[str, protocols.Result]:
  """Runs `config.evals`; writes numbers, predictions and drawn images.

  Args:
    evals: by name.
    detector: finds what is named.
    data: `config.data`.
    sources: from `open_sources`.
    out: folder for `metrics.json`, `<name>/predictions.json` (COCO's result
      format) and `<name>/predictions.png`; nothing is written without.
    process_index: which of the processes this is.
    process_count: number of processes that share the images.
    gather: as for `runner.run_evals`.
    on_first: as for `runner.run_evals`.
    told: as for `runner.run_evals`.
    place: as for `runner.run_evals`.

  Returns:
    The result of each evaluation, by name.
  """
  results = runner.run_evals(
      evals,
      detector,
      data=data,
      sources=sources,
      workdir=out,
      progress=show_progress if process_index == 0 else None,
      process_index=process_index,
      process_count=process_count,
      gather=gather,
      on_first=on_first,
      told=told,
      place=place,
  )
  if out is not None:
    for name, spec in evals.items():
      sheet = sheets.prediction_sheet(
          sources[name],
          detecting.detect_in(sources[name], detector, data),
          data=data,
          batch_size=spec.batch_size,
      )
      path = epath.Path(out) / name / 'predictions.png'
      on_first(functools.partial(_write_sheet, sheet, path, process_index == 0))
  return results


def _write_sheet(sheet: Image.Image, path: epath.Path, writes: bool):
  if writes:
    with path.open('wb') as file:
      sheet.save(file, format='PNG')


def scalars(results: Mapping[str, protocols.Result]) -> dict[str, float]:
  """Every number of every evaluation, as `<evaluation>/<metric>`."""
  return {
      f'{name}/{metric}': value
      for name, result in results.items()
      for metric, value in result.metrics.items()
  }


def headline(
    results: Mapping[str, protocols.Result], best: str = ''
) -> dict[str, float]:
  """What the best checkpoint is chosen by.

  Args:
    results: by name.
    best: `config.best`, such as 'val/AP'; empty for the AP of `val`, or else
      that of the first evaluation that has one.

  Returns:
    The number under 'best', or 'AP' where `best` is empty; nothing if it was
    not measured, or there was nothing to be found.
  """
  if best:
    name, _, metric = best.partition('/')
    value = results[name].metrics.get(metric, -1.0)
    return {'best': value} if value >= 0 else {}
  for name in sorted(results, key=lambda name: name != 'val'):
    if results[name].metrics.get('AP', -1.0) >= 0:
      return {'AP': results[name].metrics['AP']}
  return {}


def tables(results: Mapping[str, protocols.Result], *, per_class: bool) -> str:
  """The tables of all evaluations, for a terminal."""
  return '\n\n'.join(
      f'{name}\n{result.table(per_class=per_class)}'
      for name, result in results.items()
  )


def show_progress(name: str, done: int, total: int):
  """One line on the terminal that counts images."""
  if sys.stderr.isatty():
    end = '\n' if done >= total else ''
    print(f'\r{name} {done}/{total}\x1b[K', end=end, file=sys.stderr)
