"""The sources that a config names: of training, of its curriculum, of evals."""

from collections.abc import Mapping

from glip_jax import errors, run
from glip_jax.data.specs import Spec


def sources(config: run.Run) -> dict[str, Spec]:
  """The specs of a config by their field, such as `evals.val`.

  Sources of training are `train`, or `train.NAME` where there are several.
  """
  found = {}
  train = config.data.train
  named = train if isinstance(train, Mapping) else {'': train}
  for name, spec in named.items():
    found[f'train.{name}'.rstrip('.')] = spec
  for name, spec in config.data.curriculum.items():
    found[f'curriculum.{name}'] = spec
  for name, evaluation in config.evals.items():
    found[f'evals.{name}'] = evaluation.data
  return found


def source(config: run.Run, name: str) -> Spec:
  """One of them.

  Raises:
    UserError: there is none of that name.
  """
  found = sources(config)
  if name not in found:
    raise errors.UserError(
        f'--source={name} is none of the config: choose one of'
        f' {", ".join(found)}'
    )
  return found[name]
