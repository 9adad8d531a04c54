"""Image files to upright uint8 RGB arrays, whatever their format and mode.

Everything that a decoder can say against a file ends as one `BadImage`.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from glip_jax import errors
from glip_jax.data import fast_images
from glip_jax.data.byte_budget import ByteBudget
from glip_jax.errors import UserError

# Pillow warns above this many pixels and refuses twice as many; an image of
# 89 Mpx already takes 268 MB as RGB.
MAX_PIXELS = 89_478_485

# Of these and more records hold JPEGs at half size.
MODERATE_PIXELS = 2**25

# Decoded, turned and copied; of all threads of a process together.
_BYTES_A_PIXEL = 12
_DECODING = ByteBudget(2**30)

# Pillow knows more, but some of those start other programs (EPS) or are no
# images (PDF).
_FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM')
_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)
_BACKGROUND = (255, 255, 255)


class BadImage(UserError):
  """A file that is no image, is damaged, or is too large to decode."""


def read_image(
    file: str | os.PathLike[str] | bytes,
    *,
    annotated_size: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, 'h w 3']:
  """Reads an image as upright RGB.

  EXIF orientation is applied, as viewers and annotation tools do; see
  `annotated_size` for the exception. Transparent pixels are composited on
  white. 16-bit gray is scaled by 255 / 65535; floats in 0..1 are scaled by 255
  and others clipped to 0..255. Of animations and multi-page files the first
  frame is read.

  Args:
    file: path, or the bytes of the file.
    annotated_size: (h, w) that an annotation file states. Where it is the
      stored size of an image that EXIF would turn by 90 degrees, the boxes
      were drawn on the stored pixels, so these are returned unturned (but for
      TIFF, which Pillow always turns).

  Returns:
    The image.

  Raises:
    BadImage: if the file is missing, damaged, cut short, no image, or has
      more than `MAX_PIXELS` pixels (found before decoding).
  """
  return _read(file, annotated_size, most=MAX_PIXELS)[0]


def read_moderate(
    file: str | os.PathLike[str] | bytes,
    *,
    annotated_size: tuple[int, int] | None = None,
) -> tuple[UInt8[np.ndarray, 'h w 3'], tuple[int, int]]:
  """Reads an image as `read_image` does, a very large JPEG at half its size.

  A decoder of JPEG gives half of the sides for a quarter of the memory. Where
  `fast_images.decoding` says that less is needed, less is read.

  Args:
    file: as in `read_image`.
    annotated_size: as in `read_image`.

  Returns:
    The image, of half the sides (rounded up) where it has more than
    `MODERATE_PIXELS`, or of 1/2, 1/4 or 1/8 as said above, and the (h, w) of
    the whole.

  Raises:
    BadImage: as `read_image`.
  """
  return _read(file, annotated_size, most=MODERATE_PIXELS)


def _read(
    file: str | os.PathLike[str] | bytes,
    annotated_size: tuple[int, int] | None,
    *,
    most: int,
) -> tuple[UInt8[np.ndarray, 'h w 3'], tuple[int, int]]:
  """An image and its whole (h, w); of more pixels JPEG is read at half size.

  With less than `MAX_PIXELS` of `most` a fraction will do, see `decoding`.
  """
  with _open(file) as image:
    try:
      is_upright = _is_upright(image, annotated_size)
      is_turned = is_upright and _orientation(image) in _TRANSPOSED
      stored = image.size
      whole = stored if is_turned else stored[::-1]
      wanted = fast_images.wanted()
      divisor = 1 if image.width * image.height <= most else 2
      if wanted and most < MAX_PIXELS:
        divisor = max(divisor, fast_images.fraction(whole, wanted(*whole)))
      if divisor > 1:
        image.draft(None, (image.width // divisor, image.height // divisor))
      is_whole = image.size == stored
      with _held(image):
        pixels = None
        if wanted and _is_plain(image):
          pixels = fast_images.decode(_bytes(file), divisor)
        if pixels is None:
          image.load()
          if is_upright:
            ImageOps.exif_transpose(image, in_place=True)
          pixels = to_rgb(image)
    # Decoders raise nearly every built-in error on damaged data.
    except Exception as error:
      raise _bad(file, error) from error
  return pixels, pixels.shape[:2] if is_whole else whole


def image_size(
    file: str | os.PathLike[str] | bytes,
    *,
    annotated_size: tuple[int, int] | None = None,
) -> tuple[int, int]:
  """Returns the (h, w) that `read_image` gives, from the file's header.

  TIFF files are decoded.

  Args:
    file: as in `read_image`.
    annotated_size: as in `read_image`.

  Raises:
    BadImage: if the header cannot be read or states too many pixels.
  """
  with _open(file) as image:
    try:
      if image.format == 'TIFF':
        image.load()  # Pillow turns these as it loads them.
      width, height = image.size
      turned = _orientation(image) in _TRANSPOSED
      if turned and _is_upright(image, annotated_size):
        return width, height
      return height, width
    except Exception as error:
      raise _bad(file, error) from error


def to_rgb(image: Image.Image) -> UInt8[np.ndarray, 'h w 3']:
  """The pixels of a decoded image, as `read_image` says."""
  if image.mode.startswith('I'):
    return _gray(np.clip(np.asarray(image, np.float64), 0, 65535) / 257)
  if image.mode == 'F':
    return _gray(_float_range(np.nan_to_num(np.asarray(image))))
  if image.has_transparency_data:
    image = image.convert('RGBA')
    ground = Image.new('RGBA', image.size, (*_BACKGROUND, 255))
    image = Image.alpha_composite(ground, image)
  return np.array(image if image.mode == 'RGB' else image.convert('RGB'))


def _open(file: str | os.PathLike[str] | bytes) -> Image.Image:
  """Opens a file, reading its header only."""
  if not isinstance(file, bytes) and errors.is_url(file):
    raise BadImage(errors.url_refused('image', file))
  if not isinstance(file, bytes) and (kind := errors.waiting_kind(file)):
    raise _bad(file, f'{kind}, no file')
  try:
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    image = Image.open(stream, formats=_FORMATS)
  except Exception as error:
    raise _bad(file, error) from error
  width, height = image.size
  if width * height > MAX_PIXELS:
    image.close()
    raise _bad(file, f'{width}x{height} is over {MAX_PIXELS} pixels')
  return image


def _is_plain(image: Image.Image) -> bool:
  """Whether a file is a JPEG of three channels that nothing turns."""
  return (
      image.format == 'JPEG'
      and image.mode == 'RGB'
      and _orientation(image) in (0, 1)
  )


def _bytes(file: str | os.PathLike[str] | bytes) -> bytes:
  return file if isinstance(file, bytes) else pathlib.Path(file).read_bytes()


def _held(image: Image.Image) -> contextlib.AbstractContextManager[None]:
  """Waits until an image may be decoded: several large ones take gigabytes."""
  return _DECODING.hold(image.width * image.height * _BYTES_A_PIXEL)


def _bad(file: str | os.PathLike[str] | bytes, reason: object) -> BadImage:
  name = 'image bytes' if isinstance(file, bytes) else os.fspath(file)
  if isinstance(reason, FileNotFoundError):
    reason = 'no such file'
  elif isinstance(reason, UnidentifiedImageError):
    reason = 'no format that is read: ' + ', '.join(_FORMATS)
  reason = ' '.join(str(reason).split()) or type(reason).__name__
  return BadImage(
      f'{name} cannot be read as an image ({reason}); replace the file, or'
      ' leave it out'
  )


def _orientation(image: Image.Image) -> int:
  return image.getexif().get(_ORIENTATION, 1)


def _is_upright(
    image: Image.Image, annotated_size: tuple[int, int] | None
) -> bool:
  """Whether the annotations of an image refer to it upright."""
  width, height = image.size
  if annotated_size is None or width == height:
    return True
  is_stored_size = tuple(annotated_size) == (height, width)
  return not (is_stored_size and _orientation(image) in _TRANSPOSED)


def _float_range(values: np.ndarray) -> np.ndarray:
  in_unit_range = values.min() >= 0 and values.max() <= 1
  return values * 255 if in_unit_range else np.clip(values, 0, 255)


def _gray(values: Int[np.ndarray, 'h w']) -> UInt8[np.ndarray, 'h w 3']:
  return np.repeat(np.rint(values).astype(np.uint8)[..., None], 3, axis=-1)
