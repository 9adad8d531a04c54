"""Composes the scenes of the embedded world from (split, seed, index).

The cast comes first: two items that one description fits, an anchor that
another singles out, and extras that neither fits. Then all find a place.
"""

import colorsys
import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from glip_jax.shapes import figures, scenes
from glip_jax.shapes.layers import Layers
from glip_jax.shapes.scenes import Description, Item, Kind, Relation, Scene
from glip_jax.shapes.sentences import pick
from glip_jax.shapes.trio import RIM, Proposals

SPLITS = ('train', 'val', 'heldout')
NUM_ITEMS = (3, 8)

_T = TypeVar('_T')
_SIZES = (0.145, 0.39)
_TRIES = 14
# Hue in degrees, saturation and value, in ranges that people name alike.
_TONES = {
    'red': ((-7, 6), (0.78, 0.95), (0.72, 0.95)),
    'green': ((108, 142), (0.6, 0.9), (0.5, 0.78)),
    'blue': ((208, 228), (0.68, 0.92), (0.68, 0.98)),
    'yellow': ((47, 55), (0.75, 0.95), (0.92, 1.0)),
    'purple': ((275, 292), (0.5, 0.8), (0.55, 0.8)),
}


def compose(split: str, seed: int, index: int) -> Scene:
  """Composes scene `index` of a split.

  Args:
    split: one of `SPLITS`; 'train' and 'val' hold seen compositions only,
      each image of 'heldout' holds at least one held-out composition.
    seed: non-negative seed of the whole world.
    index: non-negative position in the split.

  Returns:
    The scene, always the same for the same arguments.
  """
  rng = stream(split, seed, index, purpose=0)
  name = tuple(scenes.RELATIONS)[rng.integers(len(scenes.RELATIONS))]
  kinds, target, anchor = _cast(rng, split)
  layers, trio = Layers(), []
  while len(layers.items) < 3:
    trio, layers = _place_trio(rng, kinds[:3], name), Layers()
    for role in rng.permutation(3):
      layers.add(rng, trio[role])
  for kind in kinds[3:]:
    _place_extra(rng, kind, layers, crowd=len(kinds))
  roles = [layers.items.index(item) for item in trio]
  return Scene(
      items=tuple(layers.items),
      relation=Relation(name, *roles, target.words, anchor.words),
      backdrop=scenes.BACKDROPS[rng.integers(len(scenes.BACKDROPS))],
      noise=int(rng.integers(2**32)),
  )


def stream(
    split: str, seed: int, index: int, *, purpose: int
) -> np.random.Generator:
  """Random numbers of one record; unlike purposes share none."""
  entropy = (seed, SPLITS.index(split), index, purpose)
  return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


@functools.cache
def _pool(split: str) -> tuple[Kind, ...]:
  """Kinds to draw from; held-out ones make up half where they are allowed."""
  seen = tuple(kind for kind in scenes.KINDS if not kind.held_out)
  if split != 'heldout':
    return seen
  held_out = tuple(kind for kind in scenes.KINDS if kind.held_out)
  return seen + held_out * (len(seen) // len(held_out))


def _cast(
    rng: np.random.Generator, split: str
) -> tuple[list[Kind], Description, Description]:
  """Kinds of target, other, anchor and extras, and the two descriptions."""
  pool = _pool(split)
  first = pick(rng, pool)
  target = pick(rng, (_shape, _shape, _texture, _name))(first)
  other = _draw(rng, pool, target.fits)
  pair = [first, other] if rng.random() < 0.5 else [other, first]

  describe = pick(rng, (_shape, _name, _name))
  needs_held_out = split == 'heldout' and not (first.held_out or other.held_out)

  def singled_out(kind: Kind) -> bool:
    return (
        (kind.held_out or not needs_held_out)
        and not target.may_mean(kind)
        and not any(describe(kind).may_mean(candidate) for candidate in pair)
    )

  kinds = pair + [_draw(rng, pool, singled_out)]
  anchor = describe(kinds[2])

  def unsaid(kind: Kind) -> bool:
    return not (target.may_mean(kind) or anchor.may_mean(kind))

  few, many = NUM_ITEMS
  extras = int(rng.random() * (many + 1 - few)) + few - len(kinds)
  return (
      kinds + [_draw(rng, pool, unsaid) for _ in range(extras)],
      target,
      anchor,
  )


def _draw(
    rng: np.random.Generator,
    pool: tuple[Kind, ...],
    is_fit: Callable[[Kind], bool],
) -> Kind:
  """Draws kinds until one fits, which some kind of the pool has to."""
  while True:
    kind = pick(rng, pool)
    if is_fit(kind):
      return kind


def _shape(kind: Kind) -> Description:
  return Description(kind.shape)


def _texture(kind: Kind) -> Description:
  return Description(kind.shape, None, True if kind.striped else None)


def _name(kind: Kind) -> Description:
  return Description(*kind)


class _Body(NamedTuple):
  """Size, turn and box of a figure that has no place yet."""

  size: float
  angle: float
  extent: tuple[float, float, float, float]

  @property
  def half(self) -> tuple[float, float]:
    x0, y0, x1, y1 = self.extent
    return (x1 - x0) / 2, (y1 - y0) / 2


def _body(
    rng: np.random.Generator, kind: Kind, limit: float, rank: float
) -> _Body:
  """Draws a turn; the size is log-linear in `rank`, with `limit` at rank 1."""
  smallest, largest = _SIZES
  ratio = max(min(limit, largest) / smallest, 1.0)
  size = smallest * ratio**rank
  angle = (rng.random() * 2 - 1) * figures.MAX_TURN[kind.shape]
  extent = figures.extent(kind.shape, angle)
  return _Body(size, angle, tuple(edge * size / 2 for edge in extent))


def _item(
    rng: np.random.Generator, kind: Kind, body: _Body, x: float, y: float
) -> Item:
  """Puts a body's box at center (x, y) and draws its colours."""
  half_x, half_y = body.half
  tone = _tone(rng, kind.colour)
  light = 0.82 if rng.random() < 0.75 else -0.62
  white = max(light, 0.0)
  stripe = tuple(part * (1 - abs(light)) + white for part in tone)
  return Item(
      kind=kind,
      origin=(x - half_x - body.extent[0], y - half_y - body.extent[1]),
      size=body.size,
      angle=body.angle,
      box=(x - half_x, y - half_y, x + half_x, y + half_y),
      tone=tone,
      stripe=stripe,
      pattern=(
          rng.random() * math.pi,
          0.29 + 0.08 * rng.random(),
          rng.random(),
      ),
  )


def _tone(rng: np.random.Generator, colour: str) -> tuple[float, float, float]:
  hue, saturation, value = (
      low + (high - low) * rng.random() for low, high in _TONES[colour]
  )
  return colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value)


def _place_trio(
    rng: np.random.Generator, kinds: list[Kind], relation: str
) -> list[Item]:
  """Places target, other and anchor, smaller ones after each failure."""
  proposals = Proposals(rng, relation)
  for attempt in itertools.count():
    limit = _SIZES[1] * 0.9**attempt
    # Candidates of almost one size: else the crowded target is the smaller.
    rank = 0.9 * rng.random()
    ranks = rank + 0.1 * rng.random(), rank + 0.1 * rng.random(), rng.random()
    bodies = [
        _body(rng, kind, limit, rank)
        for kind, rank in zip(kinds, ranks, strict=True)
    ]
    places = proposals.draw(
        np.array([body.half for body in bodies]),
        [kind.colour for kind in kinds],
    )
    if places is not None:
      return [
          _item(rng, kind, body, *map(float, place))
          for kind, body, place in zip(kinds, bodies, places, strict=True)
      ]


def _place_extra(
    rng: np.random.Generator, kind: Kind, layers: Layers, crowd: int
) -> None:
  """Adds one more item where it fits, smaller in a crowd, or gives it up."""
  for attempt in range(_TRIES):
    limit = (_SIZES[1] - 0.016 * crowd) * 0.95**attempt
    body = _body(rng, kind, limit, rng.random())
    x, y = (
        half + RIM + (1 - 2 * (half + RIM)) * rng.random() for half in body.half
    )
    if layers.add(rng, _item(rng, kind, body, x, y)):
      return
