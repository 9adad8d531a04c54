"""The images that a caller gives: one, or many in any of their forms.

Nothing is decoded or fetched before its turn, and of files nothing is kept, so
there may be any number.
"""

from __future__ import annotations

import functools
import glob
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from glip_jax.data import any_image, fetching, videos
from glip_jax.errors import UserError
from glip_jax.errors import is_url as _is_url

ENDINGS = (
    '.jpg', '.jpeg', '.png', '.webp', '.gif', '.bmp', '.tif', '.tiff',
    '.ppm', '.pgm',
)  # fmt: skip


class Input:
  """One image that can be read, also again.

  Attributes:
    name: its path or address, of a frame `video.mp4#12`; '' of an image that
      has none.
  """

  name: str

  def __init__(self, value: Any, name: str = ''):
    """Holds what the image is read from.

    Args:
      value: what `any_image.to_rgb` takes, an address of the web, or a
        `videos.Frame`.
      name: see the attributes.
    """
    self._value, self.name = value, name

  def read(self) -> UInt8[np.ndarray, 'h w 3']:
    """The image as RGB.

    Raises:
      BadImage: a file cannot be read.
      UserError: the value is no image, or the address cannot be fetched.
    """
    if isinstance(self._value, videos.Frame):
      return self._value.read()
    if not fetching.is_web(self._value):
      return any_image.to_rgb(self._value)
    content = self._fetched
    try:
      return any_image.to_rgb(content)
    except UserError as error:
      raise UserError(f'{self.name[:200]}: {error}') from error

  @functools.cached_property
  def _fetched(self) -> bytes:
    return fetching.fetch(self._value)


def are_many(images: Any) -> bool:
  """Whether images come one after the other, or there is one alone.

  Many are: a folder, a pattern with * ? or [ that is no file, a video, an
  iterator, an array [n h w 3], and a list or tuple of images. All else is one
  image, also lists of lists of numbers.

  Args:
    images: what a caller gives.
  """
  if isinstance(images, (str, os.PathLike)):
    return not fetching.is_web(images) and _is_several_files(images)
  if isinstance(images, (list, tuple)):
    return not images or _is_image(images[0])
  if isinstance(images, Iterator):
    return True
  return len(getattr(images, 'shape', ())) == 4


def read_list(images: Any) -> Iterator[Input]:
  """The images of what a caller gives, one after the other.

  Args:
    images: one image, as `Input` takes it, or many (see `are_many`). Folders
      are read in the order of names, and not the folders in them.

  Raises:
    UserError: a folder holds no image, a pattern finds none, or OpenCV, which
      videos need, is not installed.
  """
  if not are_many(images):
    yield _one(images)
  elif isinstance(images, (str, os.PathLike)):
    yield from _files(os.fspath(images))
  else:
    for image in images:
      yield from read_list(image)


def count(images: Any) -> int | None:
  """How many images there are, or None where only reading them tells.

  Args:
    images: what a caller gives.

  Raises:
    UserError: as `check`.
  """
  if not are_many(images):
    return 1
  if isinstance(images, (str, os.PathLike)):
    path = os.fspath(images)
    return None if videos.is_video(path) else len(_paths(path))
  if isinstance(images, Iterator):
    return None
  counts = [count(image) for image in images]
  return None if None in counts else sum(counts)


def check(images: Any) -> None:
  """Refuses folders, patterns and videos of which nothing can come.

  Args:
    images: what a caller gives; iterators are not touched.

  Raises:
    UserError: as `read_list`.
  """
  if isinstance(images, (list, tuple)) and are_many(images):
    for image in images:
      check(image)
  elif isinstance(images, (str, os.PathLike)) and are_many(images):
    path = os.fspath(images)
    if videos.is_video(path):
      videos.load_opencv()
    else:
      _paths(path)


def _one(image: Any) -> Input:
  if isinstance(image, (str, os.PathLike)):
    name = os.fspath(image)
    own = name if _is_url(name) else os.path.expanduser(name)
    return Input(own, name)
  return Input(image, getattr(image, 'filename', '') or '')


def _is_image(value: Any) -> bool:
  """Whether an entry of a list is an image itself, and not a row of one."""
  if isinstance(value, (str, os.PathLike, bytes, Image.Image)):
    return True
  return len(getattr(value, 'shape', ())) >= 2


def _is_several_files(path: str | os.PathLike) -> bool:
  path = os.path.expanduser(os.fspath(path))
  if os.path.isdir(path) or videos.is_video(path):
    return True
  return glob.has_magic(path) and not os.path.exists(path)


def _files(path: str) -> Iterator[Input]:
  """The images of a folder, of a pattern or of a video."""
  if videos.is_video(path):
    for frame in videos.frames(os.path.expanduser(path)):
      yield Input(frame, f'{path}#{frame.number}')
  else:
    for name in _paths(path):
      yield Input(name, name)


def _paths(path: str) -> list[str]:
  """Files of images in a folder, or all that a pattern finds."""
  whole = os.path.expanduser(path)
  if os.path.isdir(whole):
    found = [
        os.fspath(entry)
        for entry in sorted(pathlib.Path(whole).iterdir())
        if entry.suffix.lower() in ENDINGS
    ]
    if not found:
      raise UserError(
          f'image={path!r} is a folder without images: give one with files that'
          f' end in {", ".join(ENDINGS)}'
      )
    return found
  found = sorted(
      p for p in glob.glob(whole, recursive=True) if os.path.isfile(p)
  )
  if not found:
    raise UserError(
        f'image={path!r} finds no file: give another pattern, or a folder'
    )
  return found
