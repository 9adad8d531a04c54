"""The images of an annotation file: which there are, where, and of what size.

What grows with the data set is held in flat arrays, which cost little to send
to worker processes.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import UInt8

from glip_jax.data.images import BadImage, image_size, read_moderate
from glip_jax.data.sources.annotation_file import Entries, Id, Report, read_id
from glip_jax.data.sources.listing import Listing
from glip_jax.data.sources.selection import Selection
from glip_jax.data.sources.strings import Strings
from glip_jax.errors import UserError
from glip_jax.text.prompts import is_whole

_MISMATCHES_LOGGED = 3

# The position of an image that is in another part of the data set.
ELSEWHERE = -1

# Entries of one file, without captions and with them.
_SHARED = (
    'entry of the file of another, joined with it',
    'entry of the file and caption of another, whose boxes it lacks',
)


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

  def read(
      self, index: int
  ) -> tuple[UInt8[np.ndarray, 'h w 3'], tuple[int, int]]:
    """Reads an image, and the (h, w) of the whole: see `read_moderate`.

    Raises:
      IndexError: if there is no such image.
      BadImage: if it cannot be read.
    """
    path, stated = self._path(index), self.stated_size(index)
    image, size = read_moderate(path, annotated_size=stated)
    self._sizes[index] = size
    if stated is not None and stated != size:
      logging.log_first_n(
          logging.WARNING,
          '%s is %dx%d; the %dx%d (h x w) of the annotations is ignored',
          _MISMATCHES_LOGGED,
          path,
          *size,
          *stated,
      )
    return image, size

  def file(self, index: int) -> bytes:
    """The file of an image as it is.

    Raises:
      BadImage: if it cannot be read.
    """
    path = self._path(index)
    try:
      return pathlib.Path(path).read_bytes()
    except OSError as error:
      raise BadImage(
          f'{path} cannot be read ({error}); leave it out'
      ) from error

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


def check_folder(folder: str | os.PathLike[str]) -> None:
  """Refuses a folder of images that is not there."""
  if not os.path.isdir(folder):
    raise UserError(
        f'images={os.fspath(folder)!r} is not a folder; give the folder that'
        " the 'file_name' of each image is relative to"
    )


def read_images(
    images: Entries,
    folder: str | os.PathLike[str],
    report: Report,
    *,
    captioned: bool = False,
    selection: Selection = Selection(),
) -> tuple[Images, Strings, dict[Id | None, int | None]]:
  """Makes the table of images, leaving out those that cannot be used.

  Entries of one file are one image, under the first of their ids; `captioned`
  ones stay apart, as a record is a caption there.

  Only names are looked at here; whether a file is an image shows when it is
  read. Every folder is listed once, which also on network drives is faster
  than asking for each file.

  Args:
    images: from `entries`.
    folder: where the images are.
    report: where faults are counted.
    captioned: leave out images without a caption, or with one that holds half
      of a character.
    selection: which part of the images to use.

  Returns:
    The images, their captions (none unless `captioned`), and the position of
    each by id, None where it was left out and `ELSEWHERE` where it is in
    another part.

  Raises:
    UserError: if the folder is missing, there are no usable images, or bad
      records are refused.
  """
  if not images:
    raise UserError(f"{report.file} has an empty list 'images'; fill it in")
  folder = os.fspath(folder)
  check_folder(folder)
  images, others = _in_part(images, selection, report.file)
  table = _Table(_find_files(images, folder), report, captioned)
  for name, image in images:
    table.add(name, image)
  for identity in others:
    table.positions.setdefault(identity, ELSEWHERE)
  report.keep('images', len(table.rows), len(images))
  if not table.rows:
    raise UserError(
        f'{report.file} has no usable image in {folder!r} ({report}); check'
        ' images= and the file'
    )
  return Images(folder, table.rows), Strings(table.captions), table.positions


def _in_part(
    images: Entries, selection: Selection, file: str
) -> tuple[Entries, list[Id | None]]:
  """The entries of the part that is used, and the ids of the others."""
  kept = selection.files(
      (name for _, image in images if _is_text(name := image.get('file_name'))),
      file,
  )
  rows, others = [], []
  for row in images:
    name = row[1].get('file_name')
    if not _is_text(name) or name in kept:
      rows.append(row)
    else:
      others.append(read_id(row[1].get('id')))
  return rows, others


class _Table:
  """The rows of `Images`, their captions, and where the row of each id is."""

  def __init__(self, found: Mapping[str, str], report: Report, captioned: bool):
    self.rows: list[tuple[Id, str, tuple[int, int]]] = []
    self.captions: list[str] = []
    self.positions: dict[Id | None, int | None] = {}
    self._found, self._report, self._captioned = found, report, captioned
    # Without captions a file is one record, which holds the boxes of all of
    # its entries: in two, each would have those of the other as background.
    self._places: dict[tuple[Any, ...], int] = {}

  def add(self, name: str, image: dict[str, Any]) -> None:
    """Adds an entry: a row of its own, or one that there is, or none."""
    identity, file = read_id(image.get('id')), image.get('file_name')
    caption = image.get('caption') if self._captioned else ''
    fault = _fault(identity, file, self._found)
    if not fault and not _is_text(caption) and self._captioned:
      fault = 'image without caption'
    if not fault and self._captioned and not is_whole(caption):
      fault = 'caption with half of a character'
    path = '' if fault else os.path.normpath(self._found[file])
    place = None if fault else self._places.get((path, caption))
    known = self.positions.get(identity)
    if known is not None and known == place:
      self._report.note('image that is listed twice', f'{name} {file!r}')
      return
    if known is not None:
      fault = 'second image of the same id'
    if fault:
      self._report.fault(fault, f'{name} {file!r}')
      self.positions.setdefault(identity, None)
      return
    self._note(name, file, path, place)
    if place is not None and not self._captioned:
      self.positions[identity] = place
      return
    self.positions[identity] = self._places[path, caption] = len(self.rows)
    self.rows.append((identity, path, _stated_size(image)))
    self.captions += [caption] if self._captioned else []

  def _note(self, name: str, file: str, path: str, place: int | None) -> None:
    if kind := _found_by(file, path):
      self._report.note(kind, f'{name} {file!r} is {path!r}')
    if place is not None:
      self._report.note(_SHARED[self._captioned], f'{name} {file!r}')


def _find_files(images: Entries, folder: str) -> Mapping[str, str]:
  """Where the files are whose names stay within the folder."""
  names = (image.get('file_name') for _, image in images)
  return Listing(folder).find_all(filter(is_inside, names))


def is_inside(file: Any) -> bool:
  """Whether a value is the name of a file that may be looked for."""
  return _is_text(file) and not _strays(file)


def _strays(file: str) -> str:
  """Says why a name is not even looked for, or ''."""
  if '://' in file:
    return 'file_name that is a URL'
  if '..' in re.split(r'[\\/]', file) or '\0' in file:
    return 'file_name outside the images folder'
  return ''


def _is_text(value: Any) -> bool:
  return isinstance(value, str) and bool(value.strip())


def _found_by(file: str, path: str) -> str:
  """Says in what a name differs from the path that was found, or ''."""
  names = os.path.normpath(file), os.path.normpath(file.replace('\\', '/'))
  if path in names:
    return ''
  composed = unicodedata.normalize('NFC', path)
  if composed == unicodedata.normalize('NFC', names[1]):
    return 'file whose accents are composed otherwise, found'
  return 'file found by what is left of its name'


def _fault(identity: Id | None, file: Any, found: Mapping[str, str]) -> str:
  """Says why an image cannot be used, or ''."""
  if identity is None:
    return 'image without id'
  if not _is_text(file):
    return 'image without file_name'
  if stray := _strays(file):
    return stray
  if file not in found:
    return 'missing image'
  return '' if found[file] else 'one of several names of a single file'


def _stated_size(image: Mapping[str, Any]) -> tuple[int, int]:
  """Returns (h, w) of an entry; (0, 0) if these are no sides of an image."""
  size = image.get('height'), image.get('width')
  is_size = all(isinstance(side, int) and 0 < side < 2**31 for side in size)
  return size if is_size else (0, 0)
