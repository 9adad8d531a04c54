"""Evaluates a checkpoint: restore, run config.evals, print, write.

  python eval.py --workdir=runs/shapes
  python eval.py --workdir=runs/shapes --step=best --per_class
  python eval.py --config=configs/shapes.py --workdir=runs/shapes \
      --config.evals.val.batch_size=8

Any number of devices will do, whatever the checkpoint was written on; several
processes need a --config with `distributed=True`. Writes
`metrics.json` and, for each evaluation, `<name>/predictions.json` (COCO's
result format) and `<name>/pictures.png` (truth beside predictions).
"""

import math
from collections.abc import Sequence

import jax
import ml_collections
from absl import flags
from etils import epath
from ml_collections import config_flags

from glip_jax import configuring, errors
from glip_jax.evaluators import evaluation
from glip_jax.models import build
from glip_jax.text import tokenizer
from glip_jax.training import processes, runtime, serving, sharding, stored

CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Config file; by default what the workdir was trained with.'
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a training run.')
STEP = flags.DEFINE_string('step', 'latest', 'latest, best, or a number.')
OUT = flags.DEFINE_string('out', '', 'Where to write; <workdir>/eval if empty.')
PER_CLASS = flags.DEFINE_bool('per_class', False, 'Print a line per class.')


def _mesh(config: ml_collections.ConfigDict) -> jax.sharding.Mesh:
  """The mesh of a given --config, else as many devices as batches divide by."""
  if CONFIG.value is not None:
    return sharding.make_mesh(config.mesh)
  devices = jax.devices()
  if jax.process_count() == 1:
    sizes = [spec.batch_size for spec in config.evals.values()]
    devices = devices[: math.gcd(len(devices), *sizes)]
  return sharding.make_mesh({'data': -1}, devices)


def main(_: Sequence[str]):
  if not WORKDIR.value:
    raise errors.UserError('--workdir is missing: give that of a training run')
  workdir = epath.Path(WORKDIR.value).expanduser()
  folder = stored.find(workdir, STEP.value)
  out = epath.Path(OUT.value or workdir / 'eval').expanduser()
  configuring.check_folder('out', out)
  config = CONFIG.value
  if config is None:
    config = configuring.load(workdir)
    # Where a run was trained says nothing of where it is evaluated.
    config.distributed = None
  runtime.start(config)
  recipe = build.build(config.model)
  mesh = _mesh(config)
  sharding.check_eval_batches(config.evals, mesh)
  build.check_prompts(
      config.model,
      num_tokens=config.data.num_tokens,
      vocab_size=len(tokenizer.load_tokenizer(config.data.tokenizer)),
  )
  sources = evaluation.open_sources(config)
  predict = serving.restore_predict(
      recipe, folder, mesh, data=config.data, table=config.sharding
  )
  results = evaluation.evaluate(
      config,
      predict,
      sources=sources,
      out=out,
      gather=processes.gather,
      **runtime.share(),
  )
  if jax.process_index() == 0:
    print(f'checkpoint {folder}\n')
    print(evaluation.tables(results, per_class=PER_CLASS.value))
    print(f'\nmetrics, predictions and pictures are in {out}')


if __name__ == '__main__':
  configuring.run(main)
