"""Detection data: a COCO JSON file and a folder of images.

What Roboflow exports as COCO, and what Objects365 and OpenImages boxes come as,
is such a file too.
"""

from __future__ import annotations

import os
from typing import Any

from glip_jax.data.sources import annotation_file
from glip_jax.data.sources.annotation_file import Id, Report
from glip_jax.data.sources.detection import Content, DetectionRecords
from glip_jax.data.sources.selection import (
    Selection,
    class_name,
    note_equal_names,
)
from glip_jax.errors import UserError


class CocoSource(DetectionRecords):
  """Random access to a COCO file: all class names are the prompt.

  Classes are by default those of the file in the order of their ids, but for
  the one that Roboflow writes for the background. The file is parsed once.
  """

  def __init__(
      self,
      *,
      annotations: str | os.PathLike[str],
      images: str | os.PathLike[str] = '',
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Parses the file.

    Args:
      annotations: the COCO JSON file.
      images: folder that the `file_name`s are relative to; by default that of
        the file, as Roboflow exports it.
      selection: classes and images to use.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if the file or folder is missing or no such thing, has no
        usable image or class, or a record is broken and to be refused.
    """
    report = Report(os.fspath(annotations), bad_records=bad_records)
    content = annotation_file.read_json(annotations, name='annotations')
    super().__init__(
        read_content(content, report),
        images=images or os.path.dirname(os.path.abspath(annotations)),
        selection=selection,
        report=report,
    )
    report.log()


def read_content(content: dict[str, Any], report: Report) -> Content:
  """What a COCO file holds.

  Args:
    content: its JSON.
    report: where faults are counted.

  Raises:
    UserError: if it has no lists of images and classes, or two names of one
      class.
  """
  images = annotation_file.entries(content, 'images', report)
  if 'annotations' not in content:
    report.note("file without 'annotations', so without boxes", 'all')
    content = {**content, 'annotations': []}
  boxes = annotation_file.entries(content, 'annotations', report)
  categories = annotation_file.entries(content, 'categories', report)
  if (background := _background(categories, boxes)) is not None:
    report.note('class that stands for all others, dropped', categories[0][0])
    categories = [row for row in categories if row[1] is not background]
  return Content(images, boxes, _read_classes(categories, report))


def _background(
    categories: annotation_file.Entries, boxes: annotation_file.Entries
) -> dict[str, Any] | None:
  """The entry of id 0 that Roboflow writes as the parent of all classes."""
  entries = [entry for _, entry in categories]
  if len(entries) < 2 or entries[0].get('id') != 0:
    return None
  first, *others = entries
  if any(entry.get('supercategory') != first.get('name') for entry in others):
    return None
  is_used = any(box.get('category_id') in (0, '0') for _, box in boxes)
  return None if is_used else first


def _read_classes(
    categories: annotation_file.Entries, report: Report
) -> dict[Id, str]:
  """Returns the name of each class, in the order of the ids."""
  classes: dict[Id, str] = {}
  for entry, category in categories:
    key = annotation_file.read_id(category.get('id'))
    name = class_name(category.get('name'))
    if key is None or not name:
      report.fault('class without id or name', f'{entry} {category!r}')
    elif classes.setdefault(key, name) != name:
      raise UserError(
          f'{report.file}: category id {key!r} is both {classes[key]!r}'
          f' and {name!r}; give each class an id of its own'
      )
  if not classes:
    raise UserError(
        f"{report.file} names no class; fill in 'categories' with id and name"
    )
  note_equal_names(classes, report)
  return dict(sorted(classes.items(), key=_id_order))


def _id_order(item: tuple[Id, str]) -> tuple[bool, Any]:
  return isinstance(item[0], str), item[0]
