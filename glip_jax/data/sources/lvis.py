"""Detection data: LVIS v1 and v0.5, whose images are labelled in part.

An image is labelled for some classes only: those that it has boxes of, and
those that it is known not to show. Of all others nothing is known, and of a few
not all objects have a box.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from glip_jax.data.sources import annotation_file, coco, image_list
from glip_jax.data.sources.annotation_file import Entries, Id, Report, read_id
from glip_jax.data.sources.detection import DetectionRecords
from glip_jax.data.sources.federated import (
    ABSENT,
    NOT_EXHAUSTIVE,
    Federated,
)
from glip_jax.data.sources.listing import Listing
from glip_jax.data.sources.lists import Lists
from glip_jax.data.sources.selection import ChosenClasses, Selection

# From the most frequent on.
_GROUPS = 'fcr'


class LvisSource(Federated, DetectionRecords):
  """Random access to an LVIS file.

  Of classes that are merged `frequency` is the most frequent.
  """

  def __init__(
      self,
      *,
      annotations: str | os.PathLike[str],
      images: str | os.PathLike[str],
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Parses the file.

    Args:
      annotations: the JSON file.
      images: folder with `train2017`, `val2017`, ..., or one of these. An image
        without a `file_name`, or none of whose is there, is the one of its
        `coco_url`.
      selection: classes and images to use.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: as `CocoSource` does.
    """
    report = Report(os.fspath(annotations), bad_records=bad_records)
    file = annotation_file.read_json(annotations, name='annotations')
    if isinstance(file.get('images'), list):
      file['images'] = _named(file['images'], os.fspath(images))
    content = coco.read_content(file, report)
    super().__init__(content, images=images, selection=selection, report=report)
    chosen = selection.classes(content.classes, report.file)
    ids = _ids_by_label(content.classes, chosen)
    self._absent = self._labels(content.images, ABSENT, ids, all)
    self._partial = self._labels(content.images, NOT_EXHAUSTIVE, ids, any)
    rows = annotation_file.entries(file, 'categories', report)
    by_id = {read_id(row.get('id')): row for _, row in rows}
    merged = [[by_id[key] for key in own] for own in ids]
    self.frequency = tuple(map(_frequency, merged))
    self.synonyms = tuple(map(_synonyms, merged))
    report.log()

  def _labels(
      self,
      images: Entries,
      key: str,
      ids: Sequence[Sequence[Id]],
      whether: Callable[[Iterable[bool]], bool],
  ) -> Lists:
    """The labels that a list of each image names.

    Args:
      images: entries of the file.
      key: of the list in an entry.
      ids: of the classes of each label.
      whether: `all` or `any` of the classes of a label must be in the list.
    """
    listed: dict[Id | None, frozenset[Any]] = {}
    for _, entry in images:
      value = entry.get(key)
      ours = frozenset(map(read_id, value if isinstance(value, list) else ()))
      listed.setdefault(read_id(entry.get('id')), ours)
    labels = {key: label for label, own in enumerate(ids) for key in own}
    rows = []
    for index in range(len(self)):
      found = listed[self.image_id(index)]
      near = sorted({labels[key] for key in found if key in labels})
      rows.append([
          label for label in near if whether(key in found for key in ids[label])
      ])
    return Lists.of(rows)


def _named(images: Sequence[Any], folder: str) -> list[Any]:
  """The entries, named by their `coco_url` where no other name is there."""
  stated = [_text(entry, 'file_name') for entry in images]
  found = Listing(folder).find_all(filter(image_list.is_inside, stated))
  named = []
  for entry, name in zip(images, stated, strict=True):
    if not found.get(name) and (url := _text(entry, 'coco_url')):
      entry = entry | {'file_name': '/'.join(url.split('/')[-2:])}
    named.append(entry)
  return named


def _text(entry: Any, key: str) -> str:
  value = entry.get(key) if isinstance(entry, dict) else ''
  return value if isinstance(value, str) else ''


def _ids_by_label(
    classes: Mapping[Id, str], chosen: ChosenClasses
) -> list[list[Id]]:
  """The ids of the classes that each label stands for."""
  ids: list[list[Id]] = [[] for _ in chosen.names]
  for key, name in classes.items():
    if name in chosen.labels:
      ids[chosen.labels[name]].append(key)
  return ids


def _frequency(categories: Iterable[Mapping[str, Any]]) -> str:
  stated = {category.get('frequency') for category in categories}
  return next((group for group in _GROUPS if group in stated), '')


def _synonyms(categories: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
  found = []
  for category in categories:
    value = category.get('synonyms')
    found += value if isinstance(value, list) else ()
  return tuple(dict.fromkeys(name for name in found if isinstance(name, str)))
