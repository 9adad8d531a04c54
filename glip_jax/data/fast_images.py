"""JPEGs decoded by OpenCV, at a fraction of their size where that is enough.

Which images these are is said for a while, by `decoding`: sources read images
without knowing what becomes of them.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import types
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8

from glip_jax.errors import UserError

# The (h, w) that an image of (h, w) will be resized to.
Wanted = Callable[[int, int], tuple[int, int]]

_WANTED: contextvars.ContextVar[Wanted | None] = contextvars.ContextVar(
    'wanted', default=None
)
# A decoder of JPEG gives these parts of the sides for less work.
_DIVISORS = (8, 4, 2, 1)
_END = b'\xff\xd9'


@functools.cache
def load_opencv(
    what: str = 'config.data.fast_images=True', remedy: str = 'set it to False'
) -> types.ModuleType:
  """OpenCV, with one thread, as elements are read by several.

  Args:
    what: needs it, for the message.
    remedy: for who does not install it.

  Raises:
    UserError: it is not installed.
  """
  try:
    import cv2  # Optional, and slow to import.
  except ImportError as error:
    raise UserError(
        f"{what} needs OpenCV: pip install 'glip_jax[fast]', or {remedy}"
    ) from error
  cv2.setNumThreads(1)
  return cv2


@contextlib.contextmanager
def decoding(wanted: Wanted | None) -> Iterator[None]:
  """Decodes JPEGs by OpenCV within, in this thread.

  Args:
    wanted: gives the (h, w) that an upright image of (h, w) will be resized to,
      which no fraction that is read is smaller than; None changes nothing.
  """
  token = _WANTED.set(wanted)
  try:
    yield
  finally:
    _WANTED.reset(token)


def wanted() -> Wanted | None:
  """What `decoding` was given, None outside of it."""
  return _WANTED.get()


def fraction(size: tuple[int, int], needed: tuple[int, int]) -> int:
  """The largest d of 1, 2, 4, 8 by which (h, w) may be divided.

  Sides are rounded up, which stretches an image: by half a pixel of what is
  needed at most.

  Args:
    size: (h, w) of an image.
    needed: (h, w) that it will be resized to.
  """
  return next(
      divisor
      for divisor in _DIVISORS
      if all(
          side >= divisor * few and side >= 2 * few * (-side % divisor)
          for side, few in zip(size, needed, strict=True)
      )
      or divisor == 1
  )


def decode(data: bytes, divisor: int) -> UInt8[np.ndarray, 'h w 3'] | None:
  """The pixels of a JPEG of three channels, not turned by EXIF.

  Args:
    data: the file.
    divisor: of the sides, 1, 2, 4 or 8; they are rounded up.

  Returns:
    RGB; None where another decoder should say what the file is: it is cut
    short, which OpenCV does not tell, or not understood.
  """
  if not data.rstrip(b'\0').endswith(_END):
    return None
  cv2 = load_opencv()
  flags = {
      1: cv2.IMREAD_COLOR,
      2: cv2.IMREAD_REDUCED_COLOR_2,
      4: cv2.IMREAD_REDUCED_COLOR_4,
      8: cv2.IMREAD_REDUCED_COLOR_8,
  }[divisor]
  flags |= cv2.IMREAD_IGNORE_ORIENTATION
  try:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
  except cv2.error:
    return None
  if image is None:
    return None
  return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
