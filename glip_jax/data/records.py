"""One example of a data source: an image, its boxes and the text on it.

Boxes are xyxy float32 pixels of `image`, whose orientation is already upright.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from glip_jax.text.prompts import TextPrompt


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
  """An image with its boxes, each matched to a phrase of a text.

  Attributes:
    image: RGB image.
    boxes: xyxy boxes in pixels of `image`.
    phrase: index into `text.phrases` that describes each box.
    crowd: True where the box is a group of objects, to be ignored.
    text: caption with the character spans of its phrases.
    index: position of the record in its source.
  """

  image: UInt8[np.ndarray, 'h w 3']
  boxes: Float[np.ndarray, 'm 4']
  phrase: Int[np.ndarray, m]
  crowd: Bool[np.ndarray, m]
  text: TextPrompt
  index: int
