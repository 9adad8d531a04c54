"""What the sources of an annotation file and a folder of images share."""

from __future__ import annotations

import abc
import dataclasses

import numpy as np
from jaxtyping import Int

from glip_jax.data.records import Record, Truth
from glip_jax.data.sources import boxes, image_list
from glip_jax.data.sources.annotation_file import Id


class ImageRecords(abc.ABC):
  """Records, one for each image of a list, that are read when asked for."""

  _images: image_list.Images
  _boxes: boxes.Boxes

  def __len__(self) -> int:
    return len(self._images)

  def __getitem__(self, index: int) -> Record:
    """Reads an image, its text and its boxes; see `images.read_moderate`.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the image cannot be read.
    """
    image, size = self._images.read(index)
    return self._truth(index, size).of(image, index, size)

  def num_boxes(self) -> Int[np.ndarray, n]:
    """Boxes of each record, those counted that its image may not have."""
    return np.diff(self._boxes.offset)

  def labels(self, index: int) -> Int[np.ndarray, m]:
    """Labels of the boxes of a record, as `num_boxes` counts them."""
    return self._boxes.label[self._boxes.rows(index)]

  def image_size(self, index: int) -> tuple[int, int]:
    """(h, w) as the file states it, or else as the header of the image does.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the header cannot be read.
    """
    return self._images.stated_size(index) or self._images.size(index)

  def stated_size(self, index: int) -> tuple[int, int] | None:
    """(h, w) as the file states it, None where it does not."""
    return self._images.stated_size(index)

  def file_name(self, index: int) -> str:
    """Path of the file of an image in the folder of all of them."""
    return self._images.files[index]

  def image_file(self, index: int) -> bytes:
    """The file of an image as it is.

    Raises:
      IndexError: if there is no such record.
      BadImage: if it cannot be read.
    """
    return self._images.file(index)

  def boxes_of(self, index: int, size: tuple[int, int]) -> boxes.Boxes:
    """The boxes of an image of (h, w), in pixels, those of no use included."""
    table = self._boxes.of(index)
    xywh = table.pixels(table.rows(0), size)
    return dataclasses.replace(table, xywh=xywh, is_unit=False)

  def image_id(self, index: int) -> Id:
    """Original id of an image."""
    return self._images.id(index)

  def truth(self, index: int) -> Truth:
    """Boxes and text of a record; of the image the header is read.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the header cannot be read.
    """
    return self._truth(index, self._images.size(index))

  @abc.abstractmethod
  def _truth(self, index: int, size: tuple[int, int]) -> Truth:
    """Boxes, clipped to an image of (h, w), and text of a record."""
