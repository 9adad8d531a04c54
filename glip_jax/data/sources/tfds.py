"""Detection data that TensorFlow Datasets has prepared.

TensorFlow itself is not needed; the data set must be stored as ArrayRecord
(`file_format='array_record'`), which can be read at random.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from glip_jax.data.images import BadImage, image_size, read_image
from glip_jax.data.records import Record, Truth
from glip_jax.data.sources.annotation_file import check_bad_records
from glip_jax.data.sources.boxes import Boxes, clip_boxes
from glip_jax.data.sources.ground_truth import Classes, leave_out
from glip_jax.data.sources.selection import Selection
from glip_jax.errors import UserError
from glip_jax.text import prompts


class TfdsSource(Classes):
  """Random access to a prepared data set with `image` and `objects`.

  `objects` has `bbox` (ymin, xmin, ymax, xmax, normalised) and `label`, and may
  have `is_crowd`, as all detection sets of the catalogue do. Ids are positions
  and labels: TFDS keeps no other.

  Attributes:
    bad_records: 'skip' or 'raise'.
  """

  def __init__(
      self,
      *,
      directory: str | os.PathLike[str],
      split: str = 'train',
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Opens the data set.

    Args:
      directory: folder of the prepared version, which holds
        `dataset_info.json`.
      split: a TFDS split, such as 'train' or 'train[:10%]'.
      selection: classes to use; parts are those of `split`.
      bad_records: what `ground_truth` does with images that cannot be read:
        'skip' leaves them out, 'raise' refuses them.

    Raises:
      UserError: if there is no such data set or split, it is not stored as
        ArrayRecord, or is no detection set.
    """
    self.bad_records = check_bad_records(bad_records)
    if selection.part != (0, 1):
      raise UserError(
          f'part={selection.part} is not for TFDS, which slices by itself; give'
          f" split='{split}[:90%]' and '{split}[90%:]'"
      )
    self._directory = os.fspath(directory)
    self._split = split
    self._data: Any = None
    features = self._open().dataset_info.features
    known = _class_names(features, self._directory)
    chosen = selection.classes(dict(enumerate(known)), self._directory)
    super().__init__(chosen.names, chosen.ids)
    self._text = prompts.from_names(self.names)
    # Label of each class of the set, -1 of those that are not used; the last
    # is that of objects without a class, which TFDS calls -1.
    labels = [chosen.labels.get(name, -1) for name in known]
    self._labels = np.array([*labels, -1], np.int32)

  def __getstate__(self) -> dict[str, Any]:
    # Open files stay behind; a worker opens its own.
    return super().__getstate__() | {'_data': None}

  def __len__(self) -> int:
    return len(self._open())

  def __getitem__(self, index: int) -> Record:
    """Reads a record.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the image cannot be read.
    """
    example = self._example(index)
    image = _pixels(example['image'])
    return self._truth(example, image.shape[:2]).of(image, index)

  def image_id(self, index: int) -> int:
    """Position of a record."""
    return index

  def text(self, index: int) -> prompts.TextPrompt:
    """The names of all classes."""
    del index
    return self._text

  def truth(self, index: int) -> Truth:
    """Boxes and text of a record; of the image the header is read.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the header cannot be read.
    """
    example = self._example(index)
    return self._truth(example, _size(example['image']))

  def image_file(self, index: int) -> bytes | None:
    """The encoded image of a record; None where pixels are stored."""
    image = self._example(index)['image']
    return bytes(image) if isinstance(image, bytes) else None

  def boxes_of(self, index: int, size: tuple[int, int]) -> Boxes:
    """The boxes of an image of (h, w), in pixels, those without area gone."""
    boxes = self._boxes(self._example(index), size)
    _, usable = clip_boxes(boxes.xywh, size)
    return Boxes(
        offset=np.array([0, usable.sum()]),
        xywh=boxes.xywh[usable],
        label=boxes.label[usable],
        crowd=boxes.crowd[usable],
        area=boxes.area[usable],
    )

  def _truth(self, example: Mapping[str, Any], size: tuple[int, int]) -> Truth:
    boxes = self._boxes(example, size)
    return boxes.truth(0, size, self._text, is_list=True)

  def _annotated(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yields the entry of each image, and those of its boxes."""
    for index in range(len(self)):
      example = self._example(index)
      try:
        size = _size(example['image'])
      except BadImage as error:
        leave_out(error, bad_records=self.bad_records)
        continue
      image = {'id': index, 'height': size[0], 'width': size[1]}
      yield image, self._boxes(example, size).entries(0, size)

  def _boxes(self, example: Mapping[str, Any], size: tuple[int, int]) -> Boxes:
    """The boxes of the classes in `names`, as the only ones of a table."""
    objects = example['objects']
    classes = np.array(objects['label'], np.int64).reshape(-1)
    crowd = objects.get('is_crowd', [False] * len(classes))
    y1, x1, y2, x2 = np.array(objects['bbox'], np.float64).reshape(-1, 4).T
    height, width = size
    xywh = np.stack(
        [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height], -1
    )
    label = self._labels[classes]
    used = label >= 0
    return Boxes(
        offset=np.array([0, used.sum()]),
        xywh=xywh[used],
        label=label[used],
        crowd=np.array(crowd, bool).reshape(-1)[used],
        area=np.full(used.sum(), np.nan),
    )

  def _example(self, index: int) -> Mapping[str, Any]:
    """A record as it is stored, its image encoded."""
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in [0, {len(self)})')
    return self._open()[index]

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


def _pixels(image: Any) -> np.ndarray:
  return read_image(bytes(image)) if isinstance(image, bytes) else image


def _size(image: Any) -> tuple[int, int]:
  return image_size(image) if isinstance(image, bytes) else image.shape[:2]
