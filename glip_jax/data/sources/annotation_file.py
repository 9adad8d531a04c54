"""Reading of COCO and MDETR annotation files, as far as both are the same."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from glip_jax.data.sources.faults import Report
from glip_jax.errors import UserError

Id = int | str


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
  try:
    data = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise UserError(
        f'{name}={os.fspath(path)!r} cannot be read'
        f' ({error.strerror or error}); give the path of a JSON file'
    ) from error
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
    raise UserError(
        f'{path} holds a {type(content).__name__}, not a COCO data set (a'
        " results file?); it must be a dict with 'images', 'annotations' and"
        " 'categories'"
    )
  return content


def entries(
    content: Mapping[str, Any], key: str, report: Report
) -> list[tuple[str, dict[str, Any]]]:
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
