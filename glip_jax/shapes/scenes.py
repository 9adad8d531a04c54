"""Scenes of the embedded world: what is where, before a pixel is drawn.

A scene is a pure function of (split, seed, index). Coordinates are fractions
of the image's side, origin top left, so a scene is the same at every size.

Every scene holds one *relation*: two items that one description fits, of which
one stands clearly in the named direction of a third, the anchor, and the other
clearly does not. "Clearly" is `HOLDS_WITHIN` against `FAILS_BEYOND` degrees off
that direction. In half of the scenes the wrong candidate lies even further in
the direction than the right one, so the position in the image is no cue.
"""

import bisect
import dataclasses
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from glip_jax.shapes import figures

SHAPES = figures.SHAPES
COLOURS = ('red', 'green', 'blue', 'yellow', 'purple')
HELD_OUT_PAIRS = (
    ('red', 'star'),
    ('green', 'triangle'),
    ('blue', 'circle'),
    ('yellow', 'cross'),
    ('purple', 'square'),
)

# Unit vectors (x, y) with y down.
RELATIONS = {
    'left of': (-1, 0),
    'right of': (1, 0),
    'above': (0, -1),
    'below': (0, 1),
}
# Largest and smallest offset across over along the direction.
CONE, BESIDE = 0.8, 2.2
HOLDS_WITHIN = math.degrees(math.atan(CONE))
FAILS_BEYOND = math.degrees(math.atan(BESIDE))
RELATION_MARGIN = 0.12

SMALL, LARGE = 0.2, 0.29  # below and above which a size may be named
# What a size is called in the fine names, and where the next begins: of each a
# fifth of all items.
SIZES = ('tiny', 'small', 'medium', 'big', 'huge')
_SIZE_ENDS = (0.16, 0.177, 0.2, 0.235)
BACKDROPS = ('gradient', 'clouds', 'blobs', 'tiles', 'waves', 'grain')


class Kind(NamedTuple):
  """What an item looks like.

  Its composition, the pair of colour and shape, is a category of the embedded
  world; a plain and a striped item of one pair belong to the same.
  """

  shape: str
  colour: str
  striped: bool

  @property
  def name(self) -> str:
    return f'{"striped " * self.striped}{self.colour} {self.shape}'

  @property
  def composition(self) -> str:
    return f'{self.colour} {self.shape}'

  @property
  def held_out(self) -> bool:
    return (self.colour, self.shape) in HELD_OUT_PAIRS


class Description(NamedTuple):
  """What a phrase says of an item; None where it is silent."""

  shape: str
  colour: str | None = None
  striped: bool | None = None

  @property
  def words(self) -> str:
    words = ('striped' if self.striped else None, self.colour, self.shape)
    return ' '.join(word for word in words if word)

  def fits(self, kind: Kind) -> bool:
    """Whether all that is said, and that nothing unsaid hides, is true."""
    return self.may_mean(kind) and self.striped in (None, kind.striped)

  def may_mean(self, kind: Kind) -> bool:
    """Whether a reader could take it for `kind`: 'red' may be striped too."""
    return (
        self.shape == kind.shape
        and self.colour in (None, kind.colour)
        and (kind.striped or not self.striped)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
  """One object of a scene.

  Attributes:
    kind: what it looks like.
    origin: (x, y) of the figure's origin.
    size: diameter of a circle of this size.
    angle: clockwise turn in radians.
    box: tight xyxy box of the whole figure, hidden parts included.
    tone: RGB in [0, 1] of the body.
    stripe: RGB in [0, 1] of the stripes, unused when plain.
    pattern: (angle in radians, period over size, phase in [0, 1)) of stripes.
  """

  kind: Kind
  origin: tuple[float, float]
  size: float
  angle: float
  box: tuple[float, float, float, float]
  tone: tuple[float, float, float]
  stripe: tuple[float, float, float]
  pattern: tuple[float, float, float]

  @property
  def fine_name(self) -> str:
    """Size, texture, colour and shape."""
    return f'{SIZES[bisect.bisect(_SIZE_ENDS, self.size)]} {self.kind.name}'

  @property
  def center(self) -> tuple[float, float]:
    x0, y0, x1, y1 = self.box
    return (x0 + x1) / 2, (y0 + y1) / 2


@dataclasses.dataclass(frozen=True)
class Relation:
  """'The circle left of the green star', and which circle it is not.

  Attributes:
    name: key of `RELATIONS`.
    target: index of the item that is meant.
    other: index of the only other item that `target_words` fit.
    anchor: index of the item that the direction is seen from.
    target_words: what is said of the target, without article.
    anchor_words: what is said of the anchor; it fits no other item.
  """

  name: str
  target: int
  other: int
  anchor: int
  target_words: str
  anchor_words: str


@dataclasses.dataclass(frozen=True)
class Scene:
  """Items in drawing order, their relation and what is behind them.

  Attributes:
    items: first drawn first, so later ones may hide parts of earlier ones.
    relation: the one relation that this scene was composed around.
    backdrop: one of `BACKDROPS`.
    noise: seed of all that is drawn at random.
  """

  items: tuple[Item, ...]
  relation: Relation
  backdrop: str
  noise: int

  def boxes(self, image_size: int) -> Float[np.ndarray, 'm 4']:
    """Tight xyxy boxes in pixels, in drawing order."""
    boxes = np.array([item.box for item in self.items], np.float32)
    return boxes * np.float32(image_size)


KINDS = tuple(
    Kind(shape, colour, striped)
    for shape in SHAPES
    for colour in COLOURS
    for striped in (False, True)
)
SEEN, HELD_OUT = (
    tuple(dict.fromkeys(k.composition for k in KINDS if k.held_out is held_out))
    for held_out in (False, True)
)
FINE_SEEN, FINE_HELD_OUT = (
    tuple(
        f'{size} {kind.name}'
        for kind in KINDS
        if kind.held_out is held_out
        for size in SIZES
    )
    for held_out in (False, True)
)


def offsets(
    delta: Float[np.ndarray, '... 2'], relation: str
) -> tuple[Float[np.ndarray, '...'], Float[np.ndarray, '...']]:
  """Splits anchor-to-item vectors into (along, across) the direction."""
  x, y = RELATIONS[relation]
  along = delta[..., 0] * x + delta[..., 1] * y
  return along, np.abs(delta[..., 0] * y) + np.abs(delta[..., 1] * x)


def holds(
    along: Float[np.ndarray, '...'], across: Float[np.ndarray, '...']
) -> Bool[np.ndarray, '...']:
  """Whether the relation clearly holds: far enough, and within the cone."""
  return (along >= RELATION_MARGIN) & (across <= CONE * along)


def fails(
    along: Float[np.ndarray, '...'], across: Float[np.ndarray, '...']
) -> Bool[np.ndarray, '...']:
  """Whether it clearly fails: on the far side, or well beside the cone."""
  beside = (across >= BESIDE * along) & (across >= 2 * RELATION_MARGIN)
  return (along <= -RELATION_MARGIN) | beside
