"""Which classes and images of a data set are used, and what classes are called.

The settings are those of every source that is read from files.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import posixpath
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from glip_jax.data.sources.annotation_file import Id, Report
from glip_jax.errors import UserError
from glip_jax.text import prompts


@dataclasses.dataclass(frozen=True)
class Selection:
  """What a user wants of a data set; by default all of it, as it is.

  Attributes:
    names: classes to keep, in label order; all if empty. Boxes of others
      vanish; images without boxes stay, as negatives.
    exclude: classes to drop.
    class_map: (class, name in the prompt) pairs; classes of one name are
      merged, under the id of the first, and '' drops a class. `names` and
      `exclude` speak of the classes as the data set calls them.
    part: (start, end) of the images, as shares of them in an order that
      `part_seed` and the names of the files decide, nothing else: (0, 0.9) and
      (0.9, 1) have no image in common and together all.
    part_seed: another number deals the images out otherwise.

  Raises:
    UserError: if `part` ends before it begins.
  """

  names: tuple[str, ...] = ()
  exclude: tuple[str, ...] = ()
  class_map: tuple[tuple[str, str], ...] = ()
  part: tuple[float, float] = (0.0, 1.0)
  part_seed: int = 0

  def __post_init__(self):
    start, end = self.part
    if not 0 <= start < end <= 1:
      raise UserError(
          f'part={self.part} must be (start, end) with 0 <= start < end <= 1,'
          ' for example (0.0, 0.9) to train and (0.9, 1.0) to evaluate'
      )

  def classes(self, known: Mapping[Id, str], file: str) -> ChosenClasses:
    """The classes to use.

    Args:
      known: name by id of those there are, in label order. Two ids of one name
        are one class, under the first of them.
      file: where the classes come from, for messages.

    Raises:
      UserError: if a name is not among the classes or stands twice, or none is
        left.
    """
    ids = {name: key for key, name in reversed(known.items())}
    chosen = choose_names(
        tuple(dict.fromkeys(known.values())),
        names=self.names,
        exclude=self.exclude,
        file=file,
    )
    renamed = self._renamed(tuple(ids), file)
    labels: dict[str, int] = {}
    named: dict[str, Id] = {}
    for name in chosen:
      if new := renamed.get(name, name):
        named.setdefault(new, ids[name])
        labels[name] = tuple(named).index(new)
    if not named:
      raise UserError(
          f'class_map={self.class_map} leaves no class of {file}; drop fewer'
      )
    return ChosenClasses(tuple(named), tuple(named.values()), labels)

  def files(self, names: Iterable[str], file: str) -> frozenset[str]:
    """Those of the names of image files that are in the part.

    Args:
      names: as the data set has them.
      file: where they come from, for messages.

    Raises:
      UserError: if there are names and none is in the part.
    """
    names = frozenset(names)
    if self.part == (0, 1):
      return names
    paths = {_path(name) for name in names}
    dealt = sorted(paths, key=lambda path: (self._digest(path), path))
    start, end = (round(share * len(dealt)) for share in self.part)
    kept = frozenset(dealt[start:end])
    if names and not kept:
      raise UserError(
          f'part={self.part} leaves none of the {len(dealt)} images of {file};'
          ' widen it'
      )
    return frozenset(name for name in names if _path(name) in kept)

  def _digest(self, path: str) -> bytes:
    text = f'{self.part_seed} {path}'.encode('utf-8', 'surrogatepass')
    return hashlib.blake2b(text, digest_size=16).digest()

  def _renamed(self, known: Sequence[str], file: str) -> dict[str, str]:
    """What the classes of `class_map` are called; '' of those to drop."""
    renamed: dict[str, str] = {}
    for old, new in self.class_map:
      found = find_name(old, known, file)
      if found in renamed:
        raise UserError(f'class_map holds {found!r} twice; drop one')
      renamed[found] = class_name(new)
      if new.strip() and not renamed[found]:
        raise UserError(
            f'class_map calls {found!r} {new!r}, which holds no words (text in'
            " parentheses is not read); write words, or '' to drop the class"
        )
    return renamed


@dataclasses.dataclass(frozen=True)
class ChosenClasses:
  """The classes that are used of a data set.

  Attributes:
    names: what they are called, in label order.
    ids: the id that the data set itself gives each.
    labels: position in `names` by what the data set calls a class; more than
      one may have the same.
  """

  names: tuple[str, ...]
  ids: tuple[Id, ...]
  labels: Mapping[str, int]


def choose_names(
    known: Sequence[str],
    *,
    names: Sequence[str],
    exclude: Sequence[str],
    file: str,
) -> tuple[str, ...]:
  """Picks and orders the classes to use.

  Args:
    known: the classes there are.
    names: those to keep, in order; all if empty.
    exclude: those to drop.
    file: where the classes come from, for messages.

  Raises:
    UserError: if a name is not among the classes or stands twice, or none is
      left.
  """
  chosen = [find_name(name, known, file) for name in names] or list(known)
  if len(set(chosen)) != len(chosen):
    raise UserError(f'names={tuple(names)!r} holds a class twice; drop one')
  dropped = {find_name(name, known, file) for name in exclude}
  kept = tuple(name for name in chosen if name not in dropped)
  if not kept:
    raise UserError(
        f'names={tuple(names)!r} without exclude={tuple(exclude)!r} leaves no'
        f' class of {file}; exclude fewer'
    )
  return kept


def find_name(name: str, known: Sequence[str], file: str) -> str:
  """The class that a user means, ignoring case if that is unique.

  Raises:
    UserError: if there is none, with those whose names are close.
  """
  wanted = class_name(name)
  if wanted in known:
    return wanted
  same = [item for item in known if item.casefold() == wanted.casefold()]
  if len(same) == 1:
    return same[0]
  close = difflib.get_close_matches(wanted, known, n=3) or known[:5]
  raise UserError(
      f'{name!r} is not a class of {file}; did you mean one of'
      f' {", ".join(map(repr, close))}?'
  )


def class_name(name: Any) -> str:
  """Returns a usable class name, or '' if there is no word in it."""
  if not isinstance(name, (str, int, float)) or isinstance(name, bool):
    return ''
  # Composed and decomposed accents look the same and are one name.
  name = unicodedata.normalize('NFC', str(name)).strip()
  try:
    prompts.from_names((name,))
  except UserError:
    return ''
  return name


def note_equal_names(classes: Mapping[Id, str], report: Report) -> None:
  """Notes the classes that are one, for they have one name."""
  seen = set()
  for key, name in classes.items():
    if name in seen:
      report.note('class merged with one of the same name', repr(key))
    seen.add(name)


def _path(name: str) -> str:
  """What is the same for all names of a file."""
  return posixpath.normpath(name.replace('\\', '/'))
