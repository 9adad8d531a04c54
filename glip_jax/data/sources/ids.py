"""Ids of a file, found also where its lists write them in different types."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from glip_jax.data.sources.annotation_file import Id, Report, read_id

_WHOLE = re.compile(r'([+-]?[0-9]{1,99})(\.0*)?')


class Ids:
  """The ids that one list of a file gives, for those that refer to it.

  An id is itself before anything else. Failing that, 1, '1', '01' and '1.0'
  are one id, as long as only one id of the list reads so.
  """

  def __init__(self, known: Iterable[Id | None], report: Report, field: str):
    """Takes the ids that there are.

    Args:
      known: the ids; None stands for none.
      report: where those of another type are noted.
      field: the key of what refers to them, such as 'category_id'.
    """
    self._known = frozenset(known) - {None}
    self._report = report
    self._kind = f'{field} of another type than the id it names, joined'
    self._alike: dict[Id, list[Id]] | None = None

  def find(self, value: Any, name: str) -> Id | None:
    """The id that a value of the file means; None if none does, or several.

    Args:
      value: as the file has it.
      name: of the entry, for messages.
    """
    wanted = read_id(value)
    if wanted is None or wanted in self._known:
      return wanted
    if self._alike is None:
      self._alike = {}
      for key in self._known:
        self._alike.setdefault(_plain(key), []).append(key)
    alike = self._alike.get(_plain(wanted), [])
    if len(alike) != 1:
      return None
    self._report.note(self._kind, f'{name} {wanted!r} is {alike[0]!r}')
    return alike[0]


def _plain(identity: Id) -> Id:
  """What is the same for ids that differ in type alone."""
  text = str(identity).strip()
  whole = _WHOLE.fullmatch(text)
  return int(whole[1]) if whole else text
