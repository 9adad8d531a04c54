"""What a packed source knows of its records, beside their images.

All of it is flat arrays in one `.npz` that is read without unpickling anything.
Arrays whose names end in `_end` say where the part of each row begins and ends
in another: row i has `end[i]` to `end[i + 1]`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from glip_jax.data.sources.annotation_file import Id
from glip_jax.data.sources.boxes import Boxes
from glip_jax.data.sources.lists import Lists
from glip_jax.data.sources.phrases import Phrases, Types, join_types
from glip_jax.data.sources.strings import Strings
from glip_jax.errors import UserError
from glip_jax.text import prompts
from glip_jax.text.prompts import TextPrompt

Arrays = Mapping[str, np.ndarray]

# Of what each array has a row; those of images are `_IMAGE` and `_IMAGE_END`,
# where a row of the others belongs by its `_end`.
_IMAGE = ('stated', 'size', 'crc', 'text')
_IMAGE_END = {
    'id_end': ('id',),
    'name_end': ('name',),
    'box_end': ('xywh', 'label', 'crowd', 'area'),
    'absent_end': ('absent',),
    'partial_end': ('partial',),
    'types_end': ('types',),
}
_TEXT = ('is_list', 'caption', 'spans')
_TEXT_END = ('caption_end', 'phrase_end', 'span_end')


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
  """One record.

  Attributes:
    id: that the data set gives it.
    file: name of the image's file, '' if it has none.
    stated: (h, w) that the data set states, (0, 0) if none.
    size: (h, w) of the image as it is read.
    crc: CRC-32 of the stored file.
    text: what the record says; None where that is the whole vocabulary.
    is_list: as in `Truth`.
    boxes: of this record alone, in pixels.
    absent: labels known to be absent.
    partial: labels of which not all objects have boxes.
    types: of each phrase, where the data says.
  """

  id: Id
  file: str
  stated: tuple[int, int]
  size: tuple[int, int]
  crc: int
  text: TextPrompt | None
  is_list: bool
  boxes: Boxes
  absent: Sequence[int] = ()
  partial: Sequence[int] = ()
  types: Types = ()


def of_rows(rows: Sequence[Row]) -> dict[str, np.ndarray]:
  """The arrays of records; a text that several have is kept once."""
  texts: dict[tuple[TextPrompt, bool], int] = {}
  place = [
      -1
      if row.text is None
      else texts.setdefault((row.text, row.is_list), len(texts))
      for row in rows
  ]
  boxes = [row.boxes for row in rows]
  phrases = Phrases.of([text.spans for text, _ in texts])
  absent = Lists.of([row.absent for row in rows])
  partial = Lists.of([row.partial for row in rows])
  return {
      'stated': np.array([row.stated for row in rows], np.int32).reshape(-1, 2),
      'size': np.array([row.size for row in rows], np.int32).reshape(-1, 2),
      'crc': np.array([row.crc for row in rows], np.uint32),
      'text': np.array(place, np.int32),
      **_strings('id', [json.dumps(row.id) for row in rows]),
      **_strings('name', [row.file for row in rows]),
      'box_end': np.cumsum([0, *(len(b.label) for b in boxes)], dtype=np.int64),
      'xywh': _joined([b.xywh for b in boxes], (0, 4), np.float64),
      'label': _joined([b.label for b in boxes], (0,), np.int32),
      'crowd': _joined([b.crowd for b in boxes], (0,), bool),
      'area': _joined([b.area for b in boxes], (0,), np.float64),
      'absent_end': absent.end,
      'absent': absent.values,
      'partial_end': partial.end,
      'partial': partial.values,
      **_strings('types', [join_types(row.types) for row in rows]),
      'is_list': np.array([is_list for _, is_list in texts], bool),
      **_strings('caption', [text.caption for text, _ in texts]),
      'phrase_end': phrases.phrase_end,
      'span_end': phrases.span_end,
      'spans': phrases.spans,
  }


def join(tables: Sequence[Arrays]) -> dict[str, np.ndarray]:
  """The arrays of the records of several tables, one behind the other."""
  joined = {}
  ends = (*_IMAGE_END, *_TEXT_END)
  for name in tables[0]:
    parts = [table[name] for table in tables]
    if name in ends:
      starts = np.cumsum([0, *(part[-1] for part in parts)])
      parts = [
          part[1:] + start
          for part, start in zip(parts, starts[:-1], strict=True)
      ]
      parts.insert(0, np.zeros(1, np.int64))
    elif name == 'text':
      counts = np.cumsum([0, *(len(table['is_list']) for table in tables)])
      parts = [
          np.where(part < 0, part, part + start).astype(np.int32)
          for part, start in zip(parts, counts[:-1], strict=True)
      ]
    joined[name] = np.concatenate(parts)
  return joined


def take(table: Arrays, rows: Int[np.ndarray, k]) -> dict[str, np.ndarray]:
  """The arrays of some of the records; texts are kept, whoever has them."""
  taken = dict(table) | {name: table[name][rows] for name in _IMAGE}
  for end, names in _IMAGE_END.items():
    if end not in table:  # Packed before there were types.
      continue
    starts, counts = table[end][rows], np.diff(table[end])[rows]
    taken[end] = np.concatenate([[0], np.cumsum(counts)])
    behind = np.arange(taken[end][-1]) - np.repeat(taken[end][:-1], counts)
    places = np.repeat(starts, counts) + behind
    taken |= {name: table[name][places] for name in names}
  return taken


def text_of(table: Arrays, captions: Strings, place: int) -> TextPrompt:
  """One of the texts of a table.

  Args:
    table: of all records.
    captions: of `strings_of(table, 'caption')`.
    place: number of the text.
  """
  caption = captions[place]
  phrases = Phrases(table['phrase_end'], table['span_end'], table['spans'])
  spans = phrases[place]
  if not table['is_list'][place]:
    return prompts.from_caption(caption, spans)
  # Names as they stand, spaces at their ends included.
  names = tuple(caption[a:b] for ((a, b),) in spans)
  return TextPrompt(caption, names, spans)


def strings_of(table: Arrays, name: str) -> Strings:
  """Its strings by name: 'id' (in JSON), 'name', 'caption' or 'types'."""
  return Strings.of(table[name].tobytes(), table[f'{name}_end'])


def boxes_of(table: Arrays, decimals: int | None) -> Boxes:
  """The boxes of all records."""
  return Boxes(
      offset=table['box_end'],
      xywh=table['xywh'],
      label=table['label'],
      crowd=table['crowd'],
      area=table['area'],
      decimals=decimals,
  )


def write(path: str | os.PathLike[str], table: Arrays) -> int:
  """Writes a table and returns the CRC-32 of the file.

  Raises:
    OSError: if it cannot be written.
  """
  with open(path, 'wb') as file:
    np.savez(file, **table)
  return _crc_of_file(path)


def read(
    path: str | os.PathLike[str], *, crc: int | None = None
) -> dict[str, np.ndarray]:
  """Reads a table.

  Args:
    path: the file.
    crc: what `write` gave; None if that is not known.

  Raises:
    UserError: it is missing, or not what was written.
  """
  try:
    if crc is not None and _crc_of_file(path) != crc:
      raise ValueError('its bytes are not those that were written')
    with np.load(path, allow_pickle=False) as found:
      return {name: found[name] for name in found.files}
  except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
    raise UserError(
        f'{os.fspath(path)} cannot be read ({_reason(error)}); copy it again'
        ' from where it was packed, or pack anew'
    ) from error


def _crc_of_file(path: str | os.PathLike[str]) -> int:
  crc = 0
  with open(path, 'rb') as file:
    while block := file.read(2**20):
      crc = zlib.crc32(block, crc)
  return crc


def _reason(error: BaseException) -> str:
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  return ' '.join(str(error).split())


def _strings(name: str, values: Sequence[str]) -> dict[str, np.ndarray]:
  made = Strings(values)
  joined = np.frombuffer(made.joined, np.uint8)
  return {name: joined, f'{name}_end': made.end}


def _joined(parts, shape, dtype) -> np.ndarray:
  """The rows of all parts; none of a shape where there are none."""
  found = [part for part in parts if len(part)]
  if not found:
    return np.zeros(shape, dtype)
  return np.concatenate(found).astype(dtype)
