"""Files of JSON lines: one record a line."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from glip_jax import errors
from glip_jax.data.sources.annotation_file import Report
from glip_jax.errors import UserError

Line = tuple[int, dict[str, Any]]


def read_lines(
    path: str | os.PathLike[str], kinds: Mapping[str, type], report: Report
) -> list[Line]:
  """Reads (line number from 0, record) of all lines that hold one.

  Args:
    path: the file, in UTF-8.
    kinds: a record is a dict with `filename`, and under one of these keys a
      value of its type.
    report: where faults are counted.

  Raises:
    UserError: if the file cannot be read or has no record, or a line is to be
      refused.
  """
  errors.check_file('annotations', path)
  lines = []
  try:
    with pathlib.Path(path).open('rb') as file:
      for number, text in enumerate(file):
        if text.strip():
          lines.append((number, _read_line(number, text, kinds, report)))
  except OSError as error:
    raise UserError(
        f'annotations={os.fspath(path)!r} cannot be read'
        f' ({error.strerror or error}); give the path of a file of JSON lines'
    ) from error
  lines = [line for line in lines if line[1]]
  if not lines:
    raise UserError(
        f'{report.file} has no line that is a record'
        f" ({str(report) or 'it is empty'}); each must be a dict with"
        f" 'filename' and {' or '.join(map(repr, kinds))}"
    )
  return lines


def _read_line(
    number: int, text: bytes, kinds: Mapping[str, type], report: Report
) -> dict[str, Any]:
  """The record of a line; nothing, and a fault, where it is none."""
  name = f'line {number + 1}'
  try:
    record = json.loads(text)
  except (ValueError, RecursionError):
    report.fault('line that is no JSON', name)
    return {}
  if not isinstance(record, dict) or not any(
      isinstance(record.get(key), kind) for key, kind in kinds.items()
  ):
    report.fault(f'record without {" or ".join(kinds)}', name)
    return {}
  if not isinstance(record.get('filename'), str):
    report.fault('record without filename', name)
    return {}
  return record


def image_entry(number: int, record: Mapping[str, Any]) -> dict[str, Any]:
  """The image of a record in the words of COCO; its id is the line."""
  return {
      'id': number,
      'file_name': record['filename'],
      'height': record.get('height'),
      'width': record.get('width'),
  }


def xywh(box: Any) -> Any:
  """xywh of xyxy; what is no box stays none."""
  try:
    x1, y1, x2, y2 = map(float, box)
  except (TypeError, ValueError, OverflowError):
    return box if not isinstance(box, list) or len(box) != 4 else None
  return [x1, y1, x2 - x1, y2 - y1]
