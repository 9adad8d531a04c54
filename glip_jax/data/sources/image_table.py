"""The images of an annotation file: which there are, and where.

Images that cannot be used are left out of the table, so that positions in it
are positions in the source.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from glip_jax.data.sources.annotation_file import Id, read_id
from glip_jax.data.sources.faults import Report
from glip_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Images:
  """The usable images of an annotation file, in the order of the file.

  Attributes:
    folder: where the images are.
    files: path of each image within the folder.
    ids: original id of each image, int of any size or string.
    sizes: (h, w) that the file states, or None.
    captions: caption of each image; empty where it is not asked for.
    dropped: ids of the images that were left out.
  """

  folder: str
  files: tuple[str, ...]
  ids: tuple[Id, ...]
  sizes: tuple[tuple[int, int] | None, ...]
  captions: tuple[str, ...]
  dropped: frozenset[Id]

  def path(self, index: int) -> str:
    """Path of an image."""
    return os.path.join(self.folder, self.files[index])


def read_images(
    images: Sequence[tuple[str, dict[str, Any]]],
    folder: str | os.PathLike[str],
    report: Report,
    *,
    captioned: bool = False,
) -> Images:
  """Makes the table of images, leaving out those that cannot be used.

  Only names are looked at here; whether a file is an image shows when it is
  read. Every folder is listed once, which also on network drives is faster
  than asking for each file.

  Args:
    images: from `entries`.
    folder: where the images are.
    report: where faults are counted.
    captioned: leave out images without a caption.

  Raises:
    UserError: if the folder is missing, there are no usable images, or bad
      records are refused.
  """
  if not images:
    raise UserError(f"{report.file} has an empty list 'images'; fill it in")
  if not os.path.isdir(folder):
    raise UserError(
        f'images={os.fspath(folder)!r} is not a folder; give the folder that'
        " the 'file_name' of each image is relative to"
    )
  listing = _Listing(os.fspath(folder))
  rows: dict[Id, tuple[str, tuple[int, int] | None, str]] = {}
  dropped = set()
  for name, image in images:
    identity = read_id(image.get('id'))
    file = image.get('file_name')
    fault = _image_fault(identity, file, rows, listing)
    caption = image.get('caption') if captioned else ''
    if not fault and captioned and not _is_text(caption):
      fault = 'image without caption'
    if fault:
      report.fault(fault, f'{name} {file!r}')
      dropped.add(identity)
      continue
    rows[identity] = listing.find(file), _stated_size(image), caption
  if not rows:
    raise UserError(
        f'{report.file} has no usable image in {os.fspath(folder)!r}'
        f' ({report}); check images= and the file'
    )
  files, sizes, captions = zip(*rows.values(), strict=True)
  return Images(
      folder=os.fspath(folder),
      files=files,
      ids=tuple(rows),
      sizes=sizes,
      captions=captions,
      dropped=frozenset(dropped - set(rows)),
  )


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


def _image_fault(
    identity: Id | None, file: Any, rows: Mapping[Id, Any], listing: _Listing
) -> str:
  """Says why an image cannot be used, or ''."""
  if identity is None:
    return 'image without id'
  if identity in rows:
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


def _stated_size(image: Mapping[str, Any]) -> tuple[int, int] | None:
  """Returns (h, w) of an image entry if both are sides of an image."""
  size = image.get('height'), image.get('width')
  is_size = all(isinstance(side, int) and 0 < side < 2**31 for side in size)
  return size if is_size else None
