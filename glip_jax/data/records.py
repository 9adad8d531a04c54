"""One example of a data source: an image, its boxes and the text on it.

Boxes are xyxy float32 pixels of an image whose orientation is already upright.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from glip_jax.text.prompts import TextPrompt


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Truth:
  """What is true of an image: boxes, each matched to a phrase of a text.

  Attributes:
    boxes: xyxy boxes in pixels of the image.
    phrase: index into `text.phrases` that describes each box; -1 for an
      object that no phrase names.
    crowd: True where the box is a group of objects, to be ignored.
    text: caption with the character spans of its phrases.
    is_list: True where the text is a list of names, whose order means nothing
      and which is as true of a part of the image; False for a sentence.
  """

  boxes: Float[np.ndarray, 'm 4']
  phrase: Int[np.ndarray, m]
  crowd: Bool[np.ndarray, m]
  text: TextPrompt
  is_list: bool = False

  def of(
      self,
      image: UInt8[np.ndarray, 'h w 3'],
      index: int,
      size: tuple[int, int] | None = None,
  ) -> Record:
    """The record of an image that this is true of.

    Args:
      image: RGB.
      index: position of the record in its source.
      size: (h, w) of the image whose pixels the boxes are in; by default that
        of `image`, which may be a smaller copy.
    """
    own = {f.name: getattr(self, f.name) for f in dataclasses.fields(Truth)}
    height, width = size or image.shape[:2]
    scale = image.shape[0] / height, image.shape[1] / width
    if scale != (1, 1):
      own['boxes'] = own['boxes'] * np.array([*scale[::-1]] * 2, np.float32)
    return Record(image=image, index=index, scale=scale, **own)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Record(Truth):
  """An image with what is true of it.

  Attributes:
    image: RGB.
    index: position of the record in its source.
    scale: (y, x) factor from the pixels of the original to those of `image`.
  """

  image: UInt8[np.ndarray, 'h w 3']
  index: int
  scale: tuple[float, float] = (1.0, 1.0)

  @property
  def original_size(self) -> tuple[int, int]:
    """(h, w) of the original, of which `image` may be a smaller copy."""
    height, width = self.image.shape[:2]
    return round(height / self.scale[0]), round(width / self.scale[1])

  @property
  def original_boxes(self) -> Float[np.ndarray, 'm 4']:
    """The boxes in pixels of the original."""
    return self.boxes / np.array([*self.scale[::-1]] * 2, np.float32)


def blank(text: TextPrompt, *, is_list: bool = False) -> Record:
  """A record of nothing, to fill up a batch."""
  truth = Truth(
      boxes=np.zeros((0, 4), np.float32),
      phrase=np.zeros(0, np.int32),
      crowd=np.zeros(0, bool),
      text=text,
      is_list=is_list,
  )
  return truth.of(np.zeros((32, 32, 3), np.uint8), -1)
