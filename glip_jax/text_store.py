"""Encoded prompts in a folder, found again by the content of all they are of.

A vocabulary of thousands of names is encoded once for a model, by whichever
process comes first; nothing is found by other weights, code or tokens.
"""

import contextlib
import dataclasses
import hashlib
import os

import numpy as np
from absl import logging
from etils import epath
from flax import serialization

from glip_jax import storage, types

# What the folder may hold; beyond that goes what was not used for longest.
MOST_BYTES = 2 << 30
_SUFFIX = '.msgpack'


class TextStore:
  """The encoded prompts of one model in a folder that others use too."""

  def __init__(
      self, folder: str | os.PathLike, key: str, most: int = MOST_BYTES
  ):
    """Binds it to a folder, which need not be there.

    Args:
      folder: on this machine.
      key: of weights, model and program.
      most: bytes of all files of the folder.
    """
    self._folder, self._key = epath.Path(folder).expanduser(), key
    self._most, self._is_told = most, False

  def find(self, prompt: bytes) -> types.Text | None:
    """What was kept for a prompt, as numpy arrays; None if nothing was.

    Args:
      prompt: all that decides its encoding beside the model.
    """
    path = self._path(prompt)
    try:
      text = types.Text(**serialization.msgpack_restore(path.read_bytes()))
      with contextlib.suppress(OSError):  # A folder of others may be read.
        os.utime(path)
      return text
    except FileNotFoundError:
      return None
    # Damaged content raises nearly every built-in error.
    except Exception as error:
      self._tell(error)
      return None

  def keep(self, prompt: bytes, text: types.Text) -> None:
    """Writes what a prompt was encoded as; a disk that is full stops nothing.

    Args:
      prompt: as for `find`.
      text: its encoding.
    """
    fields = {f.name: getattr(text, f.name) for f in dataclasses.fields(text)}
    content = serialization.msgpack_serialize(
        {name: np.asarray(x) for name, x in fields.items() if x is not None}
    )
    try:
      storage.write_whole(self._path(prompt), content)
      self._make_room()
    except OSError as error:
      self._tell(error)

  def _path(self, prompt: bytes) -> epath.Path:
    name = hashlib.sha256(self._key.encode() + b'\0' + prompt).hexdigest()
    return self._folder / (name + _SUFFIX)

  def _make_room(self) -> None:
    found = []
    for entry in os.scandir(self._folder):
      if entry.name.endswith(_SUFFIX):
        known = entry.stat()
        found.append((known.st_mtime, known.st_size, entry.path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
      if total <= self._most:
        break
      epath.Path(path).unlink(missing_ok=True)
      total -= size

  def _tell(self, error: Exception) -> None:
    if not self._is_told:
      logging.warning('encoded prompts are not kept: %s', error)
    self._is_told = True
