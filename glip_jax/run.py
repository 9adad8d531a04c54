"""What a run is told: the dataclasses that a config is made of.

A config file starts from `config(...)`, which has every field; whatever it then
says, each can be overridden on the command line. Programs read the config back
as a `Run`.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import ml_collections

from glip_jax import errors, fields
from glip_jax.data import settings, specs
from glip_jax.data.sources import odinw_sets
from glip_jax.detectors import recipe
from glip_jax.evaluators import metric_names, odinw, runner
from glip_jax.fields import field, part
from glip_jax.ops import forms as forms_lib
from glip_jax.training import optimizer as optimizer_lib
from glip_jax.training import sharding as sharding_lib

_NAME = re.compile(r'\w[\w.-]{0,99}')


@dataclasses.dataclass(frozen=True)
class Average:
  """A moving average of the parameters, which is what is evaluated."""

  on: bool = field(False, 'keep an average')
  decay: float = field(0.999, 'of the average at each step', least=0, below=1)


@dataclasses.dataclass(frozen=True)
class Run:
  """A whole config: what is trained, on what, how, and what is measured."""

  seed: int = field(0, 'of parameters, data and dropout', least=0, below=2**32)
  init: str = field(
      '',
      'weights (a file or a released name), workdir or checkpoint to start'
      ' from',
  )
  model: Mapping[str, Any] = field({}, 'fields of the family (docs/model.md)')
  data: settings.Data = part(settings.Data)
  batch_size: int = field(
      16, 'images of a step, over all devices', least=1, most=2**20
  )
  steps: int = field(1000, 'length of the training', least=1)
  optimizer: optimizer_lib.Settings = part(optimizer_lib.Settings)
  average: Average = part(Average)
  mesh: sharding_lib.Axes = part(sharding_lib.Axes)
  forms: forms_lib.Forms = part(forms_lib.Forms)
  sharding: tuple[tuple[str, Any], ...] = field(
      (), '(regex, spec) over parameter paths; the first that matches decides'
  )
  distributed: str = field(
      'auto',
      'join the processes of a cluster; auto does so on TPU pods',
      choices=('auto', 'True', 'False'),
  )
  compilation_cache: str = field(
      '', "folder; empty for one in the user's cache, 'off' for none"
  )
  text_cache: str = field(
      '', 'of eval.py, for encoded prompts: as compilation_cache'
  )
  log_every: int = field(20, 'steps; 0 for the last step only', least=0)
  eval_every: int = field(0, 'steps; 0 for the last step only', least=0)
  checkpoint_every: int = field(
      1000, 'steps; 0 for the last step only', least=0
  )
  keep_checkpoints: int = field(
      2, 'latest checkpoints kept, beside the best', least=1
  )
  evals: Mapping[str, runner.Evaluation] = field({}, 'evaluations by name')
  best: str = field(
      '',
      "number that decides the best checkpoint, such as 'val/AP50'; empty: AP"
      ' of `val`, or of the first evaluation that has one',
  )

  def check(self, what: str) -> None:
    """Refuses names of evaluations that cannot be, and others' in `best`."""
    for name in self.evals:
      if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise errors.UserError(
            f'{what}.evals has the name {name!r:.100}, which is that of a'
            ' folder too: give one of letters, digits, - . and _'
        )
      if name in odinw.MEANS:
        raise errors.UserError(
            f'{what}.evals.{name} has the name of a mean over sets: give'
            ' another'
        )
    if self.best:
      metric_names.check(self.best, self.evals, f'{what}.best')


def config(**values: Any) -> ml_collections.ConfigDict:
  """A ConfigDict with every field of a run, for a config file to change.

  Args:
    **values: of fields of `Run` that are not at their defaults; `model` may be
      the dataclass of its family.
  """
  if dataclasses.is_dataclass(model := values.get('model')):
    values['model'] = fields.to_dict(model)
  return ml_collections.ConfigDict(fields.filled(Run, **values))


def tested(variant: str, **data: Any) -> ml_collections.ConfigDict:
  """A config of a known model, with the data settings that it was tested with.

  Args:
    variant: as for `recipe.variant`.
    **data: fields of `config.data` that differ.

  Raises:
    UserError: there is no such variant.
  """
  model = recipe.variant(variant)
  settled = recipe.family_of(model).data
  return config(model=model, data={**settled, **data})


def evaluation(**values: Any) -> dict[str, Any]:
  """Every field of one of `config.evals`, some given, the others default."""
  return fields.filled(runner.Evaluation, 'config.evals', **values)


def odinw_evaluations(
    directory: str,
    *,
    sets: int = 35,
    split: str = '',
    published_prompts: bool = False,
    batch_size: int = 8,
) -> dict[str, dict[str, Any]]:
  """The evaluations of all sets of ODinW, by their names.

  Args:
    directory: folder of all sets.
    sets: 13 or 35.
    split: by default the one of each set that published results are of.
    published_prompts: True prompts by the sentence that is published for a
      set, where there is one.
    batch_size: images of one process at a time.
  """
  return {
      name: evaluation(
          batch_size=batch_size,
          data=source(
              source='odinw',
              directory=directory,
              dataset=name,
              split=split,
              published_prompt=bool(
                  published_prompts and odinw_sets.ODINW[name].prompt
              ),
          ),
      )
      for name in odinw.MEANS[f'ODinW-{sets}']
  }


def source(**values: Any) -> dict[str, Any]:
  """Every field of a source of records, some given, the others default."""
  return fields.filled(specs.Spec, 'config.data', **values)


def read(given: Any) -> Run:
  """The checked dataclass of a config.

  Args:
    given: a ConfigDict or mapping with fields of `Run`, or a `Run`.

  Raises:
    UserError: a field is unknown or its value cannot be.
  """
  made = fields.from_dict(Run, given, 'config')
  model = fields.to_dict(recipe.read_config(made.model))
  if made.data.class_captions:
    recipe.check_class_tokens(model)
  return dataclasses.replace(made, model=model)


def adapted(
    model: Mapping[str, Any], *, dtype: Any = None, unknown: bool | None = None
) -> Mapping[str, Any]:
  """`config.model` with what a caller of a trained model may change.

  Args:
    model: `config.model`.
    dtype: of matrix products; None as it is.
    unknown: whether objects that no phrase names are found; None as it is.

  Raises:
    UserError: the dtype is none, or the family finds no such objects.
  """
  model = dict(model)
  if dtype is not None:
    try:
      model['dtype'] = jnp.dtype(dtype).name
    except TypeError:
      raise errors.UserError(
          f"dtype={dtype!r:.80} is none: give 'float32' or 'bfloat16'"
      ) from None
  if unknown is not None:
    if unknown and not hasattr(recipe.read_config(model).decode, 'unknown'):
      raise errors.UserError(
          f'unknown=True: models of family {model["family"]!r} do not look for'
          ' objects that nothing names; leave it out, or load another'
      )
    model['decode'] = {**model.get('decode', {}), 'unknown': unknown}
  return model
