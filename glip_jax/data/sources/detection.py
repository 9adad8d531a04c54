"""Detection data in files, whatever the format: images, boxes and classes.

A reader makes `Content` of its files; all else is the same for every format.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

from glip_jax.data.images import BadImage
from glip_jax.data.records import Truth
from glip_jax.data.sources import box_reading, boxes, image_list
from glip_jax.data.sources.annotation_file import Entries, Id, Report
from glip_jax.data.sources.ground_truth import Classes, leave_out
from glip_jax.data.sources.ids import Ids
from glip_jax.data.sources.image_records import ImageRecords
from glip_jax.data.sources.selection import Selection


@dataclasses.dataclass(frozen=True)
class Content:
  """What the files of a data set say, in the words of COCO.

  Attributes:
    images: (name for messages, entry) with `id`, `file_name` and, where they
      are stated, `width` and `height`.
    boxes: likewise with `image_id`, `category_id`, `bbox` (xywh, pixels) and
      what else COCO has.
    classes: name by id, in label order.
    is_unit: True where boxes are in 0..1, parts of the sides of their image.
  """

  images: Entries
  boxes: Entries
  classes: Mapping[Id, str]
  is_unit: bool = False


class VocabularyRecords(Classes, ImageRecords):
  """Images with boxes of classes, wherever they were read from.

  Labels are positions in `names`.

  Attributes:
    bad_records: 'skip' or 'raise'.
  """

  bad_records: str

  def _truth(self, index: int, size: tuple[int, int]) -> Truth:
    return self._boxes.truth(index, size, self.prompt, is_list=True)

  def _annotated(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yields the entry of each image, and those of its boxes."""
    for index in range(len(self)):
      try:
        size = self._images.size(index)
      except BadImage as error:
        leave_out(error, bad_records=self.bad_records)
        continue
      image = {
          'id': self._images.id(index),
          'height': size[0],
          'width': size[1],
      }
      if file := self._images.files[index]:
        image['file_name'] = file
      yield image, self._boxes.entries(index, size)


class DetectionRecords(VocabularyRecords):
  """Random access to detection data: all class names are the prompt.

  Files are parsed once; images are read when they are asked for. What cannot
  be used is left out and counted in `report`; docs/faulty_data.md has the
  table.

  Attributes:
    report: what was wrong with the files.
    bad_records: 'skip' or 'raise'.
  """

  def __init__(
      self,
      content: Content,
      *,
      images: str | os.PathLike[str],
      selection: Selection,
      report: Report,
  ):
    """Keeps what is usable, and tells of the rest.

    Args:
      content: what the files say.
      images: folder that the `file_name`s are relative to.
      selection: what to use of it.
      report: what was wrong so far.

    Raises:
      UserError: if the folder is missing, there is no usable image or class, no
        box is left that shows an object, or a record is to be refused.
    """
    self.bad_records = report.bad_records
    self.report = report
    self._images, _, positions = image_list.read_images(
        content.images, images, report, selection=selection
    )
    chosen = selection.classes(content.classes, report.file)
    super().__init__(chosen.names, chosen.ids)
    self._boxes = self._read_boxes(content, positions, chosen.labels)

  def _read_boxes(
      self,
      content: Content,
      positions: dict[Id | None, int | None],
      labels: Mapping[str, int],
  ) -> boxes.Boxes:
    """Makes the table of boxes of the classes in `names`."""
    classes = content.classes
    ids = Ids(classes, self.report, 'category_id')

    def label(annotation: dict[str, Any], _: int, name: str) -> int | None:
      wanted = annotation.get('category_id')
      key = ids.find(wanted, name)
      if key not in classes:
        self.report.fault('box of an unknown class', f'{name} {wanted!r}')
        return None
      return labels.get(classes[key], box_reading.UNUSED)

    return box_reading.read_boxes(
        content.boxes,
        self._images,
        positions,
        self.report,
        label,
        is_unit=content.is_unit,
    )
