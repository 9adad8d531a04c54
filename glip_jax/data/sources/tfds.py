"""Data that TensorFlow Datasets has prepared: boxes of classes, or captions.

What a set is follows from its features, those of the catalogue's detection
sets, of RefCOCO, of pairs of images and captions, and of what `tools.to_tfds`
writes.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from glip_jax.data.images import image_size, read_image
from glip_jax.data.records import Record, Truth
from glip_jax.data.sources import tfds_boxes, tfds_files
from glip_jax.data.sources.annotation_file import (
    check_bad_records,
    read_json,
)
from glip_jax.data.sources.boxes import Boxes
from glip_jax.data.sources.federated import ABSENT, NOT_EXHAUSTIVE, Federated
from glip_jax.data.sources.ground_truth import Classes, leave_out
from glip_jax.data.sources.protocol import Source
from glip_jax.data.sources.selection import Selection
from glip_jax.data.sources.tfds_boxes import Layout
from glip_jax.data.sources.tfds_captions import Captioned, find_captions
from glip_jax.data.sources.tfds_files import Examples
from glip_jax.errors import UserError
from glip_jax.text import prompts


def open_tfds(
    *,
    directory: str | os.PathLike[str],
    dataset: str = '',
    split: str = 'train',
    label_map: str | os.PathLike[str] = '',
    selection: Selection = Selection(),
    bad_records: str = 'skip',
) -> Source:
  """Opens a set that TFDS has prepared; nothing is downloaded.

  Ids are positions and labels, as reading a record tells the others.

  Args:
    directory: folder of the prepared version, which holds `dataset_info.json`;
      with `dataset` the `data_dir` of TFDS.
    dataset: name of the set in it, such as 'voc/2007'.
    split: a TFDS split, such as 'train' or 'train[:10%]'.
    label_map: JSON file of better names by the names that the set has, such as
      '/m/0k4j' of OpenImages; those that it lacks stay.
    selection: classes to use; parts are those of `split`.
    bad_records: what `ground_truth` does with images that cannot be read:
      'skip' leaves them out, 'raise' refuses them.

  Returns:
    A detection source where boxes have classes, with what LVIS knows of its
    images if the set has that; otherwise a grounding source: of RefCOCO a
    record is an expression, which takes a pass over the set to count; of
    pairs a record is an image.

  Raises:
    UserError: if there is no such set or split, it is not stored as
      ArrayRecord, or has neither boxes with classes nor captions.
  """
  check_bad_records(bad_records)
  if selection.part != (0, 1):
    raise UserError(
        f'part={selection.part} is not for TFDS, which slices by itself; give'
        f" split='{split}[:90%]' and '{split}[90%:]'"
    )
  examples = Examples(tfds_files.find_version(directory, dataset), split)
  captioned = layout = None
  if examples.has_images:
    captioned = find_captions(examples, bad_records)
    layout = tfds_boxes.find_layout(examples.features, examples.name)
  if captioned:
    return TfdsGrounding(captioned)
  if layout is None:
    raise UserError(
        f'directory={examples.directory!r} is no set of boxes or captions: it'
        ' needs an image of three channels and objects with bbox (parts of the'
        ' sides) and named labels, or a caption, and has'
        f' {", ".join(sorted(examples.features))}'
    )
  federated = ABSENT in examples.features
  kind = TfdsFederated if federated else TfdsDetection
  return kind(examples, layout, label_map, selection, bad_records)


class _TfdsRecords(abc.ABC):
  """What is the same whatever the set; `_examples` have the images."""

  _examples: Examples | Captioned

  def __len__(self) -> int:
    return len(self._examples)

  def __getitem__(self, index: int) -> Record:
    """Reads a record.

    Raises:
      IndexError: if there is no such record.
      UserError: if the image or the text cannot be read.
    """
    example = self._examples[index]
    image = _pixels(example['image'])
    return self._truth(example, image.shape[:2]).of(image, index)

  def image_id(self, index: int) -> int:
    """Position of a record."""
    return index

  def truth(self, index: int) -> Truth:
    """Boxes and text of a record; of the image the header is read.

    Raises:
      IndexError: if there is no such record.
      UserError: if the header or the text cannot be read.
    """
    example = self._examples[index]
    return self._truth(example, _size(example['image']))

  def image_file(self, index: int) -> bytes | None:
    """The encoded image of a record; None where pixels are stored."""
    image = self._examples[index]['image']
    return bytes(image) if isinstance(image, bytes) else None

  def boxes_of(self, index: int, size: tuple[int, int]) -> Boxes:
    """The boxes of an image of (h, w), in pixels, those without area gone."""
    boxes = self._boxes(self._examples[index], size)
    return tfds_boxes.usable(boxes, size)

  @abc.abstractmethod
  def _truth(self, example: Mapping[str, Any], size: tuple[int, int]) -> Truth:
    """What is true of an example whose image has (h, w)."""

  @abc.abstractmethod
  def _boxes(self, example: Mapping[str, Any], size: tuple[int, int]) -> Boxes:
    """The boxes of the classes in use, as the only ones of a table."""


class TfdsDetection(Classes, _TfdsRecords):
  """Random access to a prepared set of boxes with classes.

  Attributes:
    bad_records: 'skip' or 'raise'.
  """

  def __init__(
      self,
      examples: Examples,
      layout: Layout,
      label_map: str | os.PathLike[str],
      selection: Selection,
      bad_records: str,
  ):
    """Chooses the classes; see `open_tfds`."""
    self.bad_records = bad_records
    self._examples, self._layout = examples, layout
    known = _renamed(layout.names, label_map)
    chosen = selection.classes(dict(enumerate(known)), examples.directory)
    super().__init__(chosen.names, chosen.ids)
    # Label of each class of the set, -1 of those that are not used; the last
    # is that of objects without a class, which TFDS calls -1.
    labels = [chosen.labels.get(name, -1) for name in known]
    self._labels = np.array([*labels, -1], np.int32)
    examples.want({'image': None, layout.boxes: layout.parts})

  def _truth(self, example: Mapping[str, Any], size: tuple[int, int]) -> Truth:
    boxes = self._boxes(example, size)
    return boxes.truth(0, size, self.prompt, is_list=True)

  def _boxes(self, example: Mapping[str, Any], size: tuple[int, int]) -> Boxes:
    return self._layout.read(example, size, self._labels)

  def _annotated(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yields the entry of each image, and those of its boxes."""
    for index in range(len(self)):
      try:
        example = self._examples[index]
        size = _size(example['image'])
        boxes = self._boxes(example, size).entries(0, size)
      except UserError as error:
        told = UserError(f'record {index}: {error}')
        leave_out(told, bad_records=self.bad_records)
        continue
      yield {'id': index, 'height': size[0], 'width': size[1]}, boxes


class TfdsFederated(Federated, TfdsDetection):
  """A prepared set whose images are labelled for some classes only: LVIS.

  TFDS keeps neither how frequent classes are nor other words for them.
  """

  def __init__(self, *arguments: Any):
    """Takes the arguments of all detection sets."""
    super().__init__(*arguments)
    lists = {ABSENT: None, NOT_EXHAUSTIVE: None}
    boxes = {self._layout.boxes: self._layout.parts}
    self._examples.want({'image': None} | boxes | lists)
    self.frequency = ('',) * len(self.names)
    self.synonyms = ((),) * len(self.names)

  def absent(self, index: int) -> tuple[int, ...]:
    """Labels of the classes that an image is known not to show."""
    example = self._examples[index]
    classes = example[self._layout.boxes][self._layout.label]
    has = set(tfds_boxes.look_up(self._labels, classes, 'label').tolist())
    found = self._listed(example, ABSENT, all)
    return tuple(label for label in found if label not in has)

  def not_exhaustive(self, index: int) -> tuple[int, ...]:
    """Labels of the classes of which an image shows more than have boxes."""
    return self._listed(self._examples[index], NOT_EXHAUSTIVE, any)

  def _boxes(self, example: Mapping[str, Any], size: tuple[int, int]) -> Boxes:
    for key in ABSENT, NOT_EXHAUSTIVE:
      tfds_boxes.look_up(self._labels, example[key], key)
    return super()._boxes(example, size)

  def _listed(
      self,
      example: Mapping[str, Any],
      key: str,
      whether: Callable[[Iterable[bool]], bool],
  ) -> tuple[int, ...]:
    """Labels that are listed: `all` or `any` of the classes of each must be."""
    listed = tfds_boxes.look_up(self._labels, example[key], key)
    is_listed = np.zeros(len(self._labels), bool)
    is_listed[np.array(example[key], np.int64).reshape(-1)] = True
    near = sorted({*listed.tolist()} - {-1})
    return tuple(
        label for label in near if whether(is_listed[self._labels == label])
    )


class TfdsGrounding(_TfdsRecords):
  """Random access to prepared captions, with linked boxes or without."""

  def __init__(self, captioned: Captioned):
    """Takes the captions."""
    self._examples = captioned

  def text(self, index: int) -> prompts.TextPrompt:
    """The text of a record, with the phrases that it has.

    Raises:
      IndexError: if there is no such record.
      UserError: if it holds no words.
    """
    return self._examples[index]['said'].text

  def _truth(self, example: Mapping[str, Any], size: tuple[int, int]) -> Truth:
    boxes, said = self._boxes(example, size), example['said']
    return boxes.truth(0, size, said.text, is_list=said.is_list)

  def _boxes(self, example: Mapping[str, Any], size: tuple[int, int]) -> Boxes:
    said = example['said']
    return tfds_boxes.of_corners(said.bbox, size, said.phrase, said.crowd)


def _renamed(
    names: tuple[str, ...], label_map: str | os.PathLike[str]
) -> tuple[str, ...]:
  """The names of the classes, as a file has them where it does."""
  if not label_map:
    return names
  content = read_json(label_map, name='label_map')
  if not any(isinstance(content.get(name), str) for name in names):
    raise UserError(
        f'label_map={os.fspath(label_map)!r} names none of the classes'
        f' {", ".join(names[:3])}, ...: write names by those of the set,'
        f' {{"{names[0]}": "person", ...}}'
    )
  return tuple(str(content.get(name) or name) for name in names)


def _pixels(image: Any) -> np.ndarray:
  return read_image(bytes(image)) if isinstance(image, bytes) else image


def _size(image: Any) -> tuple[int, int]:
  return image_size(image) if isinstance(image, bytes) else image.shape[:2]
