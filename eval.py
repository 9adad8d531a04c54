"""Evaluates a checkpoint: restore, run config.evals, print, write.

  python eval.py --workdir=runs/shapes
  python eval.py --workdir=runs/shapes --step=best --per_class
  python eval.py --config=configs/shapes.py --workdir=runs/shapes \
      --config.evals.val.batch_size=8
  python eval.py --config=configs/coco.py:T --out=runs/glip_t \
      --weights=glip_tiny_model_o365_goldg_cc_sbu.pth \
      --config.evals.val.data.annotations=instances_val2017.json \
      --config.evals.val.data.images=val2017

The last one needs no training run: --weights takes released files as they are,
and names of released models, `--weights=glip_t` (docs/weights.md).
`--expect='val/AP=46.6+-0.2'` fails, with status 1 and one line, where a number
of the tables is off.

Any number of devices will do, whatever the checkpoint was written on; several
processes need a --config with `distributed=True`. Writes `metrics.json`,
`report.html` and, for each evaluation, `<name>/predictions.json` (COCO's result
format), `<name>/predictions.png` (truth beside predictions) and, where boxes
are matched, `<name>/matches.npz` (for glip_jax.tools.compare). One that is
interrupted goes on where it stopped when it is started again.
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags
from etils import epath
from ml_collections import config_flags

from glip_jax import configuring, errors, loading, run, serving, storage
from glip_jax.detectors import recipe as recipes
from glip_jax.evaluators import evaluation, expected, resuming
from glip_jax.ops import forms
from glip_jax.report import writing
from glip_jax.text import tokenizer
from glip_jax.training import (
    checkpoint_files,
    checksums,
    processes,
    runtime,
    sharding,
)
from glip_jax.weights import released

CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Config file; by default what the workdir was trained with.'
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a training run.')
WEIGHTS = flags.DEFINE_string(
    'weights',
    None,
    'Released model or file of weights to evaluate, instead of a workdir.',
)
EMA = flags.DEFINE_bool(
    'ema', False, 'Evaluate the average that the file of weights holds.'
)
STEP = flags.DEFINE_string('step', 'latest', 'latest, best, or a number.')
OUT = flags.DEFINE_string('out', '', 'Where to write; <workdir>/eval if empty.')
TOKENIZER = flags.DEFINE_string(
    'tokenizer', None, 'Name or path, instead of what the workdir says.'
)
_REMEDY = '--config=configs/coco.py:{}'
EXPECT = flags.DEFINE_string(
    'expect',
    '',
    "Percent that must be met, as 'val/AP=46.6+-0.2'; several by commas.",
)
PER_CLASS = flags.DEFINE_bool('per_class', False, 'Print a line per class.')


def _mesh(config: run.Run) -> jax.sharding.Mesh:
  """The mesh of a given --config, else as many devices as batches divide by."""
  if CONFIG.value is not None:
    return sharding.make_mesh(dataclasses.asdict(config.mesh))
  devices = jax.devices()
  if jax.process_count() == 1:
    sizes = [spec.batch_size for spec in config.evals.values()]
    devices = devices[: math.gcd(len(devices), *sizes)]
  return sharding.make_mesh({'data': -1}, devices)


def _out() -> epath.Path:
  """Where to write; what is wrong with the flags comes as a UserError."""
  if not WORKDIR.value and not WEIGHTS.value:
    raise errors.UserError(
        '--workdir is missing: give that of a training run, or a file of'
        ' --weights'
    )
  errors.check_no_url('--workdir', WORKDIR.value, buckets=True)
  errors.check_no_url('--weights', WEIGHTS.value)
  errors.check_no_url('--out', OUT.value, buckets=True)
  if WORKDIR.value and WEIGHTS.value:
    raise errors.UserError('--workdir and --weights: give one of the two')
  if WEIGHTS.value and CONFIG.value is None:
    raise errors.UserError(
        '--config is missing: say what --weights are of, for example'
        ' --config=configs/coco.py:T'
    )
  if WEIGHTS.value and flags.FLAGS['step'].present:
    raise errors.UserError(
        f'--step={STEP.value} is of a --workdir, a file of weights has none:'
        ' leave it out'
    )
  if WORKDIR.value and EMA.value:
    raise errors.UserError(
        '--ema is of --weights: a --workdir that keeps an average is evaluated'
        ' with it; leave it out'
    )
  if TOKENIZER.value is not None and CONFIG.value is not None:
    raise errors.UserError(
        f'--tokenizer={TOKENIZER.value} is of a --workdir without --config:'
        f' give --config.data.tokenizer={TOKENIZER.value}'
    )
  if OUT.value:
    return epath.Path(OUT.value).expanduser()
  if WORKDIR.value:
    return epath.Path(WORKDIR.value).expanduser() / 'eval'
  return epath.Path('runs') / epath.Path(WEIGHTS.value).stem / 'eval'


@dataclasses.dataclass
class _Checkpoint:
  """A checkpoint that the flags name.

  Attributes:
    folder: of it; of another, once it was read in the place of a damaged one.
  """

  folder: epath.Path

  def __str__(self) -> str:
    return str(self.folder)

  def read(self, shapes: Any) -> Any:
    """The parameters."""
    workdir = epath.Path(WORKDIR.value).expanduser()
    self.folder, params = checkpoint_files.restore(workdir, shapes, STEP.value)
    return params


def _source() -> loading.File | _Checkpoint:
  """The file of weights or the checkpoint that the flags name."""
  if WEIGHTS.value:
    return loading.find(WEIGHTS.value, remedy=_REMEDY).check()
  workdir = epath.Path(WORKDIR.value).expanduser()
  return _Checkpoint(checkpoint_files.find(workdir, STEP.value))


def _read_params(
    recipe: recipes.Recipe, source: loading.File | _Checkpoint, shapes: Any
) -> Any:
  """The parameters that the flags name, of a file or of a checkpoint."""
  if isinstance(source, loading.File):
    return source.read(shapes, recipe, ema=EMA.value)
  return source.read(shapes)


def _config() -> run.Run:
  """The given config, or that of the workdir."""
  if CONFIG.value is not None:
    return run.read(CONFIG.value)
  workdir = epath.Path(WORKDIR.value).expanduser()
  return loading.stored_config(workdir, TOKENIZER.value)


def main(_: Sequence[str]):
  out = _out()
  if WORKDIR.value:
    storage.check_readable('workdir', WORKDIR.value)
  storage.check_address('out', out)
  storage.check_folder('out', out)
  # What is not there is told before anything is fetched or opened.
  if WEIGHTS.value in released.RELEASED:
    evals = _config().evals
    expected.read(EXPECT.value, evals)
    evaluation.check_places(evals)
  source = _source()
  config = _config()
  expectations = expected.read(EXPECT.value, config.evals)
  evaluation.check_places(config.evals)
  storage.check_out('out', out / 'metrics.json')
  for name in config.evals:
    storage.check_folder('out', out / name)
  runtime.start(
      distributed=config.distributed,
      compilation_cache=config.compilation_cache,
  )
  with forms.use(**dataclasses.asdict(config.forms)):
    results = _evaluate(config, source, out)
  if jax.process_index() == 0:
    print(f'checkpoint {source}\n')
    print(evaluation.tables(results, per_class=PER_CLASS.value))
    print(f'\nreport.html, metrics and predictions are in {out}')
  expected.check(expectations, results)


def _evaluate(
    config: run.Run, source: loading.File | _Checkpoint, out: epath.Path
) -> Mapping[str, Any]:
  recipe = recipes.build(config.model)
  mesh = _mesh(config)
  sharding.check_eval_batches(config.evals, mesh)
  recipe.check_prompts(
      num_tokens=config.data.num_tokens,
      vocab_size=len(tokenizer.load_tokenizer(config.data.tokenizer)),
  )
  sources = evaluation.open_sources(config.evals, config.data)
  detector = serving.load(
      recipe,
      functools.partial(_read_params, recipe, source),
      mesh,
      data=config.data,
      table=config.sharding,
  )
  report = writing.Report(config.evals)
  results = evaluation.evaluate(
      config.evals,
      detector,
      data=config.data,
      sources=sources,
      out=out,
      gather=processes.gather,
      on_first=processes.on_first,
      told=report.add,
      place=_place(config, detector, out),
      **runtime.share(),
  )
  if jax.process_index() == 0:
    facts = _facts(config, source, detector)
    title = (
        f'Evaluation of {out.parent.name if out.name == "eval" else out.name}'
    )
    report.write(out / writing.FILE, title=title, facts=facts, results=results)
  return results


def _place(
    config: run.Run, detector: serving.Detector, out: epath.Path
) -> resuming.Place:
  """Where an evaluation goes on, by all that decides what is found."""
  sums = {k: x.checksum for k, x in checksums.sums(detector.params).items()}
  key = resuming.digest(
      sums, dataclasses.asdict(config), resuming.program(), jax.__version__
  )
  return resuming.Place(out, key)


def _facts(
    config: run.Run,
    source: loading.File | _Checkpoint,
    detector: serving.Detector,
) -> list[tuple[str, str]]:
  """What was evaluated and by what, for the report."""
  number = sum(x.size for x in jax.tree.leaves(detector.params))
  devices = jax.devices()
  return [
      ('checkpoint', str(source)),
      ('model', f'{config.model.family}, {number:,} parameters'),
      ('devices', f'{len(devices)} of {devices[0].device_kind}'),
      ('versions', writing.versions()),
  ]


if __name__ == '__main__':
  configuring.run(main)
