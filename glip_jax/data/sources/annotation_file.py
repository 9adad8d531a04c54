"""An annotation file: its JSON, its ids, and a report of its faults."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from glip_jax import errors
from glip_jax.errors import UserError

Id = int | str
Entries = Sequence[tuple[str, dict[str, Any]]]

# Of each kind of fault: kept for who asks, and told in one line.
_NAMES_KEPT, _NAMES_TOLD = 1000, 5


def check(path: str | os.PathLike[str], *, name: str) -> None:
  """Refuses a file that cannot be opened.

  Args:
    path: the file.
    name: the config field it comes from, for messages.

  Raises:
    UserError: it is missing, or no file.
  """
  errors.check_file(name, path)
  try:
    with open(path, 'rb'):
      pass
  except (OSError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise UserError(
        f'{name}={os.fspath(path)!r} cannot be read ({reason}); give the path'
        ' of a JSON file'
    ) from error


def read_json(path: str | os.PathLike[str], *, name: str) -> dict[str, Any]:
  """Reads a JSON file whose top level is a dict.

  UTF-8 with or without byte-order mark, UTF-16 and UTF-32 are read; other
  encodings are refused, because a wrong guess would change class names.

  Args:
    path: the file.
    name: the config field it comes from, for messages.

  Raises:
    UserError: if the file is missing, empty, or not such a file.
  """
  check(path, name=name)
  data = pathlib.Path(path).read_bytes()
  if not data.strip():
    raise UserError(f'{path} is empty; write or download it again')
  try:
    content = json.loads(data)
  except UnicodeDecodeError as error:
    raise UserError(
        f'{path} is not valid {error.encoding} (byte'
        f' {error.object[error.start]:#x} at {error.start}); save it as UTF-8'
    ) from error
  except (ValueError, RecursionError) as error:
    raise UserError(
        f'{path} is not valid JSON ({error}); is it cut short? write or'
        ' download it again'
    ) from error
  if not isinstance(content, dict):
    needed = 'give a JSON file that is a dict'
    if name == 'annotations':
      needed = (
          'not a COCO data set (a results file?); it must be a dict with'
          " 'images', 'annotations' and 'categories'"
      )
    raise UserError(
        f'{name}={os.fspath(path)!r} holds a {type(content).__name__}, {needed}'
    )
  return content


def entries(content: Mapping[str, Any], key: str, report: Report) -> Entries:
  """Returns (name for messages, entry) of the dicts in a list of the file.

  Raises:
    UserError: if the key is missing or no list.
  """
  if not isinstance(content.get(key), list):
    raise UserError(
        f'{report.file} has no list {key!r} (it has'
        f' {", ".join(content) or "no keys"}); add it'
    )
  named = []
  for position, entry in enumerate(content[key]):
    name = f'{key}[{position}]'
    if isinstance(entry, dict):
      named.append((name, entry))
    else:
      report.fault('entry that is no dict', name)
  return named


def read_id(value: Any) -> Id | None:
  """Returns an id as int or str, or None if it is neither."""
  if isinstance(value, float) and value.is_integer():
    return int(value)
  is_id = isinstance(value, (int, str)) and not isinstance(value, bool)
  return value if is_id else None


def check_bad_records(bad_records: str) -> str:
  """Returns the setting if it is one of 'skip' and 'raise'.

  Raises:
    UserError: for any other value.
  """
  if bad_records not in ('skip', 'raise'):
    raise UserError(
        f"bad_records={bad_records!r} is not known: use 'skip' or 'raise'"
    )
  return bad_records


class Report:
  """Counts of the faults of one file, with the first names of each.

  A *fault* makes a record, a class or a box unusable: it is left out, or it
  stops the program where `bad_records` is 'raise'. A *note* is something that
  was mended or is harmless: it never stops the program.

  Attributes:
    file: name of the annotation file.
    bad_records: 'skip' or 'raise'.
    counts: number of times that each kind of fault or note was seen.
    names: the first thousand names of each kind.
    faults: those kinds that are faults.
    kept: what is left and what there was, by what it is: 'images', 'boxes'.
  """

  def __init__(self, file: str, *, bad_records: str):
    """Starts an empty report.

    Args:
      file: as in the attributes.
      bad_records: as in the attributes.
    """
    self.file = file
    self.bad_records = check_bad_records(bad_records)
    self.counts: dict[str, int] = {}
    self.names: dict[str, list[str]] = {}
    self.faults: set[str] = set()
    self.kept: dict[str, tuple[int, int]] = {}

  def fault(self, kind: str, name: str) -> None:
    """Counts something that is left out.

    Args:
      kind: what is wrong, in a few words.
      name: which record, class or box it is.

    Raises:
      UserError: if bad records are to be refused.
    """
    if self.bad_records == 'raise':
      raise UserError(
          f'{self.file}: {kind}: {name}; mend the file, or set'
          " bad_records='skip' to leave it out"
      )
    self.faults.add(kind)
    self.note(kind, name)

  def note(self, kind: str, name: str) -> None:
    """Counts something that was mended or is harmless; see `fault`."""
    self.counts[kind] = self.counts.get(kind, 0) + 1
    names = self.names.setdefault(kind, [])
    if len(names) < _NAMES_KEPT:
      names.append(name)

  def keep(self, what: str, left: int, had: int) -> None:
    """Counts what is left of something; see `kept`."""
    before = self.kept.get(what, (0, 0))
    self.kept[what] = before[0] + left, before[1] + had

  def __str__(self) -> str:
    """All kinds, one after the other: count, kind and the first names."""
    return '; '.join(
        f'{count} x {kind} ({self._listed(kind)})'
        for kind, count in self.counts.items()
    )

  def _listed(self, kind: str) -> str:
    told = self.names[kind][:_NAMES_TOLD]
    more = self.counts[kind] - len(told)
    return ', '.join(told) + (f', +{more} more' if more else '')

  def log(self) -> None:
    """Writes what is left and the faults as one line, a warning if any."""
    left = ', '.join(
        f'{left} of {had} {what}' for what, (left, had) in self.kept.items()
    )
    is_whole = all(left == had for left, had in self.kept.values())
    level = logging.INFO if is_whole and not self.counts else logging.WARNING
    told = '; '.join(
        [f'{left} are used', *([str(self)] if self.counts else [])]
    )
    logging.log(level, '%s: %s', self.file, told)
