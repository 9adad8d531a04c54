"""Meshes, and where parameters, optimizer state and batches live on them.

Two axes: 'data' replicates parameters, 'fsdp' splits them; batches are split
over both. Models carry no partition metadata: a (regex, spec) table and one
default rule decide by a parameter's path and shape.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from glip_jax import errors
from glip_jax.fields import field
from glip_jax.training import tables

AXES = ('data', 'fsdp')
MIN_SHARDED_SIZE = 2**14  # Elements; splitting less costs more than it saves.


@dataclasses.dataclass(frozen=True)
class Axes:
  """Sizes of the mesh: `config.mesh`."""

  data: int = field(
      -1, 'devices that each hold all parameters; -1 takes the rest', least=-1
  )
  fsdp: int = field(
      1, 'devices that share the parameters; -1 takes the rest', least=-1
  )


def make_mesh(
    config: Mapping[str, int], devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """The device mesh of `config.mesh`.

  Args:
    config: sizes of the axes 'data' and 'fsdp'; one of them may be -1, which
      takes the devices that the other leaves.
    devices: devices to use, by default all.

  Returns:
    A mesh with automatic (compiler-chosen) sharding propagation.

  Raises:
    UserError: for another axis name, two -1, or sizes whose product is not the
      number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  sizes = {axis: config.get(axis, 1) for axis in AXES}
  unknown = sorted(set(config) - set(AXES))
  shown = ', '.join(f'{axis}={size}' for axis, size in sizes.items())
  if unknown or min(sizes.values()) < -1 or 0 in sizes.values():
    raise errors.UserError(
        f'config.mesh={dict(config)}: the axes are {AXES}, their sizes positive'
        ' or -1'
    )
  fixed = math.prod(size for size in sizes.values() if size > 0)
  open_axes = [axis for axis in AXES if sizes[axis] == -1]
  if len(open_axes) == 1 and len(devices) % fixed == 0:
    sizes[open_axes[0]] = len(devices) // fixed
  if math.prod(sizes.values()) != len(devices) or len(open_axes) > 1:
    raise errors.UserError(
        f'config.mesh {shown} does not fit {len(devices)} devices: the product'
        ' of the axes must be the number of devices; leave one axis at -1'
    )
  return jax.make_mesh(
      tuple(sizes.values()),
      AXES,
      axis_types=(AxisType.Auto,) * len(AXES),
      devices=devices,
  )


def choose_devices(
    devices: int | Sequence[jax.Device] | None,
) -> list[jax.Device]:
  """The devices that a caller means.

  Args:
    devices: so many of those that there are, or these; None for the first.

  Raises:
    UserError: there are fewer, or they are none.
  """
  known = jax.devices()
  if devices is None:
    return known[:1]
  if isinstance(devices, int) and not isinstance(devices, bool):
    if not 1 <= devices <= len(known):
      raise errors.UserError(
          f'devices={devices}: there are {len(known)}; give 1 to {len(known)}'
      )
    return known[:devices]
  found = list(devices) if isinstance(devices, (list, tuple)) else []
  if not found or not all(isinstance(each, jax.Device) for each in found):
    raise errors.UserError(
        f'devices={devices!r:.80} are none: give a number of them, or some of'
        ' jax.devices()'
    )
  return found


def check_batch_size(batch_size: int, mesh: Mesh, what: str = 'batch_size'):
  """Refuses a batch that the mesh cannot split evenly.

  Raises:
    UserError: if `batch_size` is not a positive multiple of the mesh's size.
  """
  if batch_size < 1:
    raise errors.UserError(f'{what}={batch_size} must be 1 or more')
  if batch_size % mesh.size:
    lower = batch_size // mesh.size * mesh.size
    choices = [n for n in (lower, lower + mesh.size) if n > 0]
    raise errors.UserError(
        f'{what}={batch_size} is not divisible by the {mesh.size} devices of'
        f' mesh axes {AXES}: choose {" or ".join(map(str, choices))}'
    )


def check_eval_batches(evals: Mapping[str, Any], mesh: Mesh):
  """Refuses an evaluation whose batch the mesh cannot split evenly.

  Args:
    evals: those of a run; `batch_size` counts the rows of one process.
    mesh: the mesh.

  Raises:
    UserError: naming the evaluation.
  """
  for name, spec in evals.items():
    total = spec.batch_size * jax.process_count()
    check_batch_size(total, mesh, f'config.evals.{name}.batch_size')


def param_shardings(
    params: Any,
    mesh: Mesh,
    table: tables.Table = (),
    *,
    min_size: int = MIN_SHARDED_SIZE,
) -> Any:
  """Shardings of the parameters: the table first, else the default rule.

  The default replicates leaves with fewer than `min_size` elements and splits
  the largest dimension that 'fsdp' divides of the others.

  Args:
    params: parameters or their abstract shapes.
    mesh: a mesh with the axes 'data' and 'fsdp'.
    table: rows of (regex over paths, spec); a spec has at most one entry for
      each dimension, an axis name, a tuple of them, or None.
    min_size: elements below which a leaf is replicated.

  Returns:
    A tree of NamedSharding like `params`.

  Raises:
    UserError: for a regex that matches nothing, and a spec that does not fit
      the shape of a parameter that it matches.
  """
  regexes = [row[0] for row in table]
  names = list(tables.named_leaves(params))
  tables.check_matches('config.sharding', regexes, names)

  def choose(path, leaf):
    name = tables.path_name(path)
    spec = tables.lookup(table, name, _DEFAULT)
    if spec is _DEFAULT:
      spec = _default_spec(leaf.shape, mesh.shape['fsdp'], min_size)
    else:
      _check_spec(name, leaf.shape, spec, mesh)
    return NamedSharding(mesh, PartitionSpec(*spec))

  return jax.tree_util.tree_map_with_path(choose, params)


def state_shardings(state: Any, params: Any, mesh: Mesh) -> Any:
  """Shardings of a whole train state: what mirrors a parameter follows it.

  Args:
    state: abstract state; leaves whose path ends with the path of a parameter
      of the same shape (the parameter itself, its moments, its average) share
      its sharding, all others are replicated.
    params: shardings of the parameters, from `param_shardings`.
    mesh: the mesh, for the replicated leaves.

  Returns:
    A tree of NamedSharding like `state`.
  """
  known = tables.named_leaves(params)
  shapes = {n: x.shape for n, x in tables.named_leaves(state.params).items()}

  def choose(path, leaf):
    for start in range(len(path)):
      name = tables.path_name(path[start:])
      if name in known and shapes[name] == leaf.shape:
        return known[name]
    return replicated(mesh)

  return jax.tree_util.tree_map_with_path(choose, state)


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of what every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The sharding of every array of a batch: its first axis over all devices."""
  return NamedSharding(mesh, PartitionSpec(AXES))


def put_batch(batch: Any, mesh: Mesh) -> Any:
  """Host arrays to global device arrays, without waiting for the copy.

  Args:
    batch: tree of numpy arrays, the rows of this process.
    mesh: the mesh whose devices take them.

  Returns:
    The same tree of global arrays, sharded as `batch_sharding`.
  """
  sharding = batch_sharding(mesh)

  def put(leaf):
    return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

  return jax.tree.map(put, batch)


def local_rows(arrays: Any) -> Any:
  """The rows of this process of arrays that are sharded as `batch_sharding`."""
  return jax.tree.map(_join_local, arrays)


def _join_local(array: jax.Array) -> jax.Array:
  """This process's shards as one array, in the order `put_batch` took them.

  Nothing is waited for. The devices of a process may lie anywhere in the mesh.
  """
  if array.is_fully_addressable:
    return array
  shards = sorted(array.addressable_shards, key=lambda s: s.index[0].start or 0)
  mesh = Mesh(np.array([shard.device for shard in shards]), ('rows',))
  return jax.make_array_from_single_device_arrays(
      (sum(len(shard.data) for shard in shards), *array.shape[1:]),
      NamedSharding(mesh, PartitionSpec('rows')),
      [shard.data for shard in shards],
  )


_DEFAULT = object()


def _default_spec(
    shape: tuple[int, ...], size: int, min_size: int
) -> tuple[str | None, ...]:
  """Splits the largest dimension that `size` divides, or nothing."""
  divisible = [i for i, n in enumerate(shape) if n % size == 0]
  if size == 1 or math.prod(shape) < min_size or not divisible:
    return ()
  axis = max(divisible, key=lambda i: shape[i])
  return (None,) * axis + ('fsdp',)


def _check_spec(
    name: str, shape: tuple[int, ...], spec: Sequence[Any], mesh: Mesh
):
  """Raises a UserError if `spec` cannot split `shape`."""
  kinds = (str, tuple, list, type(None))
  if not isinstance(spec, (tuple, list)) or not all(
      isinstance(axes, kinds) for axes in spec
  ):
    raise errors.UserError(
        f'config.sharding: spec {spec!r} for {name} must be a tuple with an'
        " entry for each dimension, such as (None, 'fsdp'); () replicates"
    )
  parts = [(axes,) if isinstance(axes, str) else axes or () for axes in spec]
  known = all(axis in AXES for axes in parts for axis in axes)
  sizes = [math.prod(mesh.shape[a] for a in axes) for axes in parts if known]
  fits = known and len(spec) <= len(shape)
  if not fits or any(n % k for n, k in zip(shape, sizes, strict=False)):
    raise errors.UserError(
        f'config.sharding: spec {tuple(spec)} does not fit {name} of shape'
        f' {shape} on mesh {dict(mesh.shape)}: every entry must be None or of'
        f' {AXES} and divide its dimension'
    )
