"""Relational captions of the embedded world.

What they name looks like something else in the image; only where it is, seen
from another item, tells which is meant.
"""

import enum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from glip_jax.shapes import scenes
from glip_jax.shapes.scenes import Description, Kind, Relation, Scene
from glip_jax.shapes.sentences import LINKS, Named, Part, pick, spoken

_MAX_STATEMENTS = 4
_NEAR = ('near', 'close to', 'next to')
_NEARER = 0.6  # of the distance of all other candidates


def relation(rng: np.random.Generator, scene: Scene) -> Named:
  """'the circle left of the green star': phrase 0 the target, 1 the anchor."""
  fact = scene.relation
  return spoken(_statement(rng, fact, LINKS[fact.name]))


def statements(rng: np.random.Generator, scene: Scene) -> Named:
  """One to four relations in one caption, phrases target, anchor, target...

  Candidates of one statement may be the targets of others, so that only the
  words of the relation decide. No item has two phrases.

  Args:
    rng: source of the choice.
    scene: what is in the image.
  """
  facts, parts = _facts(scene), []
  for _ in range(_MAX_STATEMENTS):
    sort = _Sort(rng.choice(len(_SHARES), p=_SHARES))
    options = [fact for fact in facts if fact.sort == sort]
    if not options:
      continue
    fact = pick(rng, options)
    parts += [Part('. ')] * bool(parts) + _statement(rng, fact, fact.links)
    taken = {fact.target, fact.anchor}
    facts = [f for f in facts if not taken & {f.target, f.anchor}]
  return spoken(parts) if parts else relation(rng, scene)


class _Sort(enum.IntEnum):
  """What a fact teaches.

  FURTHER: a wrong candidate lies further in the direction than the right one;
    without these "the leftmost" would do for "left of".
  FURTHEST: the right one lies furthest.
  NEAR: nearness, which has no direction: the first step to the others.
  """

  FURTHER = 0
  FURTHEST = 1
  NEAR = 2


_SHARES = (0.3, 0.4, 0.3)


class _Fact(NamedTuple):
  """A relation that singles one item out.

  Attributes:
    links: ways to say it.
    sort: what it teaches.
    target: index of the item that is meant.
    anchor: index of the item that it is seen from.
    target_words: fit the target and at least one other item.
    anchor_words: fit the anchor alone.
  """

  links: tuple[str, ...]
  sort: _Sort
  target: int
  anchor: int
  target_words: str
  anchor_words: str


def _facts(scene: Scene) -> list[_Fact]:
  """All relations that single out one of several items of one shape."""
  kinds = [item.kind for item in scene.items]
  anchors = [
      (i, description.words)
      for i, kind in enumerate(kinds)
      for description in (Description(*kind), Description(kind.shape))
      if _who(description, kinds) == [i]
  ]
  centers = np.array([item.center for item in scene.items])
  delta = centers[:, None] - centers[None]
  facts = []
  for target, kind in enumerate(kinds):
    description = Description(kind.shape)
    others = [i for i in _who(description, kinds) if i != target]
    for anchor, words in anchors:
      if others and anchor not in [target, *others]:
        facts += [
            _Fact(links, sort, target, anchor, description.words, words)
            for links, sort in _links(delta[:, anchor], target, others)
        ]
  return facts


def _links(
    delta: Float[np.ndarray, 'm 2'], target: int, others: list[int]
) -> list[tuple[tuple[str, ...], _Sort]]:
  """What holds of a target alone, given all vectors from the anchor."""
  found = []
  distance = np.hypot(*delta.T)
  if distance[target] < _NEARER * distance[others].min():
    found.append((_NEAR, _Sort.NEAR))
  for name, links in LINKS.items():
    along, across = scenes.offsets(delta, name)
    holds, fails = scenes.holds(along, across), scenes.fails(along, across)
    if holds[target] and fails[others].all():
      further = (along[others] > along[target]).any()
      found.append((links, _Sort.FURTHER if further else _Sort.FURTHEST))
  return found


def _who(description: Description, kinds: list[Kind]) -> list[int]:
  """Indices of the items that a description may mean."""
  return [i for i, kind in enumerate(kinds) if description.may_mean(kind)]


def _statement(
    rng: np.random.Generator, fact: Relation | _Fact, links: tuple[str, ...]
) -> list[Part]:
  """'the circle left of the star', by one of the links."""
  return [
      Part(f'the {fact.target_words}', (fact.target,)),
      Part(f' {pick(rng, links)} '),
      Part(f'the {fact.anchor_words}', (fact.anchor,)),
  ]
