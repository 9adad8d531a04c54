"""Images of a source as they are read: what is known of their files."""

from __future__ import annotations

import numpy as np
from absl import logging
from jaxtyping import UInt8

from glip_jax.data.images import BadImage, image_size, read_image
from glip_jax.data.sources.image_table import Images

_MISMATCHES_LOGGED = 3


class OpenedImages:
  """Reads images, and remembers their sizes and which are unreadable.

  Where the annotation file states another size than the image has, the
  image counts.
  """

  def __init__(self, images: Images, *, bad_records: str):
    """Wraps a table.

    Args:
      images: the table.
      bad_records: 'skip' or 'raise'; what `size` does.
    """
    self._images = images
    self._bad_records = bad_records
    self._sizes: dict[int, tuple[int, int]] = {}
    self._unreadable: set[int] = set()

  def read(self, index: int) -> UInt8[np.ndarray, 'h w 3']:
    """Reads an image.

    Raises:
      IndexError: if there is no such image.
      BadImage: if it cannot be read.
    """
    if not 0 <= index < len(self._images.ids):
      raise IndexError(f'{index} is not in [0, {len(self._images.ids)})')
    path, stated = self._images.path(index), self._images.sizes[index]
    try:
      image = read_image(path, annotated_size=stated)
    except BadImage:
      self._unreadable.add(index)
      raise
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

  def size(self, index: int) -> tuple[int, int] | None:
    """(h, w) of an image; None if it is unreadable and may be skipped.

    Raises:
      BadImage: if it is unreadable and bad records are to be refused.
    """
    if index not in self._sizes and index not in self._unreadable:
      try:
        self._sizes[index] = image_size(
            self._images.path(index),
            annotated_size=self._images.sizes[index],
        )
      except BadImage as error:
        if self._bad_records == 'raise':
          raise
        logging.warning('left out of the ground truth: %s', error)
        self._unreadable.add(index)
    return None if index in self._unreadable else self._sizes[index]
