"""Draws scenes of the embedded world, anti-aliased, at any size.

Figures are shaded by their signed distance; backdrops are small random grids
scaled up. Both live in fractions of the image's side, so a larger image
shows the same scene with more detail; only the sensor noise is per pixel.
Canvases are planar, 'c h w', which numpy broadcasts over far faster.
"""

import colorsys
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from glip_jax.shapes import figures
from glip_jax.shapes.scenes import Item, Scene

_OUTLINE = 0.009  # width of the outline and of a shadow's fade, per side
_SHADOW = 0.03
_LIGHT = (-0.55, -0.83)  # where the light comes from: top left


def render(scene: Scene, image_size: int) -> UInt8[np.ndarray, 'h w 3']:
  """Draws a scene.

  Args:
    scene: what to draw.
    image_size: side of the square image in pixels.

  Returns:
    RGB image, the same for the same arguments on every machine up to
    rounding.
  """
  rng = np.random.Generator(np.random.PCG64(scene.noise))
  canvas = _backdrop(rng, scene.backdrop, image_size)
  for item in scene.items:
    _draw_item(canvas, item)
  gain = 0.88 + 0.2 * rng.random()
  grain = rng.random() * (26 if scene.backdrop == 'grain' else 9)
  noise = rng.random((image_size, image_size), dtype=np.float32)
  canvas *= np.float32(255 * gain)
  canvas += noise * np.float32(grain) - np.float32(grain / 2)
  pixels = np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)
  return np.stack(list(pixels), axis=-1)


def coverage(item: Item, image_size: int) -> Float[np.ndarray, 'h w']:
  """Share of each pixel that an item covers, were it alone."""
  centers = _centers(0, image_size, image_size)
  x, y = _frame(item, centers, centers[:, None])
  return _step(figures.distance(item.kind.shape, x, y), item, image_size)


def _draw_item(canvas: Float[np.ndarray, '3 h w'], item: Item) -> None:
  """Draws one item and its shadow over the canvas, in place."""
  image_size = canvas.shape[-1]
  window = [_span(item.box[i], item.box[i + 2], image_size) for i in (0, 1)]
  cols = _centers(*window[0], image_size)
  rows = _centers(*window[1], image_size)[:, None]
  x, y = _frame(item, cols, rows)
  outside = figures.distance(item.kind.shape, x, y)
  alpha = _step(outside, item, image_size)
  unit = item.size / 2
  lit = (cols - item.center[0]) * np.float32(_LIGHT[0] / unit) + (
      rows - item.center[1]
  ) * np.float32(_LIGHT[1] / unit)

  reach = np.float32(unit / _SHADOW)
  fade = np.clip(1 - outside * reach - lit * np.float32(0.22), 0, 1)
  patch = canvas[:, slice(*window[1]), slice(*window[0])]
  patch *= 1 - np.float32(0.42) * fade * fade

  # A dark rim of at least a pixel, and light that falls from the top left.
  rim = max(_OUTLINE, 1.1 / image_size)
  edge = _step(outside + np.float32(rim / unit), item, image_size)
  shade = (1 + np.float32(0.13) * lit) * (np.float32(0.5) + edge / 2)
  paint = _planes(item.tone) * shade
  if item.kind.striped:
    mix = _stripes(item, x, y, image_size)
    paint += _planes(np.subtract(item.stripe, item.tone)) * (shade * mix)
  paint -= patch
  paint *= alpha
  patch += paint


def _stripes(
    item: Item, x: np.ndarray, y: np.ndarray, image_size: int
) -> Float[np.ndarray, 'h w']:
  """1 on the stripes and 0 between them, in an item's frame."""
  angle, period, phase = item.pattern
  period *= 2  # the frame's unit is half a size
  along = x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle))
  along = along * np.float32(1 / period) + np.float32(phase)
  along -= np.floor(along)
  edge = np.abs(along - np.float32(0.5)) - np.float32(0.25)
  return _step(edge * np.float32(period), item, image_size)


def _step(distance: np.ndarray, item: Item, image_size: int) -> np.ndarray:
  """Anti-aliased 1 inside and 0 outside of a distance in an item's frame."""
  scale = np.float32(item.size / 2 * image_size)
  return np.clip(np.float32(0.5) - distance * scale, 0, 1)


def _frame(
    item: Item, cols: Float[np.ndarray, 'w'], rows: Float[np.ndarray, 'h 1']
) -> tuple[Float[np.ndarray, 'h w'], Float[np.ndarray, 'h w']]:
  """Takes image coordinates to the frame of an item's figure."""
  cols, rows = cols - item.origin[0], rows - item.origin[1]
  scale = 2 / item.size
  cos = np.float32(math.cos(item.angle) * scale)
  sin = np.float32(math.sin(item.angle) * scale)
  return cols * cos + rows * sin, rows * cos - cols * sin


def _span(low: float, high: float, image_size: int) -> tuple[int, int]:
  """First and last pixel that a range and its shadow touch."""
  return (
      max(math.floor((low - _SHADOW) * image_size), 0),
      min(math.ceil((high + 1.5 * _SHADOW) * image_size), image_size),
  )


def _planes(colour: Sequence[float]) -> Float[np.ndarray, '3 1 1']:
  return np.array(colour, np.float32)[:, None, None]


def _centers(start: int, stop: int, image_size: int) -> np.ndarray:
  return (np.arange(start, stop, dtype=np.float32) + 0.5) / image_size


def _backdrop(
    rng: np.random.Generator, name: str, image_size: int
) -> Float[np.ndarray, '3 h w']:
  """Muted image in [0, 1] that no colour name would be given to."""
  hue, value = rng.random(), 0.28 + 0.6 * rng.random()
  tint = colorsys.hsv_to_rgb(hue, 0.12 * rng.random(), value)
  base = np.array(tint, np.float32)
  draw = _BACKDROPS[name]
  return np.clip(draw(rng, base, image_size), 0.05, 0.97, order='C')


def _gradient(
    rng: np.random.Generator, base: np.ndarray, image_size: int
) -> Float[np.ndarray, '3 h w']:
  corners = base * (0.72 + 0.56 * rng.random((2, 2, 1)))
  corners = corners + 0.08 * (rng.random((2, 2, 3)) - 0.5)
  return _grow(corners, image_size, Image.Resampling.BILINEAR, rim=0.5)


def _clouds(
    rng: np.random.Generator, base: np.ndarray, image_size: int
) -> Float[np.ndarray, '3 h w']:
  coarse = base * (0.75 + 0.5 * rng.random((6, 6, 1)))
  fine = 0.22 * rng.random((18, 18, 1)) * np.ones(3)
  canvas = _grow(coarse, image_size, Image.Resampling.BICUBIC, rim=1)
  canvas += _grow(fine, image_size, Image.Resampling.BICUBIC, rim=1)
  return canvas - np.float32(0.11)


def _blobs(
    rng: np.random.Generator, base: np.ndarray, image_size: int
) -> Float[np.ndarray, '3 h w']:
  grid = base * (0.65 + 0.7 * rng.random((5, 5, 1)))
  grid = grid + 0.12 * (rng.random((5, 5, 3)) - 0.5)
  return _grow(grid, image_size, Image.Resampling.BICUBIC, rim=1)


def _tiles(
    rng: np.random.Generator, base: np.ndarray, image_size: int
) -> Float[np.ndarray, '3 h w']:
  number = int(rng.integers(3, 10))
  checks = np.indices((number, number)).sum(axis=0)[..., None] % 2
  grid = base * (0.88 + 0.16 * checks + 0.1 * rng.random((number, number, 1)))
  return _grow(grid, image_size, Image.Resampling.NEAREST, rim=0)


def _waves(
    rng: np.random.Generator, base: np.ndarray, image_size: int
) -> Float[np.ndarray, '3 h w']:
  turn, frequency, phase = rng.random(3) * (math.pi, 40, 2 * math.pi)
  centers = _centers(0, image_size, image_size)
  x = centers * np.float32(math.cos(turn) * (12 + frequency))
  y = centers[:, None] * np.float32(math.sin(turn) * (12 + frequency))
  bend = 1.5 * np.sin(centers * 7 + np.float32(phase))
  waves = np.sin(x + y + bend) * np.float32(0.09) + 1
  return waves * _planes(base)


_BACKDROPS = {
    'gradient': _gradient,
    'clouds': _clouds,
    'blobs': _blobs,
    'tiles': _tiles,
    'waves': _waves,
    'grain': _gradient,
}


def _grow(
    grid: Float[np.ndarray, 'g g 3'],
    image_size: int,
    resample: Image.Resampling,
    rim: float,
) -> Float[np.ndarray, '3 h w']:
  """Scales a grid up to the image, leaving `rim` cells out on each side."""
  pixels = np.clip(grid * 255, 0, 255).astype(np.uint8)
  end = len(grid) - rim
  image = Image.fromarray(pixels).resize(
      (image_size, image_size), resample, box=(rim, rim, end, end)
  )
  return np.asarray(image).transpose(2, 0, 1) * np.float32(1 / 255)
