"""What a caller has of an image, in any of its forms, as uint8 RGB.

Nothing is guessed: of values whose range could be two things the caller is
told what to do.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from glip_jax.data import images
from glip_jax.errors import UserError

_FORMS = 'give a path, a PIL image, or an array [h w], [h w 3] or [h w 4]'


def to_rgb(image: Any) -> UInt8[np.ndarray, 'h w 3']:
  """Returns an image as RGB; an array of uint8 RGB as it is.

  Args:
    image: one of
      - the path of a file, or its bytes, read upright as by `read_image`;
      - a PIL image of any mode, its pixels as they are (not turned by EXIF);
      - an array, nested lists or what numpy makes an array of: [h w] and
        [h w 1] gray, [h w 3] RGB, [h w 4] RGBA (put on white). Whole numbers
        are in 0..255, floats in 0..1.

  Raises:
    BadImage: a file cannot be read.
    UserError: it is no image, is several, or holds other values.
  """
  if isinstance(image, (str, os.PathLike, bytes)):
    return images.read_image(image)
  if isinstance(image, Image.Image):
    return _from_pil(image)
  values = _as_array(image)
  _check_shape(values.shape)
  pixels = _as_uint8(values)
  if pixels.ndim == 2:
    pixels = pixels[..., None]
  if pixels.shape[2] == 1:
    return np.repeat(pixels, 3, axis=2)
  if pixels.shape[2] == 4:
    return images.to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))
  return pixels


def _from_pil(image: Image.Image) -> UInt8[np.ndarray, 'h w 3']:
  _check_shape((image.height, image.width))
  try:
    return images.to_rgb(image)
  # PIL decodes as late as here, and raises nearly every built-in error.
  except Exception as error:
    raise UserError(
        f'the PIL image cannot be read ({error}): open its file again, and do'
        ' not close it before'
    ) from error


def _as_array(image: Any) -> np.ndarray:
  """What numpy makes of a value, if it is numbers."""
  try:
    values = np.asarray(image)
  except Exception as error:  # Of lists of two lengths, tensors elsewhere, ...
    raise UserError(
        f'a {type(image).__name__} is no image ({error}): {_FORMS}'
    ) from error
  if values.dtype.kind not in 'uif':
    kind = f'{type(image).__name__} of dtype {values.dtype}'
    raise UserError(f'a {kind} is no image: {_FORMS} of numbers')
  return values


def _check_shape(shape: tuple[int, ...]) -> None:
  """Refuses what is not one image with its channels last."""
  said = f'an image of shape {list(shape)}'
  if not all(shape):
    raise UserError(f'{said} has no pixels: {_FORMS}')
  if len(shape) == 4:
    raise UserError(f'{said} is several: give one at a time')
  if len(shape) == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
    raise UserError(
        f'{said} has its channels first: give image.transpose(1, 2, 0)'
    )
  if len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,), (4,)):
    raise UserError(f'{said} is none: {_FORMS}')


def _as_uint8(values: np.ndarray) -> UInt8[np.ndarray, ...]:
  """The values in 0..255; floats are scaled from 0..1."""
  if values.dtype == np.uint8:
    return values
  low, high = values.min(), values.max()
  said = f'image values of {values.dtype} are in {low:g}..{high:g}'
  if values.dtype.kind == 'f':
    if 0 <= low and high <= 1:  # False of NaN too.
      return np.rint(values.astype(np.float32) * 255).astype(np.uint8)
    raise UserError(
        f'{said}, floats must be in 0..1: undo a normalisation, or give'
        " image.round().astype('uint8') of values in 0..255"
    )
  if low < 0 or high > 255:
    raise UserError(
        f'{said}, whole numbers must be in 0..255: give (image //'
        " 257).astype('uint8') of 16 bits"
    )
  return values.astype(np.uint8)
