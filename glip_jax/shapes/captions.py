"""Words for scenes of the embedded world: lists and captions.

Every function returns a prompt and, for each of its phrases, the indices of
the scene's items that the phrase names. No item has two phrases.
"""

import numpy as np

from glip_jax.shapes import scenes
from glip_jax.shapes.scenes import Kind, Scene
from glip_jax.shapes.sentences import LINKS, Named, Part, pick, spoken
from glip_jax.text import prompts


def all_names(
    scene: Scene, names: tuple[str, ...], *, fine: bool = False
) -> Named:
  """The whole vocabulary in label order: compositions, or fine names."""
  if fine:
    return _listed(scene, names, [item.fine_name for item in scene.items])
  return _listed(scene, names, [item.kind.composition for item in scene.items])


def some_names(
    rng: np.random.Generator,
    scene: Scene,
    *,
    vocabulary: tuple[str, ...],
    max_names: int,
) -> Named:
  """The names in the image among random others, shuffled.

  A name is a composition; a few say 'striped' where all its items are, or
  where none is: then no item has that phrase.

  Args:
    rng: source of the choice.
    scene: what is in the image.
    vocabulary: names that negatives are drawn from.
    max_names: most names in the list; never fewer than are in the image.
  """
  own = [item.kind.composition for item in scene.items]
  present = sorted(set(own))
  absent = [name for name in vocabulary if name not in present]
  names = present + _some(rng, absent, max_names - len(present))
  shuffled = [names[i] for i in rng.permutation(len(names))]
  for i in rng.permutation(len(names))[: rng.integers(_MAX_STRIPED + 1)]:
    shuffled[i], own = _striped(scene, shuffled[i], own)
  return _listed(scene, tuple(shuffled), own)


def but_one(
    rng: np.random.Generator,
    scene: Scene,
    *,
    vocabulary: tuple[str, ...],
    max_names: int,
) -> Named:
  """The names in the image but one, among random others, shuffled.

  The one left out is of a single item, where there is such a name.

  Args:
    rng: source of the choice.
    scene: what is in the image.
    vocabulary: names that negatives are drawn from.
    max_names: most names in the list; never fewer than are in the image.
  """
  own = [item.kind.composition for item in scene.items]
  present = sorted(set(own))
  alone = [name for name in present if own.count(name) == 1] or present
  left_out = pick(rng, alone)
  present.remove(left_out)
  absent = [name for name in vocabulary if name not in own]
  names = present + _some(rng, absent, max_names - len(present))
  names = names or absent[:1]  # A prompt has a name.
  shuffled = tuple(names[i] for i in rng.permutation(len(names)))
  return _listed(scene, shuffled, own)


def attribute_names(rng: np.random.Generator, scene: Scene) -> Named:
  """A shuffled list of coarser names, of one family: 'star. circle', say."""
  family = _FAMILIES[rng.integers(len(_FAMILIES))]
  own = [family(item.kind) for item in scene.items]
  names = sorted({family(kind) for kind in scenes.KINDS})
  keep = [name for name in names if name in own or rng.random() < 0.8]
  return _listed(scene, tuple(keep[i] for i in rng.permutation(len(keep))), own)


def caption(rng: np.random.Generator, scene: Scene) -> Named:
  """A sentence that names one to five groups of items, and where they are."""
  groups = _groups(rng, scene)
  count = min(len(groups), 1 + int(rng.integers(1, 5)))
  chosen = [groups[i] for i in rng.permutation(len(groups))[:count]]
  cut = int(rng.integers(1, count)) if count > 1 else 0
  link = _link(rng, scene, chosen[:cut], chosen[cut:]) if cut else None
  opening, ending = pick(rng, _FRAMES)
  parts = [Part(opening)]
  if link:
    parts += _joined(chosen[:cut]) + [Part(f' {link} ')]
    chosen = chosen[cut:]
  parts += _joined(chosen) + [Part(ending)]
  return spoken([part for part in parts if part.text])


def _shape(kind: Kind) -> str:
  return kind.shape


def _colour(kind: Kind) -> str:
  return f'{kind.colour} object'


def _texture(kind: Kind) -> str:
  return f'{_surface(kind)} object'


def _texture_colour(kind: Kind) -> str:
  return f'{_surface(kind)} {kind.colour} object'


def _texture_shape(kind: Kind) -> str:
  return f'{_surface(kind)} {kind.shape}'


def _surface(kind: Kind) -> str:
  return 'striped' if kind.striped else 'plain'


_MAX_STRIPED = 3  # names of a list that may say 'striped'
# No family joins colour and shape alone: that is what the category lists do.
_FAMILIES = (_shape, _colour, _texture, _texture_colour, _texture_shape)
_FRAMES = (
    ('', ''),
    ('', ''),
    ('a picture of ', ''),
    ('this picture shows ', ''),
    ('we see ', ''),
    ('', ' on a background'),
    ('', ' in one picture'),
)
_NUMBERS = (None, None, 'two', 'three', 'four', 'five', 'six', 'seven', 'eight')


def _striped(scene: Scene, name: str, own: list[str]) -> tuple[str, list[str]]:
  """'striped red circle' for 'red circle', where that names all or none.

  Args:
    scene: what is in the image.
    name: a composition.
    own: what each item is called, '' where it has no name.

  Returns:
    The name, and what each item is called now.
  """
  kinds = [item.kind for item in scene.items]
  surfaces = {kind.striped for kind in kinds if kind.composition == name}
  last = set(own) <= {name, ''}
  if len(surfaces) == 2 or (surfaces == {False} and last):
    return name, own
  said = f'striped {name}'
  answer = said if surfaces == {True} else ''
  return said, [answer if word == name else word for word in own]


def _some(rng: np.random.Generator, names: list[str], most: int) -> list[str]:
  """A random choice of names, a third of the time as many as there may be."""
  room = min(max(most, 0), len(names))
  # A third of the lists are full, as in evaluation; the rest have any length.
  count = room if rng.random() < 1 / 3 else int(rng.integers(room + 1))
  return [names[i] for i in rng.permutation(len(names))[:count]]


def _listed(scene: Scene, names: tuple[str, ...], own: list[str]) -> Named:
  """Prompt of a list; `own` is what each item is called in it, if at all."""
  items = tuple(
      tuple(i for i in range(len(scene.items)) if own[i] == name)
      for name in names
  )
  return Named(prompts.from_names(names), items, is_list=True)


def _groups(rng: np.random.Generator, scene: Scene) -> list[Part]:
  """Says what each item is, one phrase for those that are said alike."""
  shared = pick(rng, scenes.SHAPES) if rng.random() < 0.4 else None
  members: dict[str, list[int]] = {}
  for i, item in enumerate(scene.items):
    brief = item.kind.shape == shared
    words = item.kind.shape if brief else _full_name(scene, item.kind)
    members.setdefault(words, []).append(i)
  return [
      Part(_phrase(rng, scene, words, items), tuple(items))
      for words, items in members.items()
  ]


def _full_name(scene: Scene, kind: Kind) -> str:
  """The name, with 'plain' if a striped item could be meant by it as well."""
  twin = kind._replace(striped=True)
  ambiguous = any(item.kind == twin for item in scene.items)
  return f'plain {kind.name}' if ambiguous and not kind.striped else kind.name


def _phrase(
    rng: np.random.Generator, scene: Scene, words: str, items: list[int]
) -> str:
  """Adds article or number to words, and the size where it is clear."""
  definite = rng.random() < 0.25
  if len(items) > 1:
    ending = 'es' if words.endswith('cross') else 's'
    return f'{"the " * definite}{_NUMBERS[len(items)]} {words}{ending}'
  size = scene.items[items[0]].size
  clear = size < scenes.SMALL or size > scenes.LARGE
  if clear and rng.random() < 0.5:
    words = f'{"small" if size < scenes.SMALL else "large"} {words}'
  return f'{"the" if definite else "a"} {words}'


def _joined(groups: list[Part]) -> list[Part]:
  """'A', 'A and B', 'A, B and C'."""
  parts = []
  for i, group in enumerate(groups):
    if i:
      parts.append(Part(' and ' if i == len(groups) - 1 else ', '))
    parts.append(group)
  return parts


def _link(
    rng: np.random.Generator,
    scene: Scene,
    first: list[Part],
    second: list[Part],
) -> str | None:
  """A relation that holds between all of two sides, if there is one."""
  if rng.random() < 0.3:
    return None
  ends = [
      np.array([scene.items[i].center for part in side for i in part.items])
      for side in (first, second)
  ]
  delta = ends[0][:, None] - ends[1][None]
  for name, links in LINKS.items():
    if scenes.holds(*scenes.offsets(delta, name)).all():
      return pick(rng, links[:-1])
  return None
