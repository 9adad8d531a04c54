"""Starting a model from the parameters of another: a checkpoint or a file."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

from glip_jax import errors
from glip_jax.training import checkpoint_files, tables


@dataclasses.dataclass(frozen=True)
class InitReport:
  """What `from_checkpoint` did with each parameter.

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
        lines.append(f'{len(names)} {kind}: {checkpoint_files.listing(names)}')
    return '\n'.join(lines)


def from_checkpoint(
    path: str | os.PathLike, params: Any, step: str | int = 'latest'
) -> tuple[Any, InitReport]:
  """Starts a model from a checkpoint of a similar one.

  Args:
    path: as for `checkpoint_files.find`.
    params: freshly initialised parameters; their shardings are kept.
    step: as for `checkpoint_files.find`.

  Returns:
    The parameters, taken from the checkpoint wherever path and shape agree, and
    the report of what was not.

  Raises:
    UserError: if there is no checkpoint or nothing in it fits.
  """
  read = functools.partial(_from_folder, path, params)
  return checkpoint_files.first_whole(path, step, read)


def _from_folder(
    path: str | os.PathLike, params: Any, folder: epath.Path
) -> tuple[Any, InitReport]:
  """`from_checkpoint`, of the folder of one."""
  item, there = checkpoint_files.param_shapes(folder)
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
        f' {checkpoint_files.listing(list(there))}, the model has'
        f' {checkpoint_files.listing(list(own))}'
    )
  loaded = tables.named_leaves(
      checkpoint_files.read(folder, item, _prune(params, fits))
  )
  merged = jax.tree_util.tree_map_with_path(
      lambda key, leaf: loaded.get(tables.path_name(key), leaf), params
  )
  return merged, report


def from_arrays(
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
