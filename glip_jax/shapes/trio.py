"""Where target, other and anchor of a relation may stand.

Only the relation may tell the two candidates apart, so two coins are thrown.
In half of the scenes the other lies further in the named direction than the
target, and further from the anchor; in half less far, and nearer. And in half
it is the other that is nearer to the middle of the image.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from glip_jax.shapes import scenes

RIM = 0.015  # least distance of a box from the edge of the image

_NUMBER = 128


class Proposals:
  """Random places of one scene's trio, drawn until bodies of a size fit."""

  def __init__(self, rng: np.random.Generator, relation: str) -> None:
    """Throws the two coins.

    Args:
      rng: source of all positions.
      relation: key of `scenes.RELATIONS`.
    """
    self._rng = rng
    self._relation = relation
    self._further = rng.random() < 0.5
    self._central = rng.random() < 0.5

  def draw(
      self, half: Float[np.ndarray, '3 2'], colours: Sequence[str]
  ) -> Float[np.ndarray, '3 2'] | None:
    """Looks for places at which the relation is clear and nothing collides.

    Args:
      half: half width and height of the boxes of target, other and anchor.
      colours: their colours; items of one colour are kept wholly apart.

    Returns:
      Centers of the three boxes, or None if none of this draw's places fits.
    """
    places = _trios(self._rng, self._relation, self._further)
    fit = _is_apart(places, half, colours)
    fit &= _is_relation(places, self._relation)
    fit &= _is_closer(places, places[2]) == self._further
    fit &= _is_closer(places, 0.5) == self._central
    chosen = int(fit.argmax())
    return places[..., chosen] if fit[chosen] else None


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
  draw = rng.random((6, _NUMBER))
  swing = draw[3] * 2 - 1
  sign = np.where(draw[5] < 0.5, -1.0, 1.0)
  reach = np.abs(draw[5] * 2 - 1)
  if further:
    target = margin + 0.17 * draw[2]
    other = target + 0.02 + 0.1 * draw[4]
  else:
    target = margin + 0.45 * draw[2]
    other = target - 0.02 - 0.75 * draw[4]
  beside = np.maximum(scenes.BESIDE * other, 2 * margin) * (other > -margin)
  across = sign * (beside + 0.25 * reach)
  x, y = scenes.RELATIONS[relation]
  along = np.array([target, other, np.zeros(_NUMBER)])
  across = np.array([scenes.CONE * swing * target, across, np.zeros(_NUMBER)])
  delta = np.stack([along * x - across * y, along * y + across * x], axis=1)
  return draw[:2] + delta


def _is_apart(
    places: Float[np.ndarray, '3 2 n'],
    half: Float[np.ndarray, '3 2'],
    colours: Sequence[str],
) -> Bool[np.ndarray, 'n']:
  """True where all is in the image and boxes overlap a little at most."""
  rim = half[..., None] + RIM
  fit = ((places > rim) & (places < 1 - rim)).all(axis=(0, 1))
  for i, j in itertools.combinations(range(3), 2):
    share = 1.05 if colours[i] == colours[j] else 0.88
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


def _is_closer(
    places: Float[np.ndarray, '3 2 n'], point: np.ndarray | float
) -> Bool[np.ndarray, 'n']:
  """True where the target is closer to a point than the other is."""
  square = ((places[:2] - point) ** 2).sum(axis=1)
  return square[0] < square[1]
