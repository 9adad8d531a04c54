"""The images of an annotation file: which there are, where, and of what size.

What grows with the data set is held in flat arrays, which cost little to send
to worker processes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import UInt8

from glip_jax.data.images import image_size, read_image
from glip_jax.data.sources.annotation_file import Entries, Id, Report, read_id
from glip_jax.errors import UserError
from glip_jax.text.prompts import is_whole

_MISMATCHES_LOGGED = 3


class Strings(Sequence[str]):
  """Strings that never change, in one piece of memory."""

  def __init__(self, values: Iterable[str]):
    """Joins strings."""
    # JSON may hold halves of surrogate pairs.
    encoded = [value.encode('utf-8', 'surrogatepass') for value in values]
    self._joined = b''.join(encoded)
    self._end = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

  def __len__(self) -> int:
    return len(self._end) - 1

  def __getitem__(self, index: int) -> str:
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in [0, {len(self)})')
    joined = self._joined[self._end[index] : self._end[index + 1]]
    return joined.decode('utf-8', 'surrogatepass')


class Images:
  """The usable images of an annotation file, in the order of the file.

  Where the file states another size than an image has, the image counts.

  Attributes:
    files: path of each image within the folder.
  """

  def __init__(
      self, folder: str, rows: Sequence[tuple[Id, str, tuple[int, int]]]
  ):
    """Takes id, path and stated (h, w) of each; (0, 0) where none is stated."""
    ids, files, stated = zip(*rows, strict=True)
    self._folder = folder
    self.files = Strings(files)
    self._ids = Strings(map(json.dumps, ids))
    self._stated = np.array(stated, np.int32)
    self._sizes = np.zeros_like(self._stated)  # Those read; 0 where none was.

  def __len__(self) -> int:
    return len(self.files)

  def id(self, index: int) -> Id:
    """The id that the file gives an image."""
    return json.loads(self._ids[index])

  def stated_size(self, index: int) -> tuple[int, int] | None:
    """(h, w) that the file gives an image, or None."""
    height, width = self._stated[index].tolist()
    return (height, width) if height else None

  def read(self, index: int) -> UInt8[np.ndarray, 'h w 3']:
    """Reads an image.

    Raises:
      IndexError: if there is no such image.
      BadImage: if it cannot be read.
    """
    path, stated = self._path(index), self.stated_size(index)
    image = read_image(path, annotated_size=stated)
    self._sizes[index] = image.shape[:2]
    if stated is not None and stated != image.shape[:2]:
      logging.log_first_n(
          logging.WARNING,
          '%s is %dx%d; the %dx%d (h x w) of the annotations is ignored',
          _MISMATCHES_LOGGED,
          path,
          *image.shape[:2],
          *stated,
      )
    return image

  def size(self, index: int) -> tuple[int, int]:
    """(h, w) that `read` gives, from the header of the image.

    Raises:
      IndexError: if there is no such image.
      BadImage: if the header cannot be read.
    """
    path, stated = self._path(index), self.stated_size(index)
    if not self._sizes[index].any():
      self._sizes[index] = image_size(path, annotated_size=stated)
    height, width = self._sizes[index].tolist()
    return height, width

  def _path(self, index: int) -> str:
    return os.path.join(self._folder, self.files[index])


def read_images(
    images: Entries,
    folder: str | os.PathLike[str],
    report: Report,
    *,
    captioned: bool = False,
) -> tuple[Images, Strings, dict[Id | None, int | None]]:
  """Makes the table of images, leaving out those that cannot be used.

  Only names are looked at here; whether a file is an image shows when it is
  read. Every folder is listed once, which also on network drives is faster
  than asking for each file.

  Args:
    images: from `entries`.
    folder: where the images are.
    report: where faults are counted.
    captioned: leave out images without a caption, or with one that holds half
      of a character.

  Returns:
    The images, their captions (none unless `captioned`), and the position of
    each by id, None where it was left out.

  Raises:
    UserError: if the folder is missing, there are no usable images, or bad
      records are refused.
  """
  if not images:
    raise UserError(f"{report.file} has an empty list 'images'; fill it in")
  folder = os.fspath(folder)
  if not os.path.isdir(folder):
    raise UserError(
        f'images={folder!r} is not a folder; give the folder that the'
        " 'file_name' of each image is relative to"
    )
  listing = _Listing(folder)
  rows, captions = [], []
  positions: dict[Id | None, int | None] = {}
  for name, image in images:
    identity, file = read_id(image.get('id')), image.get('file_name')
    fault = _fault(identity, file, positions, listing)
    if not fault and captioned and not _is_text(image.get('caption')):
      fault = 'image without caption'
    if not fault and captioned and not is_whole(image['caption']):
      fault = 'caption with half of a character'
    if fault:
      report.fault(fault, f'{name} {file!r}')
      positions.setdefault(identity, None)
      continue
    positions[identity] = len(rows)
    rows.append((identity, listing.find(file), _stated_size(image)))
    captions += [image['caption']] if captioned else []
  if not rows:
    raise UserError(
        f'{report.file} has no usable image in {folder!r} ({report}); check'
        ' images= and the file'
    )
  return Images(folder, rows), Strings(captions), positions


class _Listing:
  """Which files there are in a folder and those below; lists each once."""

  def __init__(self, folder: str):
    self._folder = folder
    self._files: dict[str, frozenset[str]] = {}

  def find(self, file: str) -> str:
    """Returns the path as it stands on disk, or '' if there is no file."""
    # Files written on Windows separate folders by backslashes.
    for path in (file, file.replace('\\', '/')):
      parent, name = os.path.split(path)
      if name in self._names(parent):
        return path
    return ''

  def _names(self, parent: str) -> frozenset[str]:
    if parent not in self._files:
      try:
        with os.scandir(os.path.join(self._folder, parent)) as found:
          self._files[parent] = frozenset(entry.name for entry in found)
      except (OSError, ValueError):  # ValueError: no name of a file.
        self._files[parent] = frozenset()
    return self._files[parent]


def _is_text(caption: Any) -> bool:
  return isinstance(caption, str) and bool(caption.strip())


def _fault(
    identity: Id | None,
    file: Any,
    positions: Mapping[Id | None, int | None],
    listing: _Listing,
) -> str:
  """Says why an image cannot be used, or ''."""
  if identity is None:
    return 'image without id'
  if positions.get(identity) is not None:
    return 'second image of the same id'
  if not isinstance(file, str) or not file.strip():
    return 'image without file_name'
  if '://' in file:
    return 'file_name that is a URL'
  parts = re.split(r'[\\/]', file)
  if not parts[0] or re.fullmatch('[A-Za-z]:', parts[0]):
    return 'absolute file_name'
  if '..' in parts or '\0' in file:
    return 'file_name outside the images folder'
  return '' if listing.find(file) else 'missing image'


def _stated_size(image: Mapping[str, Any]) -> tuple[int, int]:
  """Returns (h, w) of an entry; (0, 0) if these are no sides of an image."""
  size = image.get('height'), image.get('width')
  is_size = all(isinstance(side, int) and 0 < side < 2**31 for side in size)
  return size if is_size else (0, 0)
