"""What a program evaluates, as flags name it: a config, and its parameters.

`eval.py` and the tools that evaluate share these flags, what is refused of them
before work starts, and the way to a detector.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import flags
from etils import epath
from ml_collections import config_flags

from glip_jax import errors, loading, run, serving, storage
from glip_jax.data.sources import protocol
from glip_jax.detectors import recipe as recipes
from glip_jax.evaluators import evaluation
from glip_jax.text import tokenizer
from glip_jax.training import checkpoint_files, runtime, sharding
from glip_jax.weights import released

_REMEDY = '--config=configs/coco.py:{}'


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines --config, --workdir, --weights and what goes with them.

  Args:
    values: where to.
  """
  string = functools.partial(flags.DEFINE_string, flag_values=values)
  config_flags.DEFINE_config_file(
      'config',
      None,
      'Config file; by default what the workdir was trained with.',
      flag_values=values,
  )
  string('workdir', None, 'Folder of a training run.')
  string(
      'weights',
      None,
      'Released model or file of weights to evaluate, instead of a workdir.',
  )
  flags.DEFINE_bool(
      'ema',
      False,
      'Evaluate the average that the file of weights holds.',
      flag_values=values,
  )
  string('step', 'latest', 'latest, best, or a number.')
  string('out', '', 'Where to write; a folder in <workdir> if empty.')
  string('tokenizer', None, 'Name or path, instead of what the workdir says.')


@dataclasses.dataclass
class Checkpoint:
  """A checkpoint that the flags name.

  Attributes:
    workdir: of the training run.
    step: as --step has it.
    folder: of it; of another, once it was read in the place of a damaged one.
  """

  workdir: epath.Path
  step: str
  folder: epath.Path

  def __str__(self) -> str:
    """The folder."""
    return str(self.folder)

  def read(self, shapes: Any) -> Any:
    """The parameters.

    Args:
      shapes: of them, with their shardings.
    """
    self.folder, params = checkpoint_files.restore(
        self.workdir, shapes, self.step
    )
    return params


@dataclasses.dataclass(frozen=True)
class Told:
  """What the flags say.

  Attributes:
    config: what is evaluated, and how.
    source: where the parameters are.
    out: folder to write to.
    ema: whether the average is read that a file of weights holds.
    has_config: whether the config is a given one, not that of the workdir.
  """

  config: run.Run
  source: loading.File | Checkpoint
  out: epath.Path
  ema: bool
  has_config: bool

  def sources(self) -> Mapping[str, protocol.Source]:
    """Opens the source of each evaluation, by its name.

    Raises:
      UserError: batches do not divide over the devices, or the model cannot
        read the prompts, or a source cannot be used.
    """
    config = self.config
    sharding.check_eval_batches(config.evals, self._mesh())
    recipes.build(config.model).check_prompts(
        num_tokens=config.data.num_tokens,
        vocab_size=len(tokenizer.load_tokenizer(config.data.tokenizer)),
    )
    return evaluation.open_sources(config.evals, config.data)

  def detector(self) -> serving.Detector:
    """Reads the parameters.

    Raises:
      UserError: they are not those of the model.
    """
    recipe = recipes.build(self.config.model)
    return serving.load(
        recipe,
        functools.partial(self._read_params, recipe),
        self._mesh(),
        data=self.config.data,
        table=self.config.sharding,
    )

  def _mesh(self) -> jax.sharding.Mesh:
    """The mesh of a given config, else as many devices as batches divide by."""
    if self.has_config:
      return sharding.make_mesh(dataclasses.asdict(self.config.mesh))
    devices = jax.devices()
    if jax.process_count() == 1:
      sizes = [spec.batch_size for spec in self.config.evals.values()]
      devices = devices[: math.gcd(len(devices), *sizes)]
    return sharding.make_mesh({'data': -1}, devices)

  def _read_params(self, recipe: recipes.Recipe, shapes: Any) -> Any:
    if isinstance(self.source, loading.File):
      return self.source.read(shapes, recipe, ema=self.ema)
    return self.source.read(shapes)


def read(
    folder: str,
    check: Callable[[run.Run], Any] = lambda config: None,
    values: flags.FlagValues = flags.FLAGS,
) -> Told:
  """Reads the flags; what is wrong with them comes before any work.

  What is not there is told before anything is fetched or opened.

  Args:
    folder: in the workdir, where --out is empty.
    check: refuses a config, as early as it can be read.
    values: the flags.

  Raises:
    UserError: flags are missing or contradict each other, or what they name
      cannot be read or written.
  """
  out = _out(folder, values)
  if values.workdir:
    storage.check_readable('workdir', values.workdir)
  storage.check_address('out', out)
  storage.check_folder('out', out)
  if values.weights in released.RELEASED:
    config = _config(values)
    check(config)
    evaluation.check_places(config.evals)
  source = _source(values)
  config = _config(values)
  check(config)
  evaluation.check_places(config.evals)
  return Told(config, source, out, values.ema, values.config is not None)


def start(told: Told) -> None:
  """Joins the processes of a cluster, and takes the cache of the config."""
  runtime.start(
      distributed=told.config.distributed,
      compilation_cache=told.config.compilation_cache,
  )


def _out(folder: str, values: flags.FlagValues) -> epath.Path:
  """Where to write; what is wrong with the flags comes as a UserError."""
  if not values.workdir and not values.weights:
    raise errors.UserError(
        '--workdir is missing: give that of a training run, or a file of'
        ' --weights'
    )
  errors.check_no_url('--workdir', values.workdir, buckets=True)
  errors.check_no_url('--weights', values.weights)
  errors.check_no_url('--out', values.out, buckets=True)
  if values.workdir and values.weights:
    raise errors.UserError('--workdir and --weights: give one of the two')
  if values.weights and values.config is None:
    raise errors.UserError(
        '--config is missing: say what --weights are of, for example'
        ' --config=configs/coco.py:T'
    )
  if values.weights and values['step'].present:
    raise errors.UserError(
        f'--step={values.step} is of a --workdir, a file of weights has none:'
        ' leave it out'
    )
  if values.workdir and values.ema:
    raise errors.UserError(
        '--ema is of --weights: a --workdir that keeps an average is evaluated'
        ' with it; leave it out'
    )
  if values.tokenizer is not None and values.config is not None:
    raise errors.UserError(
        f'--tokenizer={values.tokenizer} is of a --workdir without --config:'
        f' give --config.data.tokenizer={values.tokenizer}'
    )
  if values.out:
    return epath.Path(values.out).expanduser()
  if values.workdir:
    return epath.Path(values.workdir).expanduser() / folder
  return epath.Path('runs') / epath.Path(values.weights).stem / folder


def _source(values: flags.FlagValues) -> loading.File | Checkpoint:
  """The file of weights or the checkpoint that the flags name."""
  if values.weights:
    return loading.find(values.weights, remedy=_REMEDY).check()
  workdir = epath.Path(values.workdir).expanduser()
  place = checkpoint_files.find(workdir, values.step)
  return Checkpoint(workdir, values.step, place)


def _config(values: flags.FlagValues) -> run.Run:
  """The given config, or that of the workdir."""
  if values.config is not None:
    return run.read(values.config)
  workdir = epath.Path(values.workdir).expanduser()
  return loading.stored_config(workdir, values.tokenizer)
