"""Reading what lies in a folder of checkpoints: steps, parameters, shapes.

No model is needed for it: Orbax keeps the shape of every array beside it. All
who read one take the next best where it is damaged (`first_whole`).
"""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from glip_jax import errors, storage
from glip_jax.training import checksums, processes, tables

T = TypeVar('T')

FOLDER = 'checkpoints'
# What the best checkpoint has most of: the first of these that was measured.
METRICS = 'best', 'AP'
CHECKSUMS = 'checksums'  # Of all arrays by name, in a checkpoint's `meta`.
_SHOWN = 3  # Names that a message lists before it counts the rest.


class Damaged(errors.UserError):
  """A checkpoint that cannot be read, or is not what was saved."""


def find(path: str | os.PathLike, step: str | int = 'latest') -> epath.Path:
  """The folder of one checkpoint.

  Args:
    path: a workdir, its folder of checkpoints, or one checkpoint.
    step: 'latest', 'best' (the latest if none was measured) or a number; not
      used where `path` is one checkpoint.

  Raises:
    UserError: if there is no such checkpoint.
  """
  return _candidates(path, step)[0]


def first_whole(
    path: str | os.PathLike,
    step: str | int,
    read: Callable[[epath.Path], T],
) -> T:
  """What is read of a checkpoint, or of the next where that is damaged.

  A warning names the damaged one. A checkpoint that was asked for by its number
  or folder has no other behind it. One process looks and tells all: on a folder
  that hosts share they may see different ones.

  Args:
    path: as for `find`.
    step: as for `find`; behind the latest stand the earlier ones, behind the
      best those that reached less.
    read: reads a folder; raises `Damaged`, as in `reading`.

  Raises:
    UserError: if there is no such checkpoint.
    Damaged: if none of them is whole.
  """
  folders = processes.on_first(lambda: _candidates(path, step))
  for folder, other in zip(folders, folders[1:], strict=False):
    try:
      return read(folder)
    except Damaged as error:
      logging.warning('%s. %s is read instead', error, other)
  return read(folders[-1])


@contextlib.contextmanager
def reading(folder: epath.Path) -> Iterator[None]:
  """Says of what goes wrong inside that the checkpoint is damaged.

  Raises:
    Damaged: for anything but an error of the user's and want of memory.
  """
  try:
    yield
  except (errors.UserError, MemoryError, jax.errors.JaxRuntimeError):
    raise
  except Exception as error:  # Orbax and TensorStore raise all kinds.
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    raise damaged(folder, reason) from error


def damaged(folder: epath.Path, reason: str) -> Damaged:
  """The error of a damaged checkpoint."""
  return Damaged(
      f'{folder} is damaged ({reason}): remove it to go on from an earlier'
      ' checkpoint, or take another --workdir'
  )


def _candidates(path: str | os.PathLike, step: str | int) -> list[epath.Path]:
  """The checkpoint that is asked for, and those to read in its place."""
  errors.check_no_url('workdir', path, buckets=True)
  storage.check_readable('workdir', path)
  path = absolute(path)
  if (path / 'state').exists():
    return [path]
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
    return [folder / str(n) for n in sorted(steps, reverse=True)]
  if step == 'best':
    order = lambda n: (_measured(folder / str(n)), n)
    return [folder / str(n) for n in sorted(steps, key=order, reverse=True)]
  if str(step) not in map(str, steps):
    raise errors.UserError(
        f'{folder} has no checkpoint {step!r}: choose latest, best or one of'
        f' {sorted(steps)}'
    )
  return [folder / str(step)]


def latest_step(workdir: str | os.PathLike) -> int | None:
  """The last whole checkpoint of a workdir, None if there is none."""
  return max(_steps(absolute(workdir) / FOLDER), default=None)


def left(workdir: str | os.PathLike) -> str:
  """What of a run that has failed is left, and how it goes on."""
  try:
    step = latest_step(workdir)
  except OSError:
    step = None
  if step is None:
    return f'{workdir} has no checkpoint yet'
  good = absolute(workdir) / FOLDER / str(step)
  return f'{good} is the last good checkpoint, the same command goes on from it'


def best(workdir: str | os.PathLike) -> tuple[int | None, float | None]:
  """Step and measure of the best kept checkpoint; None if none was measured."""
  folder = absolute(workdir) / FOLDER
  measured = {step: _measured(folder / str(step)) for step in _steps(folder)}
  step = max(measured, key=lambda n: (measured[n], n), default=None)
  if step is None or measured[step] == -math.inf:
    return None, None
  return step, measured[step]


def decisive(metrics: Mapping[str, float]) -> float:
  """What decides which checkpoint is best, -inf if it was not measured."""
  return next((metrics[k] for k in METRICS if k in metrics), -math.inf)


def absolute(path: str | os.PathLike) -> epath.Path:
  """The path as Orbax wants it; an address such as gs://x is one already."""
  if '://' in os.fspath(path):
    return epath.Path(path)
  return epath.Path(path).expanduser().resolve()


def shapes(folder: epath.Path) -> dict[str, Any]:
  """Shapes of everything in a checkpoint, by path name."""
  with reading(folder):
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
  """Reads the leaves of `abstract` under `item`, with their shardings.

  Raises:
    Damaged: if they cannot be read or are not what was saved.
  """
  first = jax.sharding.SingleDeviceSharding(jax.devices()[0])

  def target(leaf):
    sharding = getattr(leaf, 'sharding', None) or first
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  wanted = {item: jax.tree.map(target, abstract)}
  with (
      reading(folder),
      ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer,
  ):
    restored = checkpointer.restore(
        folder / 'state',
        args=ocp.args.PyTreeRestore(
            item=wanted,
            restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
            partial_restore=True,
        ),
    )
    check_sums(folder, restored)
  return restored[item]


def check_sums(folder: epath.Path, restored: Any) -> None:
  """Compares what was restored with the checksums that were saved.

  Args:
    folder: of the checkpoint; one without checksums is warned of.
    restored: state, or part of it, from there.

  Raises:
    Damaged: if an array is another than was saved.
    UserError: if one is what was saved, and not finite.
  """
  saved = meta(folder).get(CHECKSUMS)
  if saved is None:
    logging.warning('%s has no checksums: it is read as it is', folder)
    saved = {}
  found = checksums.sums(restored)
  changed = [n for n, x in found.items() if saved.get(n, x[0]) != x.checksum]
  if changed:
    what = f'other bits than were saved in {listing(changed)}'
    raise damaged(folder, what)
  broken = [name for name, x in found.items() if not x.finite]
  if broken:
    raise errors.UserError(
        f'{folder} holds values that are not finite in {listing(broken)}: its'
        ' run diverged; take an earlier checkpoint'
    )


def meta(folder: epath.Path) -> dict[str, Any]:
  """What describes the run and the arrays of a checkpoint."""
  return json.loads((folder / 'meta' / 'metadata').read_text())


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

  return restore(path, abstract_params, step)[1]


def restore(
    path: str | os.PathLike, abstract_params: Any, step: str | int = 'latest'
) -> tuple[epath.Path, Any]:
  """As `restore_params`, with the folder of the checkpoint that was whole."""

  def read_all(folder: epath.Path) -> tuple[epath.Path, Any]:
    item, there = param_shapes(folder)
    check_same(folder, there, tables.named_leaves(abstract_params))
    return folder, read(folder, item, abstract_params)

  return first_whole(path, step, read_all)


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
  try:
    return float(decisive(json.loads(file.read_text())))
  except (OSError, ValueError, TypeError):  # Or it is damaged.
    return -math.inf
