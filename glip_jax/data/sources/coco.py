"""Detection data: a COCO JSON file and a folder of images."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Sequence
from typing import Any

from glip_jax.data.records import Record
from glip_jax.data.sources import annotation_file, box_table, image_table
from glip_jax.data.sources.faults import Report
from glip_jax.data.sources.opened_images import OpenedImages
from glip_jax.errors import UserError
from glip_jax.text import prompts


class CocoSource:
  """Random access to a COCO file: all class names are the prompt.

  Labels are positions in `names`, which by default are the classes of the file
  in the order of their ids. The file is parsed once; images are read when
  they are asked for. What cannot be used is left out and counted in `report`;
  docs/data.md has the table.

  Attributes:
    names: the vocabulary, in label order.
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
    self._images = image_table.read_images(
        annotation_file.entries(content, 'images', self.report),
        images,
        self.report,
    )
    classes = self._read_classes(content)
    self.names = choose_names(
        tuple(dict.fromkeys(classes.values())),
        names=names,
        exclude=exclude,
        file=self.report.file,
    )
    # Two ids of one name are one class, under the first of the ids.
    ids = {name: key for key, name in reversed(classes.items())}
    self._category_ids = tuple(ids[name] for name in self.names)
    self._boxes = self._read_boxes(content, classes)
    self._text = prompts.from_names(self.names)
    self._opened = OpenedImages(self._images, bad_records=bad_records)
    self.report.log()

  def __len__(self) -> int:
    return len(self._images.ids)

  def __getitem__(self, index: int) -> Record:
    """Reads an image and its boxes.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the image cannot be read.
    """
    image = self._opened.read(index)
    rows = self._boxes.rows(index)
    boxes, usable = box_table.clip_boxes(
        self._boxes.xywh[rows], image.shape[:2]
    )
    return Record(
        image=image,
        boxes=boxes[usable],
        phrase=self._boxes.label[rows][usable],
        crowd=self._boxes.crowd[rows][usable],
        text=self._text,
        index=index,
    )

  def image_id(self, index: int) -> annotation_file.Id:
    """Original id of an image."""
    return self._images.ids[index]

  def category_id(self, label: int) -> annotation_file.Id:
    """Original id of a class."""
    return self._category_ids[label]

  def ground_truth(self) -> dict[str, Any]:
    """The data set in COCO format, as far as it is usable.

    Images that cannot be read (now, or when `self[i]` was asked for) and
    classes outside `names` are left out. Ids of images and classes are those
    of the file; annotations are numbered from 1, as the COCO code takes 0 for
    "no match". Boxes marked `ignore` count as crowds.

    Raises:
      BadImage: if an image cannot be read and bad records are to be refused.
    """
    images, annotations = box_table.truth(
        self._images, self._boxes, self._opened.size
    )
    for annotation in annotations:
      label = annotation['category_id']
      annotation['category_id'] = self.category_id(label)
    categories = [
        {'id': key, 'name': name}
        for key, name in zip(self._category_ids, self.names, strict=True)
    ]
    return {
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }

  def _read_classes(
      self, content: dict[str, Any]
  ) -> dict[annotation_file.Id, str]:
    """Returns the name of each class, in the order of the ids."""
    classes: dict[annotation_file.Id, str] = {}
    for entry, category in annotation_file.entries(
        content, 'categories', self.report
    ):
      key = annotation_file.read_id(category.get('id'))
      name = _class_name(category.get('name'))
      if key is None or not name:
        self.report.fault('class without id or name', f'{entry} {category!r}')
      elif classes.setdefault(key, name) != name:
        raise UserError(
            f'{self.report.file}: category id {key!r} is both {classes[key]!r}'
            f' and {name!r}; give each class an id of its own'
        )
    if not classes:
      raise UserError(
          f"{self.report.file} names no class; fill in 'categories' with id and"
          ' name'
      )
    self._note_equal_names(classes)
    return dict(sorted(classes.items(), key=_id_order))

  def _note_equal_names(self, classes: dict[annotation_file.Id, str]) -> None:
    first: dict[str, str] = {}
    for key, name in classes.items():
      other = first.setdefault(name.casefold(), name)
      if other is not name and other == name:
        self.report.note('class merged with one of the same name', repr(key))
      elif other is not name:
        kind = 'classes that a tokenizer may not tell apart'
        self.report.note(kind, f'{other!r}, {name!r}')

  def _read_boxes(
      self, content: dict[str, Any], classes: dict[annotation_file.Id, str]
  ) -> box_table.Boxes:
    """Makes the table of boxes of the classes in `names`."""
    labels = {name: label for label, name in enumerate(self.names)}

    def label(annotation: dict[str, Any], _: int, name: str) -> int | None:
      key = annotation_file.read_id(annotation.get('category_id'))
      if key not in classes:
        self.report.fault('box of an unknown class', f'{name} {key!r}')
        return None
      return labels.get(classes[key])

    if 'annotations' not in content:
      self.report.note("file without 'annotations', so without boxes", 'all')
      content = {**content, 'annotations': []}
    found = annotation_file.entries(content, 'annotations', self.report)
    return box_table.read_boxes(found, self._images, self.report, label)


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
  if any(unicodedata.category(character) == 'Cs' for character in name):
    return ''  # Half of a character: no encoding has it.
  try:
    prompts.from_names((name,))
  except UserError:
    return ''
  return name


def _id_order(item: tuple[annotation_file.Id, str]) -> tuple[bool, Any]:
  return isinstance(item[0], str), item[0]
