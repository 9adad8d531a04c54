"""Trains a model: config, data, state, mesh, restore, compile, loop, evaluate.

  python train.py --config=configs/shapes.py --workdir=runs/shapes
  python train.py --config=configs/shapes.py --workdir=runs/shapes \
      --config.steps=20000 --config.optimizer.lr=2e-4

The same command continues a run that was killed, to the same parameters; a
finished run is left alone unless `--config.steps` asks for more. The workdir
holds `config.json`, `metrics.jsonl`, `tensorboard/`, `checkpoints/`, what the
model saw (`inputs.png`) and is made of (`parameters.txt`), and `eval/`.
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags
from etils import epath
from ml_collections import config_flags

from glip_jax import (
    configuring,
    draw,
    errors,
    fields,
    loading,
    run,
    serving,
    storage,
    types,
)
from glip_jax.data import buckets, settings, stream, training_sources
from glip_jax.detectors import recipe as recipes
from glip_jax.evaluators import evaluation
from glip_jax.ops import forms
from glip_jax.text import tokenizer
from glip_jax.training import (
    checkpoint_files,
    checkpointing,
    feeding,
    initial_params,
    metrics,
    optimizer,
    parameters,
    processes,
    runtime,
    sharding,
    state,
    step,
    stopping,
    watching,
    workdir_lock,
)
from glip_jax.weights import formats, params_file, released

CONFIG = config_flags.DEFINE_config_file('config', None, 'Config file.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.')
_AGAIN = 'the same command goes on from there'


def train(config: Any, workdir: str) -> None:
  """Trains until `config.steps`, from wherever the workdir stands.

  Args:
    config: a `run.Run`, or the ConfigDict or mapping of one.
    workdir: folder of the run.

  Raises:
    UserError: for anything in the config that cannot work, before it is tried;
      and if the run is not finite any more.
  """
  workdir = os.path.expanduser(workdir)
  # What is being written is finished, and workers end, however training does.
  left = functools.partial(checkpoint_files.left, workdir)
  with storage.told(left), contextlib.ExitStack() as closing:
    _train(config, workdir, closing)


def _train(config: Any, workdir: str, closing: contextlib.ExitStack) -> None:
  # Config: refuse what cannot work; a finished run has nothing to do.
  config = run.read(config)
  closing.enter_context(forms.use(**dataclasses.asdict(config.forms)))
  storage.check_address('workdir', workdir)
  storage.check_folder('workdir', workdir)
  for name in ('checkpoints', *(f'eval/{name}' for name in config.evals)):
    storage.check_folder('workdir', os.path.join(workdir, name))
  recipe = recipes.build(config.model)
  mesh = sharding.make_mesh(dataclasses.asdict(config.mesh))
  sharding.check_batch_size(config.batch_size, mesh)
  sharding.check_eval_batches(config.evals, mesh)
  start = checkpointing.latest_step(workdir) or 0
  if start >= config.steps:
    return _say(_finished(workdir, start, config.best or 'AP'))
  evaluation.check_places(config.evals)
  training_sources.check_places(config.data)
  if config.init and not start:
    _check_init(config.init)
  recipe.check_prompts(
      num_tokens=config.data.num_tokens,
      vocab_size=len(tokenizer.load_tokenizer(config.data.tokenizer)),
  )
  sources = evaluation.open_sources(config.evals, config.data)

  # Data: an endless stream of batches whose position can be saved.
  example, iterator = _open_data(config)
  closing.callback(iterator.close)

  # Abstract state: shapes of everything, nothing computed.
  blank = state.blank_batch(config.data)
  init_params = state.make_init_params(recipe, blank, config.seed)
  params = state.abstract_params(init_params)
  tx = optimizer.make_optimizer(config.optimizer, params, config.steps)
  average = config.average
  abstract = state.abstract_state(params, tx, ema=average.on)

  # Shardings: where each parameter, and all that follows it, lives.
  param_shardings = sharding.param_shardings(params, mesh, config.sharding)
  shardings = sharding.state_shardings(abstract, param_shardings, mesh)
  abstract = state.with_shardings(abstract, shardings)

  # Restore the run, or initialise it.
  meta = {'config': fields.to_dict(config)}
  if not start:
    params = state.materialise(init_params, param_shardings)
    if config.init:
      params, loaded = _start_from(config.init, recipe, params)
      _say(str(loaded))
  closing.enter_context(workdir_lock.hold(workdir))
  checkpointer = checkpointing.Checkpointer(
      workdir, keep=config.keep_checkpoints
  )
  closing.callback(checkpointer.close)
  if start:
    start, now = checkpointer.restore_last(abstract, iterator, meta['config'])
    _say(f'continuing {workdir} at step {start} of {config.steps}')
    if changed := configuring.changes(workdir, meta['config']):
      _say(f'other fields than before: {changed}')
  else:
    make_state = functools.partial(
        state.make_state, optimizer=tx, ema=average.on
    )
    now = state.materialise(make_state, shardings, params)
    tokens = config.data.tokenizer
    look = functools.partial(_write_first_look, workdir, tokens, example)
    processes.on_first(functools.partial(look, now.params))
  del params
  processes.on_first(
      functools.partial(configuring.save, meta['config'], workdir)
  )

  # Compile: the step for each bucket and, when first used, the detection.
  stop = closing.enter_context(stopping.Stop())
  closing.callback(checkpointer.wait)
  train_step = step.make_train_step(
      recipe,
      tx,
      ema_decay=average.decay,
      seed=config.seed,
      param_shardings=param_shardings,
  )
  train_steps = _compile(train_step, abstract, mesh, config)
  detector = serving.Detector(recipe, mesh, now.best_params)

  # Loop: numbers of a step are read when the next one is on its way.
  writer = closing.enter_context(metrics.MetricWriter(workdir, step=start))
  progress = metrics.Progress(
      config.steps, batch_size=config.batch_size, start=start
  )
  closing.callback(progress.close)
  feed = feeding.Feed(iterator)
  watch = watching.Watch(
      checkpointer,
      functools.partial(_tell, writer, progress),
      skip_nonfinite=config.optimizer.skip_nonfinite,
  )
  for done in range(start + 1, config.steps + 1):
    is_told = _is_due(done, config.log_every, config.steps)
    batch = next(feed)
    train_step = train_steps[buckets.of_batch(batch)]
    now, numbers = train_step(now, sharding.put_batch(batch, mesh))
    watch.add(done, numbers | feed.numbers, batch.id, told=is_told)
    measured = None
    if _is_due(done, config.eval_every, config.steps):
      watch.read()
      with progress.pause():
        out = epath.Path(workdir) / 'eval' if done == config.steps else None
        with_params = detector.with_params(now.best_params)
        results = _evaluate(config, with_params, sources, out)
      measured = evaluation.headline(results, config.best)
      writer.write(done, evaluation.scalars(results))
      progress.update(done, ap=measured.get('AP'))
    is_stopped = stop.is_asked(together=is_told) and done < config.steps
    is_saved = _is_due(done, config.checkpoint_every, config.steps)
    if is_saved or is_stopped or measured is not None:
      watch.read()
      writer.flush()
      with progress.pause():
        checkpointer.save(done, now, iterator, meta=meta, metrics=measured)
    if is_stopped:
      progress.close()
      saved = checkpointer.folder / str(checkpointer.wait())
      raise stop.error(f'stopped at step {done}, saved in {saved}; {_AGAIN}')

  # Evaluate: the last round was complete; say what came out.
  progress.close()
  if watch.skipped:
    _say(f'{watch.skipped} steps were left out, as they were not finite')
  if results:
    _say(evaluation.tables(results, per_class=True))
    _say(
        f'predictions, drawn and as numbers, and metrics are in {workdir}/eval'
    )


def _open_data(config: run.Run) -> tuple[types.Batch, Any]:
  """A batch to look at, and the iterator of all, from sources opened once."""
  make_data = functools.partial(
      stream.train_stream,
      training_sources.open_training(config.data),
      batch_size=config.batch_size // jax.process_count(),
      seed=config.seed,
      **runtime.share(),
  )
  here = dataclasses.replace(config.data, num_workers=0)
  return next(make_data(here)), make_data(config.data)


def _compile(
    train_step: step.Step, abstract: Any, mesh: Any, config: run.Run
) -> dict[buckets.Bucket, step.Step]:
  """The step, compiled for each bucket; tells how long it takes."""
  compiled = {}
  rows = config.batch_size // jax.process_count()
  shapes = settings.buckets(config.data)
  _say('compiling the step')
  for number, bucket in enumerate(shapes, 1):
    began = time.monotonic()
    batch = stream.blank_batch(config.data, bucket, rows)
    compiled[bucket] = step.compile_step(
        train_step, abstract, sharding.put_batch(batch, mesh)
    )
    which = f' {bucket}, {number} of {len(shapes)},' if len(shapes) > 1 else ''
    _say(f'compiled{which} in {time.monotonic() - began:.0f} s')
  return compiled


def _evaluate(
    config: run.Run,
    detector: serving.Detector,
    sources: Mapping[str, Any],
    out: epath.Path | None,
) -> Mapping[str, Any]:
  """The result of each evaluation; written where there is an `out`."""
  return evaluation.evaluate(
      config.evals,
      detector,
      data=config.data,
      sources=sources,
      out=out,
      gather=processes.gather,
      on_first=processes.on_first,
      **runtime.share(),
  )


def _say(text: str):
  if jax.process_index() == 0:
    print(text, flush=True)


def _is_due(done: int, every: int, last: int) -> bool:
  """True every so many steps (0 for never) and at the last one."""
  return done == last or (every > 0 and done % every == 0)


def _tell(
    writer: metrics.MetricWriter,
    progress: metrics.Progress,
    done: int,
    numbers: dict[str, float],
) -> None:
  """Shows and records the numbers of a step."""
  progress.update(done, loss=numbers['loss'], wait=numbers['data_wait'])
  speed = progress.images_per_second
  told = {'images_per_second': speed} if speed else {}
  writer.write(done, numbers | told)


def _check_init(init: str) -> None:
  """Refuses a `config.init` that is not there; nothing is fetched."""
  if init in released.RELEASED:
    return
  if formats.is_file(init):
    formats.check(init)
  else:
    checkpoint_files.find(init)


def _start_from(
    init: str, recipe: recipes.Recipe, params: Any
) -> tuple[Any, initial_params.InitReport]:
  """What `config.init` is: weights by name or file, a checkpoint, a workdir."""
  if init in released.RELEASED:
    init = str(loading.find(init))
  if not formats.is_file(init):
    return initial_params.from_checkpoint(init, params)
  arrays, unused = params_file.read_start(
      init, params, recipe, remedy='a --config of it'
  )
  return initial_params.from_arrays(init, params, arrays, unused)


def _write_first_look(
    workdir: str, tokenizer_name: str, example: types.Batch, params: Any
):
  """Writes what the model sees and what it is made of, before step 0."""
  table = parameters.parameter_table(params)
  words = tokenizer.load_tokenizer(tokenizer_name)
  sheet = draw.input_sheet(example, words)
  folder = epath.Path(workdir)
  (folder / 'parameters.txt').write_text(table + '\n')
  with (folder / 'inputs.png').open('wb') as file:
    sheet.save(file, format='PNG')
  _say(table.split('\n\n')[-1])
  _say(f'inputs.png and parameters.txt are in {workdir}')


def _finished(workdir: str, step: int, metric: str) -> str:
  text = f'{workdir} is finished at step {step}'
  best, value = checkpoint_files.best(workdir)
  if value is not None:
    text += f', best {metric} {100 * value:.1f} at {best}'
  return text + '; raise --config.steps to go on, or take another --workdir'


def main(_: Sequence[str]):
  if not WORKDIR.value or CONFIG.value is None:
    raise errors.UserError(
        '--config and --workdir are needed, for example'
        ' --config=configs/shapes.py --workdir=runs/shapes'
    )
  config = run.read(CONFIG.value)
  runtime.start(
      distributed=config.distributed,
      compilation_cache=config.compilation_cache,
  )
  train(config, WORKDIR.value)


if __name__ == '__main__':
  configuring.run(main)
