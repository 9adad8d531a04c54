"""Detection data: a COCO JSON file and a folder of images."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from glip_jax.data.images import BadImage
from glip_jax.data.records import Truth
from glip_jax.data.sources import (
    annotation_file,
    box_reading,
    boxes,
    image_list,
)
from glip_jax.data.sources.annotation_file import Id, Report
from glip_jax.data.sources.ground_truth import Classes, leave_out
from glip_jax.data.sources.ids import Ids
from glip_jax.data.sources.image_records import ImageRecords
from glip_jax.errors import UserError
from glip_jax.text import prompts


class CocoSource(Classes, ImageRecords):
  """Random access to a COCO file: all class names are the prompt.

  Labels are positions in `names`, which by default are the classes of the file
  in the order of their ids. The file is parsed once; images are read when
  they are asked for. What cannot be used is left out and counted in `report`;
  docs/faulty_data.md has the table.

  Attributes:
    report: what was wrong with the file.
    bad_records: 'skip' or 'raise'.
  """

  def __init__(
      self,
      *,
      annotations: str | os.PathLike[str],
      images: str | os.PathLike[str],
      names: Sequence[str] = (),
      exclude: Sequence[str] = (),
      bad_records: str = 'skip',
  ):
    """Parses the file.

    Args:
      annotations: the COCO JSON file.
      images: folder that the `file_name`s are relative to.
      names: classes to keep, in label order; all by default. Boxes of other
        classes vanish; images without boxes stay, as negatives.
      exclude: classes to drop.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if the file or folder is missing or no such thing, has no
        usable image or class, or a record is broken and to be refused.
    """
    self.bad_records = bad_records
    self.report = Report(os.fspath(annotations), bad_records=bad_records)
    content = annotation_file.read_json(annotations, name='annotations')
    self._images, _, positions = image_list.read_images(
        annotation_file.entries(content, 'images', self.report),
        images,
        self.report,
    )
    classes = _read_classes(content, self.report)
    chosen = choose_names(
        tuple(dict.fromkeys(classes.values())),
        names=names,
        exclude=exclude,
        file=self.report.file,
    )
    # Two ids of one name are one class, under the first of the ids.
    ids = {name: key for key, name in reversed(classes.items())}
    super().__init__(chosen, [ids[name] for name in chosen])
    self._text = prompts.from_names(self.names)
    self._boxes = self._read_boxes(content, classes, positions)
    self.report.log()

  def text(self, index: int) -> prompts.TextPrompt:
    """The names of all classes."""
    del index
    return self._text

  def _truth(self, index: int, size: tuple[int, int]) -> Truth:
    return self._boxes.truth(index, size, self._text, is_list=True)

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
          'file_name': self._images.files[index],
          'height': size[0],
          'width': size[1],
      }
      yield image, self._boxes.entries(index, size)

  def _read_boxes(
      self,
      content: dict[str, Any],
      classes: dict[Id, str],
      positions: dict[Id | None, int | None],
  ) -> boxes.Boxes:
    """Makes the table of boxes of the classes in `names`."""
    labels = {name: label for label, name in enumerate(self.names)}
    ids = Ids(classes, self.report, 'category_id')

    def label(annotation: dict[str, Any], _: int, name: str) -> int | None:
      wanted = annotation.get('category_id')
      key = ids.find(wanted, name)
      if key not in classes:
        self.report.fault('box of an unknown class', f'{name} {wanted!r}')
        return None
      return labels.get(classes[key], box_reading.UNUSED)

    if 'annotations' not in content:
      self.report.note("file without 'annotations', so without boxes", 'all')
      content = {**content, 'annotations': []}
    found = annotation_file.entries(content, 'annotations', self.report)
    return box_reading.read_boxes(
        found, self._images, positions, self.report, label
    )


def _read_classes(content: dict[str, Any], report: Report) -> dict[Id, str]:
  """Returns the name of each class, in the order of the ids."""
  classes: dict[Id, str] = {}
  for entry, category in annotation_file.entries(content, 'categories', report):
    key = annotation_file.read_id(category.get('id'))
    name = _class_name(category.get('name'))
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
  _note_equal_names(classes, report)
  return dict(sorted(classes.items(), key=_id_order))


def _note_equal_names(classes: dict[Id, str], report: Report) -> None:
  seen = set()
  for key, name in classes.items():
    if name in seen:
      report.note('class merged with one of the same name', repr(key))
    seen.add(name)


def choose_names(
    known: Sequence[str],
    *,
    names: Sequence[str],
    exclude: Sequence[str],
    file: str,
) -> tuple[str, ...]:
  """Picks and orders the classes to use.

  Args:
    known: the classes there are.
    names: those to keep, in order; all if empty.
    exclude: those to drop.
    file: where the classes come from, for messages.

  Raises:
    UserError: if a name is not among the classes or stands twice, or none is
      left.
  """
  chosen = [_find_name(name, known, file) for name in names] or list(known)
  if len(set(chosen)) != len(chosen):
    raise UserError(f'names={tuple(names)!r} holds a class twice; drop one')
  dropped = {_find_name(name, known, file) for name in exclude}
  kept = tuple(name for name in chosen if name not in dropped)
  if not kept:
    raise UserError(
        f'names={tuple(names)!r} without exclude={tuple(exclude)!r} leaves no'
        f' class of {file}; exclude fewer'
    )
  return kept


def _find_name(name: str, known: Sequence[str], file: str) -> str:
  """Returns the class that a user means, ignoring case if that is unique."""
  wanted = _class_name(name)
  if wanted in known:
    return wanted
  same = [item for item in known if item.casefold() == wanted.casefold()]
  if len(same) == 1:
    return same[0]
  close = difflib.get_close_matches(wanted, known, n=3) or known[:5]
  raise UserError(
      f'{name!r} is not a class of {file}; did you mean one of'
      f' {", ".join(map(repr, close))}?'
  )


def _class_name(name: Any) -> str:
  """Returns a usable class name, or '' if there is no word in it."""
  if not isinstance(name, (str, int, float)) or isinstance(name, bool):
    return ''
  # Composed and decomposed accents look the same and are one name.
  name = unicodedata.normalize('NFC', str(name)).strip()
  try:
    prompts.from_names((name,))
  except UserError:
    return ''
  return name


def _id_order(item: tuple[Id, str]) -> tuple[bool, Any]:
  return isinstance(item[0], str), item[0]
