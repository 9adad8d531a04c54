"""Detection data that TensorFlow Datasets has prepared.

TensorFlow itself is not needed; the data set must be stored as ArrayRecord
(`file_format='array_record'`), which can be read at random.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from glip_jax.data.images import BadImage, read_image
from glip_jax.data.records import Record
from glip_jax.data.sources import box_table
from glip_jax.data.sources.coco import choose_names
from glip_jax.data.sources.faults import check_bad_records
from glip_jax.errors import UserError
from glip_jax.text import prompts


class TfdsSource:
  """Random access to a prepared data set with `image` and `objects`.

  `objects` has `bbox` (ymin, xmin, ymax, xmax, normalised) and `label`, and may
  have `is_crowd`, as all detection sets of the catalogue do. Ids are positions
  and labels: TFDS keeps no other.

  Attributes:
    names: the vocabulary, in label order.
    bad_records: 'skip' or 'raise'.
  """

  def __init__(
      self,
      *,
      directory: str | os.PathLike[str],
      split: str = 'train',
      names: Sequence[str] = (),
      exclude: Sequence[str] = (),
      bad_records: str = 'skip',
  ):
    """Opens the data set.

    Args:
      directory: folder of the prepared version, which holds
        `dataset_info.json`.
      split: a TFDS split, such as 'train' or 'train[:10%]'.
      names: classes to keep, in label order; all by default.
      exclude: classes to drop.
      bad_records: what `ground_truth` does with images that cannot be read:
        'skip' leaves them out, 'raise' refuses them.

    Raises:
      UserError: if there is no such data set or split, it is not stored as
        ArrayRecord, or is no detection set.
    """
    self.bad_records = check_bad_records(bad_records)
    self._directory = os.fspath(directory)
    self._split = split
    self._data: Any = None
    features = self._open().dataset_info.features
    known = _class_names(features, self._directory)
    self.names = choose_names(
        known, names=names, exclude=exclude, file=self._directory
    )
    self._label_of = {known.index(name): i for i, name in enumerate(self.names)}
    self._class_of = {i: key for key, i in self._label_of.items()}
    self._text = prompts.from_names(self.names)

  def __getstate__(self) -> dict[str, Any]:
    # Open files stay behind; a worker opens its own.
    return self.__dict__ | {'_data': None}

  def __len__(self) -> int:
    return len(self._open())

  def __getitem__(self, index: int) -> Record:
    """Reads a record.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the image cannot be read.
    """
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in [0, {len(self)})')
    example = self._open()[index]
    image = _image(example['image'])
    objects = example['objects']
    labels = np.array(objects['label'], np.int64).reshape(-1)
    height, width = image.shape[:2]
    y1, x1, y2, x2 = np.array(objects['bbox'], np.float64).reshape(-1, 4).T
    xywh = np.stack(
        [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height], -1
    )
    boxes, usable = box_table.clip_boxes(xywh, (height, width))
    usable &= np.isin(labels, list(self._label_of))
    crowd = np.array(objects.get('is_crowd', [False] * len(labels)), bool)
    return Record(
        image=image,
        boxes=boxes[usable],
        phrase=np.array([self._label_of[i] for i in labels[usable]], np.int32),
        crowd=crowd.reshape(-1)[usable],
        text=self._text,
        index=index,
    )

  def image_id(self, index: int) -> int:
    """Position of a record."""
    return index

  def category_id(self, label: int) -> int:
    """Label in the data set."""
    return self._class_of[label]

  def ground_truth(self) -> dict[str, Any]:
    """The data set in COCO format; reads every record.

    Raises:
      BadImage: if an image cannot be read and bad records are to be refused.
    """
    images, annotations = [], []
    for index in range(len(self)):
      try:
        record = self[index]
      except BadImage as error:
        if self.bad_records == 'raise':
          raise
        logging.warning(
            'left out of the ground truth: record %d: %s', index, error
        )
        continue
      height, width = record.image.shape[:2]
      images.append({'id': index, 'height': height, 'width': width})
      rows = zip(record.boxes, record.phrase, record.crowd, strict=True)
      for (x1, y1, x2, y2), label, crowd in rows:
        sides = float(x2 - x1), float(y2 - y1)
        annotations.append({
            'id': len(annotations) + 1,
            'image_id': index,
            'category_id': self.category_id(int(label)),
            'bbox': [float(x1), float(y1), *sides],
            'area': sides[0] * sides[1],
            'iscrowd': int(crowd),
        })
    categories = [
        {'id': self.category_id(label), 'name': name}
        for label, name in enumerate(self.names)
    ]
    return {
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }

  def _open(self) -> Any:
    """Opens the files, once per process."""
    if self._data is None:
      # Slow to import, and not needed by the other sources.
      import tensorflow_datasets as tfds

      try:
        builder = tfds.builder_from_directory(self._directory)
        # Images stay encoded, so that they are read as all others are.
        decoders = {'image': tfds.decode.SkipDecoding()}
        self._data = builder.as_data_source(self._split, decoders=decoders)
      except Exception as error:  # Each file format has errors of its own.
        reason = ' '.join(str(error).split())[:160]
        raise UserError(
            f'directory={self._directory!r} split={self._split!r} cannot be'
            f' opened ({reason}); give the folder with dataset_info.json of a'
            " set prepared with file_format='array_record'"
        ) from error
    return self._data


def _class_names(features: Any, directory: str) -> tuple[str, ...]:
  """Returns the names of a data set's classes in label order."""
  try:
    objects = features['objects']
    label = getattr(objects, 'feature', objects)['label']
    return tuple(label.names)
  except (KeyError, TypeError, AttributeError) as error:
    raise UserError(
        f'directory={directory!r} is no detection set: it needs objects with'
        f' bbox and named labels, and has {", ".join(features)}'
    ) from error


def _image(image: Any) -> np.ndarray:
  return read_image(bytes(image)) if isinstance(image, bytes) else image
