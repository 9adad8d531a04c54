"""Checkpoints of a run: train state and position in the data, together.

`workdir/checkpoints/<step>` is written beside and renamed, so a folder with a
step's name is whole, whenever the process was killed. It holds the items
`state` (sharded arrays, readable on any number of devices), `data` (position in
the stream, the same for all processes), `meta` and `metrics` (JSON).
"""

import functools
import os
from collections.abc import Mapping
from typing import Any

import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from glip_jax import errors
from glip_jax.training import checkpoint_files, checksums, processes, tables
from glip_jax.training import state as state_lib


def latest_step(workdir: str | os.PathLike) -> int | None:
  """The last whole checkpoint, None if there is none.

  One process looks and tells all: on a folder that hosts share they may see
  different ones, and must not start from different steps.
  """
  return processes.on_first(lambda: checkpoint_files.latest_step(workdir))


class Checkpointer:
  """Saves, keeps and restores the checkpoints of one workdir.

  Saving returns as soon as the arrays are copied to the host. Kept are the last
  `keep` checkpoints and the one with the highest of what decides
  (`checkpoint_files.decisive`).
  """

  def __init__(self, workdir: str | os.PathLike, *, keep: int = 2):
    """Opens (or creates) the workdir and removes what a kill left unfinished.

    Args:
      workdir: folder of the run.
      keep: number of latest checkpoints to keep, at least 1.
    """
    self._folder = checkpoint_files.absolute(workdir) / checkpoint_files.FOLDER
    processes.on_first(functools.partial(_remove_unfinished, self._folder))
    self._manager = _open_manager(self._folder, max(keep, 1))

  @property
  def folder(self) -> epath.Path:
    """Where the checkpoints lie, each by the name of its step."""
    return self._folder

  def wait(self) -> int | None:
    """Waits until what is being saved is whole; the last checkpoint."""
    self._manager.wait_until_finished()
    return self._manager.latest_step()

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
      iterator: stream that has given exactly `step` batches.
      meta: JSON values that describe the run, such as its config.
      metrics: what was measured at this step; None if nothing was.
    """
    sums = {name: x.checksum for name, x in checksums.sums(state).items()}
    self._manager.save(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(iterator.get_state()),
            meta=ocp.args.JsonSave(
                dict(meta) | {checkpoint_files.CHECKSUMS: sums}
            ),
        ),
        metrics=dict(metrics or {}),
    )

  def restore(
      self,
      step: int,
      abstract_state: state_lib.TrainState,
      iterator: Any,
      config: Mapping[str, Any] | None = None,
  ) -> state_lib.TrainState:
    """Restores a checkpoint; the iterator moves to its position.

    Args:
      step: of the checkpoint, the same for all processes (`latest_step`).
      abstract_state: shapes and shardings, from `state.with_shardings`; the
        devices need not be those that wrote the checkpoint.
      iterator: stream of the same sources and buckets; workers and processes
        may be others.
      config: what must have stayed in it is compared with what was saved.

    Returns:
      The state.

    Raises:
      UserError: if there is no such checkpoint, if it is one of another model
        or optimizer, or of a stream of other buckets, or is damaged.
    """
    folder = checkpoint_files.find(self._folder, step)
    with checkpoint_files.reading(folder):
      own = tables.named_leaves(abstract_state)
      checkpoint_files.check_same(folder, checkpoint_files.shapes(folder), own)
      _check_settings(folder, config or {})
      restored = self._manager.restore(
          step,
          args=ocp.args.Composite(
              state=ocp.args.StandardRestore(abstract_state),
              data=ocp.args.JsonRestore(),
          ),
      )
      checkpoint_files.check_sums(folder, restored['state'])
      iterator.set_state(restored['data'])
    return restored['state']

  def restore_last(
      self,
      abstract_state: state_lib.TrainState,
      iterator: Any,
      config: Mapping[str, Any] | None = None,
  ) -> tuple[int, state_lib.TrainState]:
    """Restores the last checkpoint that is whole.

    Damaged ones behind it are put aside as `damaged_<step>`, so that the run
    can save these steps again.

    Args:
      abstract_state: as for `restore`.
      iterator: as for `restore`.
      config: as for `restore`.

    Returns:
      Its step, and the state.

    Raises:
      UserError: as `restore`; if no checkpoint is whole, nothing is put aside.
    """

    def restore(folder: epath.Path) -> tuple[int, state_lib.TrainState]:
      step = int(folder.name)
      return step, self.restore(step, abstract_state, iterator, config)

    step, state = checkpoint_files.first_whole(self._folder, 'latest', restore)
    if step != latest_step(self._folder.parent):
      processes.on_first(functools.partial(_put_aside, self._folder, step))
      self._manager.reload()
    return step, state

  def close(self):
    """Waits and releases the threads."""
    self._manager.close()


def _open_manager(folder: epath.Path, keep: int) -> ocp.CheckpointManager:
  """The manager that keeps the last checkpoints and the best one."""
  measured = checkpoint_files.decisive
  best_one = checkpoint_managers.BestN(
      get_metric_fn=measured, n=1, keep_checkpoints_without_metrics=False
  )
  latest = checkpoint_managers.LatestN(keep)
  options = ocp.CheckpointManagerOptions(
      preservation_policy=checkpoint_managers.AnyPreservationPolicy(
          [latest, best_one]
      ),
      best_fn=measured,
  )
  return ocp.CheckpointManager(folder, options=options)


def _remove_unfinished(folder: epath.Path):
  """Removes checkpoints that a killed run was writing.

  Orbax would do so in a thread, which fails loudly if the program ends at once.
  """
  if folder.exists():
    for path in folder.iterdir():
      if ocp.utils.is_tmp_checkpoint(path):
        path.rmtree()


def _put_aside(folder: epath.Path, step: int):
  """Renames the checkpoints behind a step."""
  for path in list(folder.iterdir()):
    if path.name.isdigit() and int(path.name) > step:
      path.rename(folder / f'damaged_{path.name}')


def _check_settings(folder: epath.Path, config: Mapping[str, Any]):
  """Raises a UserError if a setting that the data position needs differs."""
  if list((folder / 'data').glob('process_*')):
    raise errors.UserError(
        f'{folder} is of a version that kept the position in the data by'
        ' process; train on from its parameters by --config.init'
    )
  saved = checkpoint_files.meta(folder).get('config', {})
  for key in ('batch_size', 'seed', 'best'):
    if key in saved and key in config and saved[key] != config[key]:
      raise errors.UserError(
          f'config.{key}={config[key]}, but {folder} was trained with'
          f' {saved[key]}: keep that, or start by --config.init'
      )
