"""The five figures of the embedded world as signed distances.

A figure lives in its own frame: origin at the middle, x to the right, y down,
circumscribed circle of radius `CIRCUMRADIUS[shape]` (chosen so that figures of
equal size look equally large). Negative distances are inside.
"""

import functools
import math

import numpy as np
from jaxtyping import Bool, Float

SHAPES = ('circle', 'square', 'triangle', 'star', 'cross')
CIRCUMRADIUS = {
    'circle': 1.0,
    'square': 1.25,
    'triangle': 1.25,
    'star': 1.25,
    'cross': 1.15,
}
# Modest turns: a square stays no diamond, a cross no X.
MAX_TURN = {
    'circle': 0.0,
    'square': math.radians(18),
    'triangle': math.radians(24),
    'star': math.radians(36),
    'cross': math.radians(18),
}

_STAR_POINTS = 5
_STAR_INNER = 0.46  # inner over outer radius; 0.382 is the thin pentagram
_CROSS_ARM = 0.3  # half width of an arm over its length
_NUM_SAMPLES = 160


def distance(
    shape: str, x: Float[np.ndarray, '...'], y: Float[np.ndarray, '...']
) -> Float[np.ndarray, '...']:
  """Signed distance to the outline, exact next to it except at corners.

  Args:
    shape: one of `SHAPES`.
    x: rightward coordinate in the figure's frame.
    y: downward coordinate, of the same shape as `x`.

  Returns:
    Distance in the unit of `x`, negative inside.
  """
  radius = CIRCUMRADIUS[shape]
  if shape == 'circle':
    return np.hypot(x, y) - radius
  if shape == 'square':
    return np.maximum(np.abs(x), np.abs(y)) - radius * math.sqrt(0.5)
  if shape == 'triangle':
    slanted = np.abs(x) * math.sqrt(0.75) - y * 0.5
    return np.maximum(slanted, y) - radius * 0.5
  if shape == 'star':
    return _star_distance(x, y, radius)
  x, y = np.abs(x), np.abs(y)
  length, width = _cross_arm(radius)
  return np.maximum(np.maximum(x, y) - length, np.minimum(x, y) - width)


def extent(shape: str, angle: float) -> tuple[float, float, float, float]:
  """Tight box of the figure turned by `angle`, in its own unit.

  Args:
    shape: one of `SHAPES`.
    angle: clockwise turn in radians.

  Returns:
    (x0, y0, x1, y1) relative to the figure's origin.
  """
  if shape == 'circle':
    radius = CIRCUMRADIUS[shape]
    return -radius, -radius, radius, radius
  cos, sin = math.cos(angle), math.sin(angle)
  xs = [x * cos - y * sin for x, y in _corners(shape)]
  ys = [x * sin + y * cos for x, y in _corners(shape)]
  return min(xs), min(ys), max(xs), max(ys)


@functools.cache
def samples(shape: str) -> Float[np.ndarray, '2 s']:
  """Points spread evenly over the inside of a figure, in its frame."""
  # The R2 sequence: low discrepancy, so a share of the points is a share of
  # the area to about one percent.
  steps = np.arange(1, 2000)[None] * np.array([[0.7548776662], [0.5698402910]])
  points = (steps % 1 * 2 - 1) * CIRCUMRADIUS[shape]
  return points[:, distance(shape, *points) < 0][:, :_NUM_SAMPLES]


def inside(
    shape: str, x: Float[np.ndarray, '...'], y: Float[np.ndarray, '...']
) -> Bool[np.ndarray, '...']:
  """True at the points of the figure's frame that the figure covers."""
  return distance(shape, x, y) < 0


@functools.cache
def _corners(shape: str) -> tuple[tuple[float, float], ...]:
  """Corners of a polygonal figure, those on its convex hull at least."""
  radius = CIRCUMRADIUS[shape]
  if shape == 'cross':
    length, width = _cross_arm(radius)
    ends = [(length, width), (width, length)]
    return tuple(
        (x * i, y * j) for x, y in ends for i in (-1, 1) for j in (-1, 1)
    )
  number = {'square': 4, 'triangle': 3, 'star': _STAR_POINTS}[shape]
  start = math.pi / 4 if shape == 'square' else 0.0
  turns = [start + 2 * math.pi * i / number for i in range(number)]
  return tuple((radius * math.sin(a), -radius * math.cos(a)) for a in turns)


def _cross_arm(radius: float) -> tuple[float, float]:
  """Length and half width of an arm, corners on the circle of `radius`."""
  length = radius / math.hypot(1.0, _CROSS_ARM)
  return length, length * _CROSS_ARM


def _star_distance(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
  """Distance to the one edge that is left after folding all points onto it."""
  sector = 2 * math.pi / _STAR_POINTS
  turn = np.arctan2(x, -y)
  turn = np.abs(turn - sector * np.round(turn / sector))
  length = np.hypot(x, y)
  notch_x = radius * _STAR_INNER * math.cos(sector / 2)
  notch_y = radius * _STAR_INNER * math.sin(sector / 2)
  edge = math.hypot(radius - notch_x, notch_y)
  normal_x, normal_y = notch_y / edge, (radius - notch_x) / edge
  along = length * np.cos(turn) - radius
  return normal_x * along + normal_y * (length * np.sin(turn))
