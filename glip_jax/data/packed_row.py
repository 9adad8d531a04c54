"""One record as it is packed: the row of its table, and its image's file."""

from __future__ import annotations

import dataclasses
import io
import zlib

import numpy as np
from PIL import Image

from glip_jax.data.guard import Guard
from glip_jax.data.images import BadImage
from glip_jax.data.records import Record, Truth
from glip_jax.data.sources import protocol
from glip_jax.data.sources.boxes import Boxes
from glip_jax.data.sources.protocol import Source
from glip_jax.data.sources.record_tables import Row
from glip_jax.errors import UserError
from glip_jax.text import prompts


def check(source: Source) -> None:
  """Refuses a source whose prompt would be lost.

  Raises:
    UserError: it has no records, or a sentence for all of its classes.
  """
  if not len(source):
    raise UserError('the source has no records: give one that has')
  if protocol.is_detection(source):
    if source.text(0) != prompts.from_names(source.names):
      raise UserError(
          'the source asks for its classes in words that are not kept: set'
          " published_prompt=False and class_prompts='', and give class_prompts"
          ' where the packed set is read'
      )


def read(source: Source, guard: Guard, index: int) -> tuple[Row, bytes] | None:
  """Reads a record and the file of its image, a PNG if it has none.

  Args:
    source: what is packed.
    guard: of it.
    index: of the record.

  Returns:
    Its row and its image; None if it is broken and may be skipped.

  Raises:
    UserError: it is broken and to be refused.
  """
  record = guard[index]
  if record is None:
    return None
  try:
    data = protocol.image_file(source, index) or _png(record)
  except BadImage as error:
    guard.handle(index, error)
    return None
  truth = dataclasses.replace(record, boxes=record.original_boxes)
  size = record.original_size
  return of(source, index, truth, size, zlib.crc32(data)), data


def of(
    source: Source, index: int, truth: Truth, size: tuple[int, int], crc: int
) -> Row:
  """What the table says of a record.

  Args:
    source: what is packed.
    index: of the record.
    truth: of it.
    size: (h, w) of its image.
    crc: of the file of the image.
  """
  federated = protocol.is_federated(source)
  boxes = protocol.boxes_of(source, index, size)
  return Row(
      id=source.image_id(index),
      file=protocol.file_name(source, index),
      stated=protocol.stated_size(source, index) or (0, 0),
      size=size,
      crc=crc,
      text=None if protocol.is_detection(source) else truth.text,
      is_list=truth.is_list,
      boxes=_boxes(truth) if boxes is None else boxes,
      absent=source.absent(index) if federated else (),
      partial=source.not_exhaustive(index) if federated else (),
      types=protocol.phrase_types(source, index),
  )


def _boxes(truth: Truth) -> Boxes:
  """The boxes of a source that has no table of them."""
  xywh = truth.boxes.astype(np.float64)
  xywh[:, 2:] -= xywh[:, :2]
  return Boxes(
      offset=np.array([0, len(xywh)]),
      xywh=xywh,
      label=truth.phrase,
      crowd=truth.crowd,
      area=np.full(len(xywh), np.nan),
  )


def _png(record: Record) -> bytes:
  data = io.BytesIO()
  Image.fromarray(record.image).save(data, 'PNG')
  return data.getvalue()
