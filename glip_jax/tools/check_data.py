"""Looks at all data of a config: faults, statistics, padding, samples.

  python -m glip_jax.tools.check_data --config=configs/finetune.py \
      --config.data.train.annotations=my/train.json \
      --config.data.train.images=my/images --out=checked

Reads every record of training, of its curriculum and of the evaluations, in
worker processes. Prints each fault with its record and what to do about it,
statistics, and the padding that `config.data.buckets` leave; with --out writes
`report.txt`, `report.json` and a sheet of samples of each source, as they reach
the model. Exits with 1 where there are faults (docs/checking.md).
"""

import functools
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags, logging
from ml_collections import config_flags

from glip_jax import configuring, errors, run, storage
from glip_jax.data import canvases, checking
from glip_jax.data.findings import Fault, Findings
from glip_jax.data.settings import Data
from glip_jax.data.sources import table
from glip_jax.data.sources.protocol import is_detection
from glip_jax.data.specs import Spec
from glip_jax.data.training_sources import Opened
from glip_jax.tools import check_report, config_sources, progress, samples

# Fewer records are read before workers would have started.
_WORTH_WORKERS = 4000
_SUGGESTED = 3, 5
# Faults of a kind that are printed; the files have all.
_LISTED = 20


def check(
    config: run.Run,
    *,
    out: pathlib.Path | None = None,
    num_workers: int | None = None,
    num_records: int = 0,
    num_samples: int = 6,
    show: progress.Bars | None = None,
) -> dict[str, Any]:
  """Looks at all data of a config.

  Args:
    config: what is trained and evaluated.
    out: folder for sheets of samples; None for none.
    num_workers: processes that read; None for as many as there are cores, where
      there are many records.
    num_records: at most so many of each source, evenly spread; 0 for all.
    num_samples: on a sheet.
    show: where it is told how far it is.

  Returns:
    The report, in plain values.
  """
  sources, sizes = {}, {}
  for name, spec in config_sources.sources(config).items():
    if not spec.weight:
      continue
    trains = not name.startswith('evals.')
    opened, faults, notes = _open(name, spec)
    found = Findings(faults=faults)
    if opened is not None:
      checked, of_names = checking.check_vocabulary(
          opened, config.data, trains=trains
      )
      found.add(of_names)
      indices = _spread(len(opened.source), num_records)
      for some in _walk(name, checked, indices, num_workers, show):
        found.add(some)
      if total := found.sizes.total():
        share = opened.share if trains else 1.0
        sizes[name] = {s: share * n / total for s, n in found.sizes.items()}
      # Without a prompt that can be used there is no sample.
      if out is not None and total and not of_names.faults:
        path = out / f'{name}.png'
        samples.write(path, opened, config.data, num_samples, trains=trains)
    sources[name] = _told(opened, found, notes)
  trained = {n: s for n, s in sizes.items() if n.startswith('train')} or sizes
  faults = [fault for told in sources.values() for fault in told['faults']]
  return {
      'num_faults': sum(fault['count'] for fault in faults),
      'sources': sources,
      'padding': _padding(config.data, list(trained.values())),
  }


def _open(
    name: str, spec: Spec
) -> tuple[Opened | None, list[Fault], dict[str, list[str]]]:
  """A source, the faults of its files, and what of them was mended."""
  try:
    source = table.open_source(spec, bad_records='skip', what=name)
  except errors.UserError as error:
    fault = Fault('source that cannot be opened', '', str(error))
    return None, [fault], {}
  report = getattr(source, 'report', None)
  if report is None:
    return Opened(source, spec), [], {}
  notes = {
      f'{report.counts[kind]} x {kind}': report.names[kind]
      for kind in report.counts
      if kind not in report.faults
  }
  return Opened(source, spec), checking.of_report(report), notes


def _spread(count: int, most: int) -> list[int]:
  """Records that are looked at: all, or so many of them."""
  limit = min(most or count, count)
  return [n * count // limit for n in range(limit)]


def _walk(
    name: str,
    checked: checking.Checked,
    indices: Sequence[int],
    num_workers: int | None,
    show: progress.Bars | None,
) -> Iterator[Findings]:
  """What is found in the records of a source."""
  if num_workers is None:
    many = len(indices) >= _WORTH_WORKERS
    num_workers = (os.cpu_count() or 1) if many else 0
  for done, found in checking.check_records(checked, indices, num_workers):
    yield found
    if show is not None:
      show(name, done, len(indices))


def _told(
    opened: Opened | None, found: Findings, notes: dict[str, list[str]]
) -> dict[str, Any]:
  """What the report says of a source."""
  told: dict[str, Any] = {
      'faults': [fault._asdict() for fault in found.faults],
      'notes': notes,
  }
  if opened is None:
    return told
  is_known = is_detection(opened.source)
  names = opened.source.names if is_known else ()
  return told | {
      'records': len(opened.source),
      'kind': 'detection' if is_known else 'grounding',
      **found.statistics(names),
  }


def _padding(data: Data, sizes: Sequence[canvases.Sizes]) -> dict[str, Any]:
  """The padding of the config's buckets, and of some that are suggested."""
  together: dict[canvases.Size, float] = {}
  for own in sizes:
    for size, count in own.items():
      together[size] = together.get(size, 0) + count
  if not together:
    return {}
  told = {'now': _wasted(data, together)}
  for count in _SUGGESTED:
    found = canvases.suggest(data, together, count)
    told[f'best_{count}'] = _wasted(
        canvases.with_canvases(data, found), together
    )
  return told


def _wasted(data: Data, sizes: canvases.Sizes) -> dict[str, Any]:
  """What the buckets of a config waste."""
  buckets = data.buckets or ((*data.image_size, data.num_tokens),)
  return {'buckets': buckets, **canvases.wasted(data, sizes)._asdict()}


def main(_: Sequence[str]):
  """Runs the command line."""
  options = flags.FLAGS
  if options.config is None:
    raise errors.UserError('--config is missing: give the config to look at')
  out = _out(options.out)
  config = run.read(options.config)
  logging.set_verbosity(logging.ERROR)  # The report says it all.
  bars = progress.Bars()
  try:
    report = check(
        config,
        out=out,
        num_workers=options.num_workers,
        num_records=options.num_records,
        show=bars,
    )
  finally:
    bars.close()
  print(check_report.text(report, most=_LISTED, whole='report.json of --out'))
  if out is not None:
    (out / 'report.txt').write_text(check_report.text(report) + '\n')
    (out / 'report.json').write_text(json.dumps(report, indent=1) + '\n')
    print(f'\nreport and samples are in {out}')
  if report['num_faults']:
    sys.exit(1)


def _out(path: str | None) -> pathlib.Path | None:
  """The folder to write to, made if it is missing."""
  if not path:
    return None
  errors.check_no_url('--out', path)
  out = pathlib.Path(path).expanduser()
  storage.check_folder('--out', out)
  out.mkdir(parents=True, exist_ok=True)
  return out


def _define_flags(values: flags.FlagValues = flags.FLAGS):
  integer = functools.partial(flags.DEFINE_integer, flag_values=values)
  config_flags.DEFINE_config_file(
      'config', None, 'Config whose data is looked at.', flag_values=values
  )
  flags.DEFINE_string(
      'out', None, 'Folder for report and samples.', flag_values=values
  )
  integer(
      'num_workers',
      None,
      'Processes that read; by default as many as cores for many records.',
      lower_bound=0,
  )
  integer(
      'num_records',
      0,
      'Records of each source, evenly spread; 0 for all.',
      lower_bound=0,
  )


if __name__ == '__main__':
  _define_flags()
  configuring.run(main)
