"""From uint8 images to what a network sees."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8


def normalize(
    image: UInt8[Array, 'b h w 3'],
    size: Int[Array, 'b 2'],
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    bgr: bool = True,
) -> Float[Array, 'b h w 3']:
  """Subtracts the mean, divides by the deviation, zeroes the padding.

  Padding is zero after normalisation, as in the reference: a uint8 zero is
  not zero then.

  Args:
    image: RGB, 0..255, top-left aligned.
    size: (h, w) of each image in its canvas.
    mean: of each channel in 0..255, in the order that the network sees.
    std: likewise.
    bgr: True where the weights expect blue first.

  Returns:
    float32 image.
  """
  h, w = image.shape[1:3]
  pixels = image.astype(jnp.float32)
  pixels = pixels[..., ::-1] if bgr else pixels
  pixels = (pixels - jnp.array(mean)) / jnp.array(std)
  inside = (jnp.arange(h)[:, None] < size[:, None, None, 0]) & (
      jnp.arange(w)[None, :] < size[:, None, None, 1]
  )
  return jnp.where(inside[..., None], pixels, 0.0)
