"""Sine waves of a position, the inputs of attention that has no order.

Attention Is All You Need (arXiv 1706.03762, section 3.5) as DETR (arXiv
2005.12872) and its relatives have it: a coordinate is first turned into an
angle, then into sines and cosines of falling frequency, side by side.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glip_jax.ops import precision

# Keeps an image of no cells from dividing by zero; the reference's.
_EPSILON = 1e-6


def sine_points(
    x: Float[Array, '*n'], width: int, *, temperature: float
) -> Float[Array, '*n width']:
  """Sines and cosines of given angles, in float32.

  Args:
    x: angles in radians: a coordinate in [0, 1] times 2 pi, or a count.
    width: channels, even. Channels 2i and 2i + 1 are sine and cosine of the
      angle over `temperature ** (2 i / width)`.
    temperature: ratio of the first frequency to the one after the last.

  Returns:
    Waves in [-1, 1].

  Raises:
    ValueError: the width is odd.
  """
  if width % 2:
    raise ValueError(f'width={width} is odd: waves come in pairs')
  exponents = jnp.arange(0, width, 2) / width
  angles = precision.widen(x)[..., None] / temperature**exponents
  waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
  return waves.reshape(*x.shape, width)


def sine_grid(
    valid: Int[Array, 'b 2'],
    size: tuple[int, int],
    width: int,
    *,
    temperature: float,
    cycles: float = 1.0,
) -> Float[Array, 'b h w width']:
  """Waves of each cell's place in its own image, rows before columns.

  The last row of an image has the angle 2 pi, the first row the angle of one
  row: what it is in the image, whatever the canvas. Beyond the image the
  values are those of its border and mean nothing.

  Args:
    valid: (rows, columns) of the map that are the image.
    size: (h, w) of the map.
    width: channels, divisible by 4: a half for rows, a half for columns.
    temperature: as for `sine_points`, over half the channels.
    cycles: of the first wave over the image; the angles grow with it.

  Returns:
    float32 waves.

  Raises:
    ValueError: the width is not divisible by 4.
  """
  if width % 4:
    raise ValueError(f'width={width} is not divisible by 4')
  halves = []
  for axis, length in enumerate(size):
    own = valid[:, axis, None]
    count = jnp.minimum(jnp.arange(1, length + 1), own)
    angles = count / (own + _EPSILON) * (2 * math.pi * cycles)
    halves.append(sine_points(angles, width // 2, temperature=temperature))
  shape = (valid.shape[0], *size, width // 2)
  rows = jnp.broadcast_to(halves[0][:, :, None], shape)
  columns = jnp.broadcast_to(halves[1][:, None], shape)
  return jnp.concatenate([rows, columns], axis=-1)
