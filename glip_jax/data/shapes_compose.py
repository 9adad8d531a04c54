"""Composes the scenes of the embedded world from (split, seed, index).

The cast comes first: two items that one description fits, an anchor that
another singles out, and extras that neither fits. Then all find a place.
"""

import colorsys
import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from glip_jax.data import shapes_figures as figures
from glip_jax.data import shapes_scenes as scenes
from glip_jax.data.shapes_scenes import Description, Item, Kind, Relation, Scene

SPLITS = ('train', 'val', 'heldout')
NUM_ITEMS = (3, 8)

_SIZES = (0.145, 0.39)
_MAX_HIDDEN = 0.3
_RIM = 0.015
_TRIES = 14
_PROPOSALS = 128
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
      each picture of 'heldout' holds at least one held-out composition.
    seed: non-negative seed of the whole world.
    index: non-negative position in the split.

  Returns:
    The scene, always the same for the same arguments.
  """
  rng = stream(split, seed, index, purpose=0)
  name = tuple(scenes.RELATIONS)[rng.integers(len(scenes.RELATIONS))]
  kinds, target, anchor = _cast(rng, split)
  layers, trio = _Layers(), []
  while len(layers.items) < 3:
    trio, layers = _place_trio(rng, kinds[:3], name), _Layers()
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


def _choose(rng: np.random.Generator, options):
  return options[int(rng.random() * len(options))]


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
  first = _choose(rng, pool)
  target = _choose(rng, (_shape, _shape, _texture, _name))(first)
  other = _draw(rng, pool, target.fits)
  pair = [first, other] if rng.random() < 0.5 else [other, first]

  describe = _choose(rng, (_shape, _name, _name))
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
    kind = _choose(rng, pool)
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


def _body(rng: np.random.Generator, kind: Kind, limit: float) -> _Body:
  """Draws a size, log-uniform up to `limit`, and a turn."""
  smallest, largest = _SIZES
  ratio = max(min(limit, largest) / smallest, 1.0)
  size = smallest * ratio ** rng.random()
  angle = (rng.random() * 2 - 1) * figures.MAX_TURN[kind.shape]
  extent = figures.extent(kind.shape, angle)
  return _Body(size, angle, tuple(edge * size / 2 for edge in extent))


def _item(
    rng: np.random.Generator, kind: Kind, body: _Body, x: float, y: float
) -> Item:
  """Puts a body's box at center (x, y) and draws its colours."""
  half_x, half_y = body.half
  tone = _tone(rng, kind.colour)
  light = 0.8 if rng.random() < 0.7 else -0.5
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
          0.27 + 0.08 * rng.random(),
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
  """Places target, other and anchor such that only the target is right."""
  further = rng.random() < 0.5
  for attempt in itertools.count():
    limit = _SIZES[1] * 0.9**attempt
    bodies = [_body(rng, kind, limit) for kind in kinds]
    half = np.array([body.half for body in bodies])
    places = _trios(rng, relation, further)
    fit = _is_apart(places, half, kinds) & _is_relation(places, relation)
    chosen = int(fit.argmax())
    if fit[chosen]:
      return [
          _item(rng, kind, body, *map(float, place))
          for kind, body, place in zip(
              kinds, bodies, places[..., chosen], strict=True
          )
      ]


def _trios(
    rng: np.random.Generator, relation: str, further: bool
) -> Float[np.ndarray, '3 2 n']:
  """Proposes centers of target, other and anchor.

  Args:
    rng: source of the positions.
    relation: key of `RELATIONS`.
    further: whether the other lies further in the direction than the target,
      hence far beside it; otherwise less far, or on the other side.
  """
  margin = scenes.RELATION_MARGIN
  # Per proposal: anchor x and y, target along and across, other along, across.
  draw = rng.random((6, _PROPOSALS))
  swing = draw[3] * 2 - 1
  sign = np.where(draw[5] < 0.5, -1.0, 1.0)
  reach = np.abs(draw[5] * 2 - 1)
  if further:
    target = margin + 0.17 * draw[2]
    other = target + 0.02 + 0.1 * draw[4]
  else:
    target = margin + 0.35 * draw[2]
    other = target - 0.02 - 0.8 * draw[4]
  beside = np.maximum(2.2 * other, 2 * margin) * (other > -margin)
  across = sign * (beside + 0.45 * reach)
  x, y = scenes.RELATIONS[relation]
  along = np.array([target, other, np.zeros(_PROPOSALS)])
  across = np.array([0.8 * swing * target, across, np.zeros(_PROPOSALS)])
  delta = np.stack([along * x - across * y, along * y + across * x], axis=1)
  return draw[:2] + delta


def _is_apart(
    places: Float[np.ndarray, '3 2 n'],
    half: Float[np.ndarray, '3 2'],
    kinds: list[Kind],
) -> Bool[np.ndarray, 'n']:
  """True where all is in the picture and boxes overlap a little at most."""
  rim = half[..., None] + _RIM
  fit = ((places > rim) & (places < 1 - rim)).all(axis=(0, 1))
  for i, j in itertools.combinations(range(3), 2):
    share = 1.05 if kinds[i].colour == kinds[j].colour else 0.88
    gap = np.abs(places[i] - places[j])
    room = share * (half[i] + half[j])
    fit &= (gap[0] > room[0]) | (gap[1] > room[1])
  return fit


def _is_relation(
    places: Float[np.ndarray, '3 2 n'], relation: str
) -> Bool[np.ndarray, 'n']:
  """True where the target is clearly right and the other clearly wrong."""
  delta = np.moveaxis(places[:2] - places[2], 1, -1)
  along, across = scenes.offsets(delta, relation)
  return scenes.holds(along[0], across[0]) & scenes.fails(along[1], across[1])


class _Layers:
  """Items placed so far, and which sample points of each can be seen."""

  def __init__(self):
    self.items: list[Item] = []
    self._points: list[np.ndarray] = []
    self._visible: list[np.ndarray] = []

  def add(self, rng: np.random.Generator, item: Item) -> bool:
    """Adds on top or at the bottom unless too much would be hidden."""
    on_top = rng.random() < 0.5
    points = _points(item)
    visible = np.ones(points.shape[1], bool)
    seen = list(self._visible)
    for i, placed in enumerate(self.items):
      if not _overlap(item.box, placed.box):
        continue
      if item.kind.colour == placed.kind.colour:
        return False
      if on_top:
        seen[i] = seen[i] & ~_covers(item, self._points[i])
      else:
        visible &= ~_covers(placed, points)
    if any(v.mean() < 1 - _MAX_HIDDEN for v in (*seen, visible)):
      return False
    place = len(self.items) if on_top else 0
    self._visible = seen
    self._visible.insert(place, visible)
    self._points.insert(place, points)
    self.items.insert(place, item)
    return True


def _place_extra(
    rng: np.random.Generator, kind: Kind, layers: _Layers, crowd: int
) -> None:
  """Adds one more item where it fits, smaller in a crowd, or gives it up."""
  for attempt in range(_TRIES):
    limit = (_SIZES[1] - 0.016 * crowd) * 0.95**attempt
    body = _body(rng, kind, limit)
    x, y = (
        half + _RIM + (1 - 2 * (half + _RIM)) * rng.random()
        for half in body.half
    )
    if layers.add(rng, _item(rng, kind, body, x, y)):
      return


def _points(item: Item) -> Float[np.ndarray, '2 s']:
  """Sample points of an item in the picture's frame."""
  x, y = figures.samples(item.kind.shape) * (item.size / 2)
  cos, sin = math.cos(item.angle), math.sin(item.angle)
  left, top = item.origin
  return np.stack([left + x * cos - y * sin, top + x * sin + y * cos])


def _covers(
    item: Item, points: Float[np.ndarray, '2 s']
) -> Bool[np.ndarray, 's']:
  x, y = points[0] - item.origin[0], points[1] - item.origin[1]
  scale = 2 / item.size
  cos, sin = math.cos(item.angle) * scale, math.sin(item.angle) * scale
  return figures.inside(item.kind.shape, x * cos + y * sin, y * cos - x * sin)


def _overlap(box: tuple[float, ...], other: tuple[float, ...]) -> bool:
  return (
      box[0] < other[2]
      and other[0] < box[2]
      and box[1] < other[3]
      and other[1] < box[3]
  )
