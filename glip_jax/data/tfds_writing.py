"""Any source as a set of TensorFlow Datasets, written without TensorFlow.

It is stored as ArrayRecord, which `tfds.data_source` and `source='tfds'` read.
Detection sets have the features of TFDS's COCO and LVIS. Of grounding sets a
box has the number of its `phrase`, and `spans` are the characters [start, end)
of each phrase in the `caption`: lists in lists would need TensorFlow.
"""

from __future__ import annotations

import io
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from glip_jax.data import tfds_names
from glip_jax.data.guard import Guard
from glip_jax.data.images import BadImage
from glip_jax.data.records import Record
from glip_jax.data.sources import protocol
from glip_jax.data.sources.federated import ABSENT, NOT_EXHAUSTIVE
from glip_jax.data.sources.protocol import Source
from glip_jax.data.sources.tfds_captions import SPANS
from glip_jax.errors import UserError

# Read ahead of the writer; an image may have megabytes.
_AHEAD = 64
_ORIENTATION = 0x0112
# Of Pillow: what all readers make the same RGB of.
_PLAIN = ('RGB', 'L', 'P', '1')


def write(
    splits: Mapping[str, Source],
    data_dir: str | os.PathLike[str],
    *,
    name: str,
    bad_records: str = 'skip',
) -> str:
  """Writes sources as the splits of one set.

  Images that are JPEG or PNG keep their bytes, but for those that EXIF turns
  and those with transparency or of CMYK: readers of TFDS do not do with these
  what is done here, so these and all others become PNG. What a run that was
  killed left of the same set is removed.

  Args:
    splits: the sources by the name of their split, all of one kind.
    data_dir: of TFDS, where the set becomes a folder.
    name: of the set: small letters, digits and underscores.
    bad_records: 'skip' leaves out what cannot be read, and names it in the log;
      'raise' refuses it.

  Returns:
    The folder of the prepared version.

  Raises:
    UserError: `tfds_names.check` refuses a name or source, the set is there
      already, a record is broken and to be refused, or the folder cannot be
      written to.
  """
  tfds_names.check(name, splits)
  try:
    return _write(
        _Builder(
            splits=splits,
            dataset=name,
            data_dir=data_dir,
            bad_records=bad_records,
        )
    )
  except UserError:
    raise
  except (OSError, RuntimeError) as error:  # The latter from ArrayRecord.
    reason = ' '.join(str(error).split())[:300]
    raise UserError(
        f'{os.path.join(data_dir, name)} cannot be written ({reason}); make'
        ' room, or give another folder, and run again'
    ) from error


def _write(builder: _Builder) -> str:
  """Writes a set that is not there yet; its folder."""
  folder = pathlib.Path(builder.data_dir)
  if folder.exists():
    raise UserError(
        f'{folder} is there already: read it, or give another name or folder'
    )
  for left in folder.parent.glob(f'incomplete.*_{folder.name}'):
    logging.warning('%s is what a killed run left: removed', left)
    shutil.rmtree(left)
  builder.download_and_prepare()
  return os.fspath(folder)


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A set made of sources, in their order."""

  VERSION = tfds.core.Version('1.0.0')
  # As in `shapes.tfds`: there are no checksums beside this file to be found.
  code_path = None

  def __init__(
      self,
      *,
      splits: Mapping[str, Source],
      dataset: str,
      bad_records: str,
      data_dir: str | os.PathLike[str],
  ):
    self.name = dataset
    self._sources, self._bad_records = splits, bad_records
    super().__init__(data_dir=data_dir, file_format='array_record')

  def _info(self) -> tfds.core.DatasetInfo:
    source = next(iter(self._sources.values()))
    own = _detection if protocol.is_detection(source) else _grounding
    return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict({
            'image': tfds.features.Image(shape=(None, None, 3)),
            'image/id': tfds.features.Text(),
            'image/filename': tfds.features.Text(),
            **own(source),
        }),
        description='Written by glip_jax.',
        disable_shuffling=True,
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager
    return {
        split: self._generate_examples(source)
        for split, source in self._sources.items()
    }

  def _generate_examples(self, source: Source) -> Iterator[tuple[int, Any]]:
    guard = Guard(source, self._bad_records)

    def read(index: int) -> dict[str, Any] | None:
      return _example(source, guard, index)

    with futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
      for start in range(0, len(source), _AHEAD):
        some = range(start, min(start + _AHEAD, len(source)))
        for index, made in zip(some, pool.map(read, some), strict=True):
          if made is not None:
            yield index, made


def _detection(source: protocol.DetectionSource) -> dict[str, Any]:
  """The features of boxes with classes."""
  label = tfds.features.ClassLabel(names=list(source.names))
  lists = {}
  if protocol.is_federated(source):
    every = tfds.features.Sequence(label)
    lists = {ABSENT: every, NOT_EXHAUSTIVE: every}
  boxes = {'bbox': tfds.features.BBoxFeature(), 'is_crowd': np.bool_}
  objects = tfds.features.Sequence(boxes | {'label': label})
  return {'objects': objects} | lists


def _grounding(source: Source) -> dict[str, Any]:
  """The features of captions with linked boxes."""
  del source
  return {
      'caption': tfds.features.Text(),
      'is_list': np.bool_,
      'objects': tfds.features.Sequence({
          'bbox': tfds.features.BBoxFeature(),
          'is_crowd': np.bool_,
          'phrase': np.int32,
      }),
      SPANS: tfds.features.Sequence(
          {'phrase': np.int32, 'start': np.int32, 'end': np.int32}
      ),
  }


def _example(source: Source, guard: Guard, index: int) -> dict[str, Any] | None:
  """One record; None if it is broken and may be skipped."""
  record = guard[index]
  if record is None:
    return None
  try:
    file = protocol.image_file(source, index)
  except BadImage as error:
    guard.handle(index, error)
    return None
  example = {
      'image': _portable(file, record),
      'image/id': str(source.image_id(index)),
      'image/filename': protocol.file_name(source, index),
  }
  if not protocol.is_detection(source):
    return example | _said(record)
  if protocol.is_federated(source):
    example[ABSENT] = list(source.absent(index))
    example[NOT_EXHAUSTIVE] = list(source.not_exhaustive(index))
  return example | {'objects': _objects(record, 'label')}


def _said(record: Record) -> dict[str, Any]:
  """The caption of a record and what is linked to it."""
  spans = [
      {'phrase': phrase, 'start': start, 'end': end}
      for phrase, own in enumerate(record.text.spans)
      for start, end in own
  ]
  return {
      'caption': record.text.caption,
      'is_list': record.is_list,
      'objects': _objects(record, 'phrase'),
      SPANS: spans,
  }


def _objects(record: Record, key: str) -> list[dict[str, Any]]:
  """The boxes of a record; what they are of under this key."""
  height, width = record.image.shape[:2]
  unit = record.boxes / np.array([width, height] * 2, np.float32)
  return [
      {
          'bbox': tfds.features.BBox(y1, x1, y2, x2),
          key: int(label),
          'is_crowd': bool(crowd),
      }
      for (x1, y1, x2, y2), label, crowd in zip(
          unit.clip(0, 1).tolist(), record.phrase, record.crowd, strict=True
      )
  ]


def _portable(file: bytes | None, record: Record) -> io.BytesIO:
  """The file of an image as any reader shows it alike, else a PNG of it."""
  if file is not None:
    with Image.open(io.BytesIO(file)) as image:
      is_turned = image.getexif().get(_ORIENTATION, 1) != 1
      is_plain = image.mode in _PLAIN and not image.has_transparency_data
      if image.format in ('JPEG', 'PNG') and is_plain and not is_turned:
        return io.BytesIO(file)
  made = io.BytesIO()
  Image.fromarray(record.image).save(made, 'PNG')
  made.seek(0)
  return made
