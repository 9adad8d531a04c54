"""Checkpoints: train state and data position together, and parameters alone.

`workdir/checkpoints/<step>` is written beside and renamed, so a folder with a
step's name is whole, whenever the process was killed. It holds the items
`state` (sharded arrays, readable on any number of devices), `data` (position of
the iterator, one file for each process), `meta` and `metrics` (JSON).
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any

from etils import epath
from grain import checkpoint as grain_checkpoint
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from glip_jax import errors
from glip_jax.training import state as state_lib
from glip_jax.training import tables

FOLDER = 'checkpoints'
_SHOWN = 3  # Names that a message lists before it counts the rest.


class Checkpointer:
  """Saves, keeps and restores the checkpoints of one workdir.

  Saving returns as soon as the arrays are copied to the host. Kept are the last
  `keep` checkpoints and the one with the highest `metric`.
  """

  def __init__(
      self, workdir: str | os.PathLike, *, keep: int = 2, metric: str = 'AP'
  ):
    """Opens (or creates) the workdir and removes what a kill left unfinished.

    Args:
      workdir: folder of the run.
      keep: number of latest checkpoints to keep, at least 1.
      metric: key of the metrics given to `save` that the best one maximises.
    """
    self._folder = _absolute(workdir) / FOLDER
    self._manager = _manager(self._folder, keep=max(keep, 1), metric=metric)

  @property
  def latest_step(self) -> int | None:
    """The last whole checkpoint, None if there is none."""
    return self._manager.latest_step()

  @property
  def best_step(self) -> int | None:
    """The checkpoint with the highest metric, None if none was measured."""
    return _best_step(self._manager)

  def save(
      self,
      step: int,
      state: state_lib.TrainState,
      iterator: Any,
      *,
      meta: Mapping[str, Any],
      metrics: Mapping[str, float] | None = None,
  ):
    """Starts saving; the state may be donated as soon as this returns.

    Args:
      step: number of steps taken, the name of the checkpoint.
      state: the train state after `step` steps.
      iterator: grain iterator that has given exactly `step` batches.
      meta: JSON values that describe the run, such as its config.
      metrics: what was measured at this step; None if nothing was.
    """
    self._manager.save(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            data=grain_checkpoint.CheckpointSave(iterator),
            meta=ocp.args.JsonSave(dict(meta)),
        ),
        metrics=dict(metrics or {}),
    )

  def restore_latest(
      self, abstract_state: state_lib.TrainState, iterator: Any
  ) -> state_lib.TrainState:
    """Restores the last checkpoint; the iterator moves to its position.

    Args:
      abstract_state: shapes and shardings, from `state.with_shardings`; the
        devices need not be those that wrote the checkpoint.
      iterator: grain iterator of the pipeline that wrote it.

    Returns:
      The state.

    Raises:
      UserError: if there is no checkpoint, if it is one of another model or
        optimizer, or of another data pipeline.
    """
    step = self.latest_step
    if step is None:
      raise _no_checkpoint(self._folder)
    folder = self._folder / str(step)
    _check_same(folder, _stored(folder), tables.named_leaves(abstract_state))
    restored = self._manager.restore(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state)),
    )
    _check_pipeline(folder, iterator)
    self._manager.restore(
        step,
        args=ocp.args.Composite(
            data=grain_checkpoint.CheckpointRestore(iterator)
        ),
    )
    return restored['state']

  def wait(self):
    """Waits until what was saved is on disk."""
    self._manager.wait_until_finished()

  def close(self):
    """Waits and releases the threads."""
    self._manager.close()


@dataclasses.dataclass(frozen=True)
class InitReport:
  """What `load_for_init` did with each parameter.

  Attributes:
    path: the checkpoint.
    loaded: parameters taken from it.
    missing: parameters that it lacks; they keep their random values.
    different: (name, shape there, shape here); they keep their random values.
    unused: parameters that only the checkpoint has.
  """

  path: str
  loaded: tuple[str, ...]
  missing: tuple[str, ...]
  different: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
  unused: tuple[str, ...]

  def __str__(self) -> str:
    """One line for each kind, the first names spelled out."""
    different = [f'{n} {there} -> {here}' for n, there, here in self.different]
    lines = [f'{len(self.loaded)} parameters loaded from {self.path}']
    for kind, names in (
        ('not in the checkpoint', self.missing),
        ('of another shape', different),
        ('unused', self.unused),
    ):
      if names:
        lines.append(f'{len(names)} {kind}: {_listing(names)}')
    return '\n'.join(lines)


def find(path: str | os.PathLike, step: str | int = 'latest') -> epath.Path:
  """The folder of one checkpoint.

  Args:
    path: a workdir, its folder of checkpoints, or one checkpoint.
    step: 'latest', 'best' (the latest if none was measured) or a number; not
      used where `path` is one checkpoint.

  Raises:
    UserError: if there is no such checkpoint.
  """
  path = _absolute(path)
  if (path / 'state').exists():
    return path
  folder = path / FOLDER if (path / FOLDER).exists() else path
  if not folder.exists():
    raise _no_checkpoint(folder)
  manager = _manager(folder, read_only=True)
  steps, latest, best = (
      manager.all_steps(), manager.latest_step(), _best_step(manager)
  )  # fmt: skip
  manager.close()
  if not steps:
    raise _no_checkpoint(folder)
  if step == 'latest' or (step == 'best' and best is None):
    step = latest
  elif step == 'best':
    step = best
  if str(step) not in map(str, steps):
    raise errors.UserError(
        f'{folder} has no checkpoint {step!r}: choose latest, best or one of'
        f' {sorted(steps)}'
    )
  return folder / str(step)


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
  item, stored = _stored_params(folder)
  _check_same(folder, stored, tables.named_leaves(abstract_params))
  return _read(folder, item, abstract_params)


def load_for_init(
    path: str | os.PathLike, params: Any, step: str | int = 'latest'
) -> tuple[Any, InitReport]:
  """Starts a model from a checkpoint of a similar one.

  Args:
    path: as for `find`.
    params: freshly initialised parameters; their shardings are kept.
    step: as for `find`.

  Returns:
    The parameters, taken from the checkpoint wherever path and shape agree, and
    the report of what was not.

  Raises:
    UserError: if there is no checkpoint or nothing in it fits.
  """
  folder = find(path, step)
  item, stored = _stored_params(folder)
  own = tables.named_leaves(params)
  fits = {n for n in own if n in stored and own[n].shape == stored[n].shape}
  report = InitReport(
      path=str(folder),
      loaded=tuple(n for n in own if n in fits),
      missing=tuple(n for n in own if n not in stored),
      different=tuple(
          (n, stored[n].shape, own[n].shape)
          for n in own
          if n in stored and n not in fits
      ),
      unused=tuple(n for n in stored if n not in own),
  )
  if not fits:
    raise errors.UserError(
        f'config.init={path}: no parameter of {folder} fits this model; it has'
        f' {_listing(list(stored))}, the model has {_listing(list(own))}'
    )
  loaded = tables.named_leaves(_read(folder, item, _prune(params, fits)))
  merged = jax.tree_util.tree_map_with_path(
      lambda key, leaf: loaded.get(tables.path_name(key), leaf), params
  )
  return merged, report


def _manager(
    folder: epath.Path,
    *,
    keep: int = 1,
    metric: str = 'AP',
    read_only: bool = False,
) -> ocp.CheckpointManager:
  """The manager that keeps the last and the best checkpoints."""

  def measured(metrics: Mapping[str, float]) -> float:
    return metrics.get(metric, -float('inf'))

  best = checkpoint_managers.BestN(
      get_metric_fn=measured, n=1, keep_checkpoints_without_metrics=False
  )
  latest = checkpoint_managers.LatestN(keep)
  options = ocp.CheckpointManagerOptions(
      preservation_policy=checkpoint_managers.AnyPreservationPolicy(
          [latest, best]
      ),
      best_fn=measured,
      cleanup_tmp_directories=not read_only,
      read_only=read_only,
  )
  return ocp.CheckpointManager(folder, options=options)


def _best_step(manager: ocp.CheckpointManager) -> int | None:
  """The best of the checkpoints that were measured at all."""
  step = manager.best_step()
  return step if step is not None and manager.metrics(step) else None


def _read(folder: epath.Path, item: str, abstract: Any) -> Any:
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


def _stored(folder: epath.Path) -> dict[str, Any]:
  """Shapes of everything in a checkpoint, by path name."""
  with ocp.StandardCheckpointer() as checkpointer:
    metadata = checkpointer.metadata(folder / 'state').item_metadata
  return tables.named_leaves(metadata.tree)


def _stored_params(folder: epath.Path) -> tuple[str, dict[str, Any]]:
  """Which item holds the parameters to evaluate, and their shapes."""
  stored = _stored(folder)
  item = 'ema' if any(name.startswith('ema/') for name in stored) else 'params'
  prefix = item + '/'
  return item, {
      name.removeprefix(prefix): leaf
      for name, leaf in stored.items()
      if name.startswith(prefix)
  }


def _prune(tree: Any, names: set[str], prefix: str = '') -> Any:
  """The nested dict `tree` with only the leaves of the given names."""
  kept = {}
  for key, value in tree.items():
    name = prefix + key
    if not isinstance(value, Mapping):
      if name in names:
        kept[key] = value
    elif inner := _prune(value, names, name + '/'):
      kept[key] = inner
  return kept


def _check_same(
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
        f' {_listing(differences)}; use the config it was trained with (in its'
        ' workdir), another --workdir, or start from it by --config.init'
    )


def _check_pipeline(folder: epath.Path, iterator: Any):
  """Raises a UserError if the data position is not one of this pipeline."""
  number, count = jax.process_index(), jax.process_count()
  file = folder / 'data' / f'process_{number}-of-{count}.json'
  if not file.exists():
    files = sorted(path.name for path in (folder / 'data').iterdir())
    raise errors.UserError(
        f'{folder} was written by another number of processes ({files}), not'
        f' {count}: resume with as many, or start from it by --config.init'
    )
  stored = ocp.args  # placeholder
  del stored, iterator


def _no_checkpoint(folder: epath.Path) -> errors.UserError:
  return errors.UserError(
      f'no checkpoint in {folder}: give the --workdir of a training run, or the'
      ' folder of one checkpoint'
  )


def _listing(names: Sequence[str]) -> str:
  """The first names, and how many more there are."""
  more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
  return ', '.join(names[:_SHOWN]) + more


def _absolute(path: str | os.PathLike) -> epath.Path:
  return epath.Path(path).expanduser().resolve()
