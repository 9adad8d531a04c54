"""Images as files: what can be written, and writing it whole or not at all."""

import os
from collections.abc import Sequence

from etils import epath
from PIL import Image

from glip_jax import errors, storage

FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP'}


def check(name: str, path: epath.Path, *, others: Sequence[str] = ()) -> str:
  """What to write an image as.

  Args:
    name: of the flag or argument, for messages.
    path: of the file.
    others: endings that the caller knows beside those of images.

  Returns:
    The name that Pillow has for the format.

  Raises:
    UserError: the ending is none of an image, or the file cannot be written.
  """
  storage.check_out(name, path)
  file_format = FORMATS.get(path.suffix.lower())
  if file_format is None:
    raise errors.UserError(
        f'{name}={os.fspath(path)!r} is no image: let it end in one of'
        f' {", ".join([*FORMATS, *others])}'
    )
  return file_format


def write(path: epath.Path, image: Image.Image, file_format: str) -> None:
  """Writes an image, or leaves what was there.

  Args:
    path: of the file, whose folder is made.
    image: RGB.
    file_format: from `check`.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f'.{path.name[:100]}.{os.getpid()}.part')
  try:
    with part.open('wb') as file:
      image.save(file, format=file_format)
    part.replace(path)
  finally:
    part.unlink(missing_ok=True)
