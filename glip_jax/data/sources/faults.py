"""What was wrong with a data set: counted, named, and logged once."""

from __future__ import annotations

from absl import logging

from glip_jax.errors import UserError

_NAMES_KEPT = 5


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
  """Counts of the faults of one file, with the first few names of each.

  A *fault* makes a record, a class or a box unusable: it is left out, or it
  stops the program where `bad_records` is 'raise'. A *note* is something that
  was mended or is harmless: it never stops the program.

  Attributes:
    file: name of the annotation file.
    counts: number of times that each kind of fault or note was seen.
    names: the first few names of each kind.
  """

  def __init__(self, file: str, *, bad_records: str):
    """Starts an empty report.

    Args:
      file: as in the attributes.
      bad_records: 'skip' or 'raise'.
    """
    self.file = file
    self._bad_records = check_bad_records(bad_records)
    self.counts: dict[str, int] = {}
    self.names: dict[str, list[str]] = {}

  def fault(self, kind: str, name: str) -> None:
    """Counts something that is left out.

    Args:
      kind: what is wrong, in a few words.
      name: which record, class or box it is.

    Raises:
      UserError: if bad records are to be refused.
    """
    if self._bad_records == 'raise':
      raise UserError(
          f'{self.file}: {kind}: {name}; mend the file, or set'
          " bad_records='skip' to leave it out"
      )
    self.note(kind, name)

  def note(self, kind: str, name: str) -> None:
    """Counts something that was mended or is harmless; see `fault`."""
    self.counts[kind] = self.counts.get(kind, 0) + 1
    names = self.names.setdefault(kind, [])
    if len(names) < _NAMES_KEPT:
      names.append(name)

  def __str__(self) -> str:
    """All kinds, one after the other: count, kind and the first names."""
    return '; '.join(
        f'{count} x {kind} ({self._listed(kind)})'
        for kind, count in self.counts.items()
    )

  def _listed(self, kind: str) -> str:
    more = self.counts[kind] - len(self.names[kind])
    return ', '.join(self.names[kind]) + (f', +{more} more' if more else '')

  def log(self) -> None:
    """Writes the report as one warning, or nothing if there were no faults."""
    if self.counts:
      logging.warning('%s: %s', self.file, self)
