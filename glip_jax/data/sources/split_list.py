"""Lists of the images of a split: a text file with a name a line."""

from __future__ import annotations

import pathlib
import re

from glip_jax import errors
from glip_jax.data.sources.annotation_file import Report
from glip_jax.errors import UserError


def read_split(folder: pathlib.Path, split: str, report: Report) -> list[str]:
  """The names in `<folder>/<split>.txt`, each once, in order.

  What stands behind a name, as in the lists of VOC's classes, is not read. A
  name that leads to another folder is a fault.

  Raises:
    UserError: if there is no such list, or a name is to be refused.
  """
  errors.check_file('split', folder / f'{split}.txt')
  try:
    text = (folder / f'{split}.txt').read_text('utf-8')
  except (OSError, ValueError) as error:
    there = ', '.join(sorted(path.stem for path in folder.glob('*.txt')))
    raise UserError(
        f"split={split!r} has no list '{folder / split}.txt' that can be read;"
        f' there are {there or "none"}'
    ) from error
  names = dict.fromkeys(
      line.split()[0] for line in text.splitlines() if line.strip()
  )
  inside = []
  for name in names:
    if re.search(r'[\\/\0]', name):
      report.fault('name in a list that leaves the folder', repr(name))
    else:
      inside.append(name)
  return inside
