"""Reads `.pth` files of torch without torch, and without trusting them.

Arrays are views of the file, mapped into memory: what is not looked at, such
as the state of an optimizer, is not read from the disk.
"""

import math
import os
from typing import Any

import numpy as np

from glip_jax import errors
from glip_jax.weights import torch_archive, torch_pickle, torch_values

_MAX_AXES = 32


class TorchFile:
  """A torch file whose arrays are read when they are asked for.

  Attributes:
    value: what it holds: plain containers, numbers, texts and `View`s.

  Args:
    path: of a file that `torch.save` wrote, torch 1.6 or later.

  Raises:
    RefusedError: its pickle tries anything but that; nothing of it has run.
    UserError: it cannot be read, is damaged or is in an older format.
  """

  def __init__(self, path: str | os.PathLike):
    self._archive = torch_archive.Archive(path)
    data = self._archive.read('data.pkl').tobytes()
    self.value: Any = torch_pickle.read(
        data, self._archive.name, num_records=len(self._archive)
    )
    self._big = self._big_endian()
    self._storages: dict[tuple[str, str], np.ndarray] = {}

  def array(self, view: torch_values.View) -> np.ndarray:
    """The values of a tensor: a read-only view of the file where that can be.

    Args:
      view: from `value`.

    Raises:
      UserError: it reaches beyond its storage, or the storage is not whole.
    """
    dtype = torch_values.KINDS[view.storage.kind]
    self._check(view, dtype)
    if not math.prod(view.shape):
      return np.zeros(view.shape, dtype)
    # Once for all tensors of it, or a copy for each would be without end.
    storage = view.storage.kind, view.storage.key
    values = self._storages.get(storage)
    if values is None:
      values = self._storages[storage] = self._storage(view.storage, dtype)
    return np.lib.stride_tricks.as_strided(
        values[view.offset :],
        view.shape,
        [stride * dtype.itemsize for stride in view.strides],
        writeable=False,
    )

  def _storage(
      self, storage: torch_values.Storage, dtype: np.dtype
  ) -> np.ndarray:
    """All numbers of a storage, in this machine's order of bytes."""
    data = self._archive.read(f'data/{storage.key}')
    if dtype.kind == 'b':
      return data != 0  # Other bytes would be neither True nor False.
    file_order = '>' if self._big else '<'
    whole = np.dtype(f'{file_order}u{dtype.itemsize}')
    return (
        data.view(whole).astype(whole.newbyteorder('='), copy=False).view(dtype)
    )

  def _check(self, view: torch_values.View, dtype: np.dtype):
    """Raises a UserError if a tensor is not within its storage."""
    if len(view.shape) > _MAX_AXES:
      raise self._damaged(f'a tensor of {len(view.shape)} axes')
    storage, record = view.storage, f'data/{view.storage.key}'
    want = storage.size * dtype.itemsize
    if record not in self._archive or self._archive.size(record) != want:
      raise self._damaged(f'no {record!r:.100} of {want} bytes')
    count = math.prod(view.shape)
    last = view.offset + sum(
        (size - 1) * stride
        for size, stride in zip(view.shape, view.strides, strict=True)
    )
    # An expanded tensor declares more numbers than there are, without end.
    if count > storage.size or (count and last >= storage.size):
      raise self._damaged(
          f'a tensor of shape {str(view.shape):.80} that its storage of'
          f' {storage.size} numbers cannot hold'
      )

  def _big_endian(self) -> bool:
    """What the file says of its bytes; files of older torch are silent."""
    if 'byteorder' not in self._archive:
      return False
    order = self._archive.read('byteorder').tobytes()
    if order not in (b'little', b'big'):
      raise self._damaged(f'an order of bytes {order!r:.40}')
    return order == b'big'

  def _damaged(self, what: str) -> errors.UserError:
    return errors.UserError(
        f'{self._archive.name} has {what}: fetch or save it again'
    )
