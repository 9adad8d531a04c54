"""The frames of a video as images, by OpenCV where it is installed."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from glip_jax.data import fast_images
from glip_jax.errors import UserError

ENDINGS = ('.mp4', '.m4v', '.avi', '.mov', '.mkv', '.webm')


def is_video(path: str | os.PathLike) -> bool:
  """Whether a path is one of a video, by its ending."""
  return os.fspath(path).lower().endswith(ENDINGS)


class Frame:
  """One frame.

  It is decoded as the video is read through; that is handed out once, and then
  only the place is kept.

  Attributes:
    path: of the video.
    number: from 0.
  """

  path: str
  number: int

  def __init__(
      self, path: str, number: int, pixels: UInt8[np.ndarray, 'h w 3']
  ):
    """Holds a frame until it is read."""
    self.path, self.number, self._pixels = path, number, pixels

  def read(self) -> UInt8[np.ndarray, 'h w 3']:
    """The frame as RGB; of a second time the video is searched for it.

    Raises:
      UserError: the video is no longer there, or ends before.
    """
    pixels, self._pixels = self._pixels, None
    if pixels is not None:
      return pixels
    cv2 = load_opencv()
    video = _open(cv2, self.path)
    try:
      video.set(cv2.CAP_PROP_POS_FRAMES, self.number)
      found, pixels = video.read()
    finally:
      video.release()
    if not found:
      raise UserError(
          f'image={self.path!r} has no frame {self.number} any more: give the'
          ' video that it was found in'
      )
    return _rgb(pixels)


def frames(path: str) -> Iterator[Frame]:
  """The frames of a video, one after the other.

  Raises:
    UserError: it cannot be opened or has no frame, or OpenCV is missing.
  """
  video, number = _open(load_opencv(), path), 0
  try:
    while True:
      found, pixels = video.read()
      if not found:
        break
      yield Frame(path, number, _rgb(pixels))
      number += 1
  finally:
    video.release()
  if not number:
    raise UserError(
        f'image={path!r} is a video without frames: give a whole one'
    )


def load_opencv() -> types.ModuleType:
  """OpenCV; see `fast_images.load_opencv`."""
  return fast_images.load_opencv('a video', 'give a folder of frames')


def _open(cv2: types.ModuleType, path: str):
  video = cv2.VideoCapture(path) if os.path.isfile(path) else None
  if video is None or not video.isOpened():
    raise UserError(
        f'image={path!r} cannot be opened as a video: give a whole file that'
        ' exists'
    )
  return video


def _rgb(pixels: UInt8[np.ndarray, 'h w 3']) -> UInt8[np.ndarray, 'h w 3']:
  """OpenCV's order of channels is the other way round."""
  return np.ascontiguousarray(pixels[..., ::-1])
