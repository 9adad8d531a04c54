"""Reading what lies in a folder of checkpoints: steps, parameters, shapes.

No model is needed for it: Orbax keeps the shape of every array beside it.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from glip_jax import errors
from glip_jax.training import tables

FOLDER = 'checkpoints'
METRIC = 'AP'  # What the best checkpoint has most of.
_SHOWN = 3  # Names that a message lists before it counts the rest.


def find(path: str | os.PathLike, step: str | int = 'latest') -> epath.Path:
  """The folder of one checkpoint.

  Args:
    path: a workdir, its folder of checkpoints, or one checkpoint.
    step: 'latest', 'best' (the latest if none was measured) or a number; not
      used where `path` is one checkpoint.

  Raises:
    UserError: if there is no such checkpoint.
  """
  path = absolute(path)
  if (path / 'state').exists():
    return path
  if path.exists() and not path.is_dir():
    raise errors.UserError(
        f'{path} is a file, not the folder of a run: files of weights go by'
        ' --weights'
    )
  folder = path / FOLDER if (path / FOLDER).exists() else path
  steps = _steps(folder)
  if not steps:
    raise no_checkpoint(folder)
  if step == 'latest':
    step = max(steps)
  elif step == 'best':
    step = max(steps, key=lambda n: (_measured(folder / str(n)), n))
  if str(step) not in map(str, steps):
    raise errors.UserError(
        f'{folder} has no checkpoint {step!r}: choose latest, best or one of'
        f' {sorted(steps)}'
    )
  return folder / str(step)


def latest_step(workdir: str | os.PathLike) -> int | None:
  """The last whole checkpoint of a workdir, None if there is none."""
  return max(_steps(absolute(workdir) / FOLDER), default=None)


def best(workdir: str | os.PathLike) -> tuple[int | None, float | None]:
  """Step and AP of the best kept checkpoint; None if none was measured."""
  folder = absolute(workdir) / FOLDER
  measured = {step: _measured(folder / str(step)) for step in _steps(folder)}
  step = max(measured, key=lambda n: (measured[n], n), default=None)
  if step is None or measured[step] == -math.inf:
    return None, None
  return step, measured[step]


def absolute(path: str | os.PathLike) -> epath.Path:
  """The path as Orbax wants it; an address such as gs://x is one already."""
  if '://' in os.fspath(path):
    return epath.Path(path)
  return epath.Path(path).expanduser().resolve()


def shapes(folder: epath.Path) -> dict[str, Any]:
  """Shapes of everything in a checkpoint, by path name."""
  metadata = ocp.PyTreeCheckpointHandler().metadata(folder / 'state')
  return tables.named_leaves(metadata.tree)


def param_shapes(folder: epath.Path) -> tuple[str, dict[str, Any]]:
  """Which item holds the parameters to evaluate, and their shapes.

  Returns:
    'ema' if an average was kept, else 'params'; shapes by parameter path.
  """
  stored = shapes(folder)
  item = 'ema' if any(name.startswith('ema/') for name in stored) else 'params'
  prefix = item + '/'
  return item, {
      name.removeprefix(prefix): leaf
      for name, leaf in stored.items()
      if name.startswith(prefix)
  }


def read(folder: epath.Path, item: str, abstract: Any) -> Any:
  """Reads the leaves of `abstract` under `item`, with their shardings."""
  first = jax.sharding.SingleDeviceSharding(jax.devices()[0])

  def target(leaf):
    sharding = getattr(leaf, 'sharding', None) or first
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  wanted = {item: jax.tree.map(target, abstract)}
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
    restored = checkpointer.restore(
        folder / 'state',
        args=ocp.args.PyTreeRestore(
            item=wanted,
            restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
            partial_restore=True,
        ),
    )
  return restored[item]


def restore_params(
    path: str | os.PathLike, abstract_params: Any, step: str | int = 'latest'
) -> Any:
  """Restores the parameters to evaluate: the average if one was kept.

  Args:
    path: as for `find`.
    abstract_params: shapes and, optionally, shardings on any devices; leaves
      without a sharding go whole to the first device.
    step: as for `find`.

  Returns:
    A tree of arrays like `abstract_params`.

  Raises:
    UserError: if there is no checkpoint, or it is one of another model.
  """
  folder = find(path, step)
  item, there = param_shapes(folder)
  check_same(folder, there, tables.named_leaves(abstract_params))
  return read(folder, item, abstract_params)


def check_same(
    folder: epath.Path, stored: Mapping[str, Any], own: Mapping[str, Any]
):
  """Raises a UserError that lists where two sets of shapes differ."""
  differences = []
  for name in own:
    if name not in stored:
      differences.append(f'{name} is missing in it')
    elif stored[name].shape != own[name].shape:
      there, here = stored[name].shape, own[name].shape
      differences.append(f'{name} is {there} there and {here} here')
  differences += [f'{n} is only in it' for n in stored if n not in own]
  if differences:
    raise errors.UserError(
        f'{folder} is a checkpoint of another model or optimizer:'
        f' {listing(differences)}; use the config it was trained with (in its'
        ' workdir), another --workdir, or start from it by --config.init'
    )


def listing(names: Sequence[str]) -> str:
  """The first names, and how many more there are."""
  more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
  return ', '.join(names[:_SHOWN]) + more


def no_checkpoint(folder: epath.Path) -> errors.UserError:
  """The error of a folder without any checkpoint."""
  return errors.UserError(
      f'no checkpoint in {folder}: give the --workdir of a training run, or the'
      ' folder of one checkpoint'
  )


def _steps(folder: epath.Path) -> list[int]:
  """The whole checkpoints of a folder."""
  if not folder.exists():
    return []
  return [
      int(path.name)
      for path in folder.iterdir()
      if path.name.isdigit() and ocp.utils.is_checkpoint_finalized(path)
  ]


def _measured(checkpoint: epath.Path) -> float:
  """What a checkpoint reached, -inf if it was not measured."""
  file = checkpoint / 'metrics' / 'metrics'
  metrics = json.loads(file.read_text()) if file.exists() else {}
  return metrics.get(METRIC, -math.inf)
