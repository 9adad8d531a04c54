"""Which files there are in a folder, found by names that are nearly theirs."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping

# Of the files in a folder, those that are taken for images.
IMAGE_SUFFIXES = frozenset(
    '.jpg .jpeg .png .webp .bmp .tif .tiff .gif .ppm'.split()
)


class Listing:
  """The files of a folder and of those below; lists each once."""

  def __init__(self, folder: str):
    """Takes the folder; nothing is listed yet."""
    self._folder = folder
    self._files: dict[str, frozenset[str]] = {}
    self._alike: dict[str, dict[str, list[str]]] = {}

  def find_all(self, names: Iterable[str]) -> Mapping[str, str]:
    """The path on disk of each name that an annotation file gives.

    A name is that of a file as it stands, with backslashes for slashes, or
    with its accents composed otherwise. Failing these, capitals count for
    nothing and leading folders that are not there are dropped, as long as a
    single file and a single name are left: no two names are given one file.

    Args:
      names: relative to the folder, or absolute.

    Returns:
      The path within the folder by name, for those that have one; '' for those
      that share the only one there is with another name.
    """
    names = set(names)
    found = {name: path for name in names if (path := self._exact(name))}
    taken = set(found.values())
    guesses: dict[str, dict[str, list[str]]] = {}
    for name in names - set(found):
      if path := self._near(name):
        spelled = '/'.join(_parts(name))
        guesses.setdefault(path, {}).setdefault(spelled, []).append(name)
    for path, spellings in guesses.items():
      is_one = path not in taken and len(spellings) == 1
      for same in spellings.values():
        found |= dict.fromkeys(same, path if is_one else '')
    return found

  def _exact(self, name: str) -> str:
    """The path of a name but for slashes and accents, or ''."""
    parent, last = os.path.split(name)
    if not os.path.isabs(name) and last in self._names(parent):
      return name
    if _is_absolute(name):
      return ''
    path = name.replace('\\', '/')
    parent, last = os.path.split(path)
    if last in self._names(parent):
      return path
    return self._walk(_parts(name), _composed)

  def _near(self, name: str) -> str:
    """The path of what is left of a name, capitals aside, or ''."""
    parts = _parts(name)
    for start in range(len(parts)):
      for key in (_composed, _folded):
        if path := self._walk(parts[start:], key):
          return path
      # In a folder that is there the file would be found: it is missing.
      if _folded(parts[start]) in self._names_alike('', _folded):
        break
    return ''

  def _walk(self, parts, key) -> str:
    """The one path whose parts are alike by a key, or ''."""
    path = ''
    for part in parts:
      names = self._names(path)
      if part not in names:
        alike = self._names_alike(path, key).get(key(part), [])
        if len(alike) != 1:
          return ''
        part = alike[0]
      path = os.path.join(path, part)
    return path

  def _names_alike(self, parent, key) -> dict[str, list[str]]:
    at = f'{key.__name__} {parent}'
    if at not in self._alike:
      alike = self._alike[at] = {}
      for name in self._names(parent):
        alike.setdefault(key(name), []).append(name)
    return self._alike[at]

  def _names(self, parent: str) -> frozenset[str]:
    if parent not in self._files:
      try:
        with os.scandir(os.path.join(self._folder, parent)) as found:
          self._files[parent] = frozenset(entry.name for entry in found)
      except (OSError, ValueError):  # ValueError: no name of a file.
        self._files[parent] = frozenset()
    return self._files[parent]


def _parts(name: str) -> list[str]:
  """The folders and the file of a name, accents composed, without the root."""
  parts = re.split(r'[\\/]', unicodedata.normalize('NFC', name))
  if re.fullmatch('[A-Za-z]:', parts[0]):
    parts = parts[1:]
  return [part for part in parts if part not in ('', '.')]


def _is_absolute(name: str) -> bool:
  return bool(re.match(r'[\\/]|[A-Za-z]:[\\/]', name))


def _composed(name: str) -> str:
  return unicodedata.normalize('NFC', name)


def _folded(name: str) -> str:
  return unicodedata.normalize('NFC', name.casefold())
