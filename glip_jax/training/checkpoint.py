"""Checkpoints: train state and data position together, and parameters alone.

`workdir/checkpoints/<step>` is written beside and renamed, so a folder with a
step's name is whole, whenever the process was killed. It holds the items
`state` (sharded arrays, readable on any number of devices), `data` (position of
the iterator, one file for each process), `meta` and `metrics` (JSON).
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from grain import checkpoint as grain_checkpoint

from glip_jax import errors
from glip_jax.training import state as state_lib
from glip_jax.training import stored, tables


class Checkpointer:
  """Saves, keeps and restores the checkpoints of one workdir.

  Saving returns as soon as the arrays are copied to the host. Kept are the last
  `keep` checkpoints and the one with the highest `stored.METRIC`.
  """

  def __init__(self, workdir: str | os.PathLike, *, keep: int = 2):
    """Opens (or creates) the workdir and removes what a kill left unfinished.

    Args:
      workdir: folder of the run.
      keep: number of latest checkpoints to keep, at least 1.
    """
    self._folder = stored.absolute(workdir) / stored.FOLDER
    self._manager = stored.open_manager(self._folder, keep=max(keep, 1))

  @property
  def latest_step(self) -> int | None:
    """The last whole checkpoint, None if there is none."""
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
      self,
      abstract_state: state_lib.TrainState,
      iterator: Any,
      config: Mapping[str, Any] | None = None,
  ) -> state_lib.TrainState:
    """Restores the last checkpoint; the iterator moves to its position.

    Args:
      abstract_state: shapes and shardings, from `state.with_shardings`; the
        devices need not be those that wrote the checkpoint.
      iterator: grain iterator of the pipeline that wrote it.
      config: what must have stayed in it is compared with what was saved.

    Returns:
      The state.

    Raises:
      UserError: if there is no checkpoint, if it is one of another model or
        optimizer, or of another data pipeline, or is damaged.
    """
    step = self.latest_step
    if step is None:
      raise stored.no_checkpoint(self._folder)
    folder = self._folder / str(step)
    try:
      own = tables.named_leaves(abstract_state)
      stored.check_same(folder, stored.shapes(folder), own)
      _check_position(folder, iterator)
      _check_settings(folder, config or {})
      restored = self._manager.restore(
          step,
          args=ocp.args.Composite(
              state=ocp.args.StandardRestore(abstract_state),
              data=grain_checkpoint.CheckpointRestore(iterator),
          ),
      )
    except errors.UserError:
      raise
    except (OSError, ValueError) as error:
      reason = str(error).splitlines()[0][:200]
      raise errors.UserError(
          f'{folder} is damaged ({reason}): remove it to go on from an earlier'
          ' checkpoint, or take another --workdir'
      ) from error
    return restored['state']

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
        lines.append(f'{len(names)} {kind}: {stored.listing(names)}')
    return '\n'.join(lines)


def restore_params(
    path: str | os.PathLike, abstract_params: Any, step: str | int = 'latest'
) -> Any:
  """Restores the parameters to evaluate: the average if one was kept.

  Args:
    path: as for `stored.find`.
    abstract_params: shapes and, optionally, shardings on any devices; leaves
      without a sharding go whole to the first device.
    step: as for `stored.find`.

  Returns:
    A tree of arrays like `abstract_params`.

  Raises:
    UserError: if there is no checkpoint, or it is one of another model.
  """
  folder = stored.find(path, step)
  item, there = stored.param_shapes(folder)
  stored.check_same(folder, there, tables.named_leaves(abstract_params))
  return stored.read(folder, item, abstract_params)


def load_for_init(
    path: str | os.PathLike, params: Any, step: str | int = 'latest'
) -> tuple[Any, InitReport]:
  """Starts a model from a checkpoint of a similar one.

  Args:
    path: as for `stored.find`.
    params: freshly initialised parameters; their shardings are kept.
    step: as for `stored.find`.

  Returns:
    The parameters, taken from the checkpoint wherever path and shape agree, and
    the report of what was not.

  Raises:
    UserError: if there is no checkpoint or nothing in it fits.
  """
  folder = stored.find(path, step)
  item, there = stored.param_shapes(folder)
  own = tables.named_leaves(params)
  fits = {n for n in own if n in there and own[n].shape == there[n].shape}
  report = InitReport(
      path=str(folder),
      loaded=tuple(n for n in own if n in fits),
      missing=tuple(n for n in own if n not in there),
      different=tuple(
          (n, there[n].shape, own[n].shape)
          for n in own
          if n in there and n not in fits
      ),
      unused=tuple(n for n in there if n not in own),
  )
  if not fits:
    raise errors.UserError(
        f'config.init={path}: no parameter of {folder} fits this model; it has'
        f' {stored.listing(list(there))}, the model has'
        f' {stored.listing(list(own))}'
    )
  loaded = tables.named_leaves(stored.read(folder, item, _prune(params, fits)))
  merged = jax.tree_util.tree_map_with_path(
      lambda key, leaf: loaded.get(tables.path_name(key), leaf), params
  )
  return merged, report


def start_from(
    path: str | os.PathLike,
    params: Any,
    arrays: Mapping[str, Any],
    unused: Sequence[str] = (),
) -> tuple[Any, InitReport]:
  """Starts a model from arrays of a file, all of which fit it.

  Args:
    path: of the file, for the report.
    params: freshly initialised parameters; their shardings are kept.
    arrays: by path of the parameter.
    unused: names of the file that the model has no use for.

  Returns:
    The parameters, and the report of what was loaded and what was not.
  """

  def place(key: Any, leaf: jax.Array) -> jax.Array:
    value = arrays.get(tables.path_name(key))
    return leaf if value is None else jax.device_put(value, leaf.sharding)

  own = tables.named_leaves(params)
  report = InitReport(
      path=os.fspath(path),
      loaded=tuple(name for name in own if name in arrays),
      missing=tuple(name for name in own if name not in arrays),
      different=(),
      unused=tuple(unused),
  )
  return jax.tree_util.tree_map_with_path(place, params), report


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


def _check_position(folder: epath.Path, iterator: Any):
  """Raises a UserError if the data position is not one of this pipeline."""
  number, count = jax.process_index(), jax.process_count()
  file = folder / 'data' / f'process_{number}-of-{count}.json'
  remedy = 'resume with what it was written with, or start by --config.init'
  if not file.exists():
    files = sorted(path.name for path in (folder / 'data').iterdir())
    raise errors.UserError(
        f'{folder} was not written by {count} processes but left {files}:'
        f' {remedy}'
    )
  if not _same_form(json.loads(file.read_text()), iterator.get_state()):
    raise errors.UserError(
        f'{file} is the position of another data pipeline, for example one'
        f' with another config.data.num_workers: {remedy}'
    )


def _check_settings(folder: epath.Path, config: Mapping[str, Any]):
  """Raises a UserError if a setting that the data position needs differs."""
  file = folder / 'meta' / 'metadata'
  saved = json.loads(file.read_text()).get('config', {})
  for key in ('batch_size', 'seed'):
    if key in saved and key in config and saved[key] != config[key]:
      raise errors.UserError(
          f'config.{key}={config[key]}, but {folder} was trained with'
          f' {saved[key]}: keep that, or start by --config.init'
      )


def _same_form(a: Any, b: Any) -> bool:
  """True if two iterator states have the same lists and common keys."""
  if isinstance(a, dict) and isinstance(b, dict):
    common = set(a) & set(b)
    return (bool(common) or a == b) and all(
        _same_form(a[key], b[key]) for key in common
    )
  if isinstance(a, list) and isinstance(b, list):
    return len(a) == len(b) and all(map(_same_form, a, b))
  return not isinstance(a, (dict, list)) and not isinstance(b, (dict, list))
