"""Heat maps over images: where something matches, and how well."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from glip_jax import draw_labels

# From cold to hot; equal steps of brightness, so it reads without colours too.
_RAMP = np.array(
    [
        (13, 8, 135), (126, 3, 168), (204, 71, 120), (248, 149, 64),
        (240, 249, 33),
    ],
    np.float32,
)  # fmt: skip
_STRONGEST = 0.75
_MIN_SIDE = 256


def over(
    image: UInt8[np.ndarray, 'h w 3'],
    heat: Float[np.ndarray, 'h w'],
    title: str = '',
) -> Image.Image:
  """An image in gray under the colours of a heat map.

  Colours go from the least to the most of the map, which are written beneath.

  Args:
    image: RGB.
    heat: in [0, 1], of each pixel.
    title: what it is a map of.

  Raises:
    ValueError: image and map differ in size.
  """
  if image.shape[:2] != heat.shape:
    raise ValueError(f'{heat.shape} of heat for an image of {image.shape[:2]}')
  low, high = float(heat.min()), float(heat.max())
  share = (heat - low) / max(high - low, 1e-6)
  place = share * (len(_RAMP) - 1)
  steps = np.arange(len(_RAMP))
  colour = np.stack(
      [np.interp(place, steps, _RAMP[:, i]) for i in range(3)], -1
  )
  gray = np.asarray(Image.fromarray(image).convert('L'), np.float32)[..., None]
  # What matches little is left to be seen.
  weight = _STRONGEST * share[..., None] ** 0.5
  mixed = gray * (1 - weight) + colour * weight
  drawn = Image.fromarray(np.rint(mixed).astype(np.uint8))
  if min(drawn.size) < _MIN_SIDE:
    factor = _MIN_SIDE / min(drawn.size)
    drawn = drawn.resize(
        (round(drawn.width * factor), round(drawn.height * factor))
    )
  said = f'{title}: {low:.2f} (dark) to {high:.2f} (bright)'.removeprefix(': ')
  return draw_labels.with_text(drawn, below=said)
