"""Weights by a released name or in a file, and predictors with them.

Whoever takes `--weights`, and `glip_jax.load`, finds them here; and so does
whoever takes a `--workdir` the config that lies in it.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from glip_jax import choosing, configuring, errors, predicting, run
from glip_jax.data import settings
from glip_jax.text import tokenizer as tokenizers
from glip_jax.training import checkpoint_files
from glip_jax.weights import description, formats, params_file, released

# What of a stored config is the machine's that it ran on.
_ELSEWHERE = {
    'init': '',
    'mesh': {},
    'sharding': (),
    'distributed': 'auto',
    'compilation_cache': '',
    'text_cache': '',
    'forms': {},
}


@dataclasses.dataclass(frozen=True)
class File:
  """A file of weights on this machine.

  Attributes:
    path: of the file.
    variant: name of the model that its weights are of; None if nothing says.
    fetched: True if it lies in the cache of the Hugging Face hub.
    remedy: how a user gives another variant.
  """

  path: epath.Path
  variant: str | None
  fetched: bool
  remedy: str = 'variant={0!r} (--variant={0})'

  def __str__(self) -> str:
    """The path."""
    return os.fspath(self.path)

  def check(self) -> 'File':
    """Itself, where it can be opened; see `formats.check`."""
    formats.check(self.path)
    return self

  def read(self, params: Any, recipe: Any, *, ema: bool = False) -> Any:
    """See `params_file.read`."""
    try:
      return params_file.read(
          self.path, params, recipe, ema=ema, remedy=self.remedy
      )
    except errors.UserError as error:
      if not self.fetched:
        raise
      raise errors.UserError(
          f'{error}; if the file is damaged, remove'
          f' {os.path.realpath(self.path)} and ask again: it is then fetched'
          ' anew'
      ) from None


def find(
    source: str | os.PathLike,
    variant: str | None = None,
    *,
    remedy: str = File.remedy,
) -> File:
  """The file that a name or a path stands for; a name may fetch it.

  Args:
    source: a name of `released.RELEASED`, or the path of a file of weights.
    variant: of the model in the file, where its name does not say.
    remedy: as for `params_file.read`.

  Raises:
    UserError: the name is unknown, or its file cannot be had.
  """
  name = os.fspath(source)
  errors.check_no_url('weights', name)
  variant = variant or released.variant_of(name)
  path = epath.Path(name).expanduser()
  fetched = name in released.RELEASED
  if fetched or not (formats.is_file(name) or path.is_file()):
    path = released.fetch(name)  # Or says which names there are.
  return File(epath.Path(path), variant, fetched, remedy)


def stored_config(
    workdir: str | os.PathLike, tokenizer: str | None = None
) -> run.Run:
  """The config that a training run left in its workdir, for use elsewhere.

  Where and by whom a run was trained says nothing of where it is used, so no
  cache is taken from it, and nothing that it names is fetched.

  Args:
    workdir: of the run.
    tokenizer: name or path of one to use in place of the stored one; a name of
      the Hugging Face hub may then be fetched.

  Raises:
    UserError: there is no config, it is damaged, or its tokenizer is not on
      this machine.
  """
  config = run.read(configuring.load(workdir) | _ELSEWHERE)
  if tokenizer is not None:
    data = dataclasses.replace(config.data, tokenizer=tokenizer)
    return dataclasses.replace(config, data=data)
  name = config.data.tokenizer
  if not tokenizers.is_here(name):
    raise errors.UserError(
        f'tokenizer={name!r:.200} of {os.fspath(workdir)}/config.json is not'
        ' on this machine, and a name that is stored is not fetched unasked:'
        f' give --tokenizer={name:.200} to fetch it from the Hugging Face hub,'
        ' or the path of its vocab.txt or tokenizer.json'
    )
  return config


def load(
    source: str | os.PathLike,
    *,
    variant: str | None = None,
    step: str | int | None = None,
    tokenizer: str | None = None,
    resize: tuple[int, int] | None = None,
    canvas: tuple[int, int] | None = None,
    **options: Any,
) -> predicting.Predictor:
  """A predictor with released weights, those of a file or of a training run.

  What is None is as the model's family was tested, or as the run was trained.

  Args:
    source: as for `find`, or the workdir of a run.
    variant: as for `find`: T, L, mm_grounding_dino_B and so on.
    step: of a workdir: 'best' (None too), 'latest' or a number.
    tokenizer: a name on the Hugging Face hub or the path of one.
    resize: shorter and longest side of images, in pixels.
    canvas: height and width that every image is padded to.
    **options: `threshold`, `dtype`, `devices`, `batch_size`, `buckets` and
      `unknown` of `predicting.make_predictor`.

  Raises:
    UserError: the name is unknown, the file or checkpoint cannot be had or
      read, nothing says what model it is of, or an option makes no sense.
  """
  _check_sizes(resize, canvas)
  choosing.check_threshold(options.get('threshold'))
  told = dict(resize=resize, image_size=canvas)
  told = {name: value for name, value in told.items() if value is not None}
  if told:
    told['buckets'] = ()  # Those of the tested sizes.
  if _is_workdir(source) and variant is None:
    return load_workdir(
        source,
        step=step or 'best',
        tokenizer=tokenizer,
        changes=told,
        **options,
    )
  if step is not None:
    raise errors.UserError(
        f'step={step} is of the workdir of a run, and {source} is none: leave'
        ' it out'
    )
  file = find(source, variant).check()
  if tokenizer is not None:
    told['tokenizer'] = tokenizer
  # No box is known.
  told['num_boxes'] = 1
  own = None if variant else description.read(file.path)
  if own is not None:
    config = run.config(model=own['model'], data={**own['data'], **told})
    return predicting.make_predictor(run.read(config), file.read, **options)
  if file.variant is None:
    known = sorted({row.variant for row in released.RELEASED.values()})
    raise errors.UserError(
        f'variant is missing: say whose weights {source} are, one of {known}'
    )
  config = run.tested(file.variant, **told)
  return predicting.make_predictor(run.read(config), file.read, **options)


def _is_workdir(source: str | os.PathLike) -> bool:
  """Whether a source is no name and no file of weights, but a folder."""
  name = os.fspath(source)
  if name in released.RELEASED or formats.is_file(name):
    return False
  errors.check_no_url('weights', name, buckets=True)
  looks_so = os.sep in name or '://' in name
  path = os.path.expanduser(name)
  return (
      os.path.isdir(path)
      or os.path.islink(path)
      or (looks_so and not os.path.isfile(path))
  )


def load_workdir(
    workdir: str | os.PathLike,
    *,
    step: str | int = 'best',
    tokenizer: str | None = None,
    changes: Mapping[str, Any] | None = None,
    **options: Any,
) -> predicting.Predictor:
  """A predictor from the workdir of a training run.

  Args:
    workdir: holds `config.json` and checkpoints.
    step: 'best', 'latest' or a number.
    tokenizer: as for `stored_config`.
    changes: fields of `config.data` that are others than in training.
    **options: of `predicting.make_predictor`.

  Raises:
    UserError: there is no config or no such checkpoint, or an option makes no
      sense.
  """
  choosing.check_threshold(options.get('threshold'))
  errors.check_no_url('workdir', workdir, buckets=True)
  workdir = epath.Path(workdir).expanduser()
  checkpoint_files.find(workdir, step)  # Refused before anything is built.
  config = stored_config(workdir, tokenizer)
  if changes:
    data = settings.read_data(dataclasses.replace(config.data, **changes))
    config = dataclasses.replace(config, data=data)
  return predicting.make_predictor(
      config,
      lambda shapes, _: checkpoint_files.restore_params(workdir, shapes, step),
      **options,
  )


def _check_sizes(
    resize: tuple[int, int] | None, canvas: tuple[int, int] | None
):
  """Refuses sizes that no image fits."""
  for name, sides in (('resize', resize), ('canvas', canvas)):
    pair = isinstance(sides, tuple) and len(sides) == 2 and min(sides) > 0
    if sides is not None and not pair:
      raise errors.UserError(f'{name}={sides!r}: give two sides in pixels')
  if canvas and any(side % 32 for side in canvas):
    raise errors.UserError(
        f'canvas={canvas}: height and width must be multiples of 32'
    )
  if resize and resize[0] > resize[1]:
    raise errors.UserError(
        f'resize={resize}: the shorter side comes first, then the longest'
    )
