"""Detection data: Pascal VOC, one XML file an image.

Corners of VOC are pixels counted from 1, the last one included. From edge to
edge, as everywhere here, that is from (xmin - 1, ymin - 1) to (xmax, ymax).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from glip_jax.data.sources.annotation_file import Report
from glip_jax.data.sources.detection import Content, DetectionRecords
from glip_jax.data.sources.listing import IMAGE_SUFFIXES
from glip_jax.data.sources.selection import Selection, class_name
from glip_jax.data.sources.xml_file import read_xml
from glip_jax.errors import UserError

_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
_SIDES = ('width', 'height')


class VocSource(DetectionRecords):
  """Random access to a folder of VOC files.

  There is no list of classes: they are those of the objects, in alphabetical
  order, and of `selection.names`, which may name some without an object. What
  is `difficult` is ignored, as COCO's crowds are: background in training, and
  neither found nor missed in a score. The image of a file is the one of its
  name, then the one of its `filename`.
  """

  def __init__(
      self,
      *,
      directory: str | os.PathLike[str],
      images: str | os.PathLike[str] = '',
      split: str = '',
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Parses the files.

    Args:
      directory: folder with `Annotations`, `JPEGImages` and `ImageSets/Main`;
        or with XML files beside their images, or folders of such by split, as
        Roboflow exports them.
      images: folder of the images, where it is another.
      split: list in `ImageSets/Main`, or folder; by default all files.
      selection: classes and images to use.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if the folder, split or images are missing, or a record is
        broken and to be refused.
    """
    layout = _find(pathlib.Path(directory), images, split)
    report = Report(layout.name, bad_records=bad_records)
    super().__init__(
        _read(layout, selection.names, report),
        images=layout.images,
        selection=selection,
        report=report,
    )
    report.log()


@dataclasses.dataclass(frozen=True)
class _Layout:
  """Where the files of a set are.

  Attributes:
    name: of the set, for messages.
    annotations: folder of the XML files.
    images: folder of the images.
    stems: names of the files without suffix, in order.
    is_whole: True where `stems` are all files of the folder.
  """

  name: str
  annotations: pathlib.Path
  images: pathlib.Path
  stems: Sequence[str]
  is_whole: bool


def _find(root: pathlib.Path, images: str, split: str) -> _Layout:
  if not root.is_dir():
    raise UserError(
        f"directory='{root}' is not a folder; give that of a VOC set"
    )
  annotations = root / 'Annotations'
  name = f'{root} {split}'.strip()
  if annotations.is_dir():
    own = images or root / 'JPEGImages'
    if split:
      stems = _listed(root / 'ImageSets' / 'Main', split)
      return _Layout(name, annotations, pathlib.Path(own), stems, False)
  else:
    annotations = root / split
    own = images or annotations
  try:
    files = sorted(path.stem for path in annotations.glob('*.xml'))
  except OSError:
    files = []
  if not files:
    there = sorted({path.parent.name for path in root.glob('*/*.xml')})
    raise UserError(
        f"no XML file in '{annotations}': directory='{root}' must hold"
        f' Annotations and JPEGImages, or XML files, with split={split!r} in a'
        f' folder of that name{_among(there)}'
    )
  return _Layout(name, annotations, pathlib.Path(own), files, True)


def _listed(folder: pathlib.Path, split: str) -> list[str]:
  """The names in the list of a split; what else is in a line says nothing."""
  try:
    text = (folder / f'{split}.txt').read_text('utf-8')
  except (OSError, ValueError) as error:
    there = sorted(path.stem for path in folder.glob('*.txt'))
    raise UserError(
        f"split={split!r} has no list '{folder / split}.txt' that can be read"
        f'{_among(there)}'
    ) from error
  stems = [line.split()[0] for line in text.splitlines() if line.strip()]
  return list(dict.fromkeys(stems))


def _among(names: Sequence[str]) -> str:
  return f'; there are {", ".join(names)}' if names else '; there is none'


def _read(layout: _Layout, names: Iterable[str], report: Report) -> Content:
  """Reads all files of a set."""
  by_stem = _images_by_stem(layout.images)
  images, boxes = [], []
  for stem in layout.stems:
    file = f'{stem}.xml'
    if re.search(r'[\\/]', stem):
      report.fault('name in a list that leaves the folder', repr(stem))
      continue
    try:
      root = read_xml(layout.annotations / file)
    except UserError as error:
      report.fault('XML that cannot be read', str(error))
      continue
    image = _image(root, stem, by_stem, report)
    images.append((file, image | {'id': stem}))
    boxes += _objects(root, file, stem, report)
  if layout.is_whole:
    for stem in sorted(by_stem.keys() - set(layout.stems)):
      report.note('image without an XML file, not used', by_stem[stem][0])
  classes = _classes([box['category_id'] for _, box in boxes], names, report)
  ids = {name: number for number, name in classes.items()}
  for _, box in boxes:
    box['category_id'] = ids[box['category_id']]
  return Content(images, boxes, classes)


def _images_by_stem(folder: pathlib.Path) -> dict[str, list[str]]:
  found: dict[str, list[str]] = {}
  for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in IMAGE_SUFFIXES:
      found.setdefault(stem, []).append(name)
  return found


def _image(
    root: Element, stem: str, by_stem: dict[str, list[str]], report: Report
) -> dict[str, Any]:
  """File and stated size of the image of a file."""
  stated = os.path.basename((root.findtext('filename') or '').strip())
  own = by_stem.get(stem, [])
  if own and stated and os.path.splitext(stated)[0] != stem:
    report.note('filename of another image than its own', f'{stem}.xml')
  file = stated if stated in own or not own else own[0]
  size = {side: _whole(root.findtext(f'size/{side}')) for side in _SIDES}
  return {'file_name': file or f'{stem}.jpg', **size}


def _whole(text: str | None) -> int | None:
  try:
    return int(float(text))
  except (TypeError, ValueError, OverflowError):
    return None


def _objects(
    root: Element, file: str, stem: str, report: Report
) -> Iterator[tuple[str, dict[str, Any]]]:
  """The boxes of a file, with the name of the class for its id."""
  for position, entry in enumerate(root.findall('object')):
    name = f'{file} object[{position}]'
    category = class_name(entry.findtext('name') or '')
    if not category:
      report.fault('object without a name', name)
      continue
    is_difficult = (entry.findtext('difficult') or '').strip() == '1'
    yield name, {
        'image_id': stem,
        'category_id': category,
        'bbox': _box(entry.find('bndbox')),
        'ignore': int(is_difficult),
    }


def _box(corners: Element | None) -> list[float] | None:
  """xywh from edge to edge, of no area where two corners are one."""
  if corners is None:
    return None
  try:
    x1, y1, x2, y2 = (float(corners.findtext(key)) for key in _CORNERS)
  except (TypeError, ValueError, OverflowError):
    return None
  width, height = x2 - x1, y2 - y1
  # One click of an annotator, rather than an object of one pixel's width.
  if not width or not height:
    return [x1 - 1, y1 - 1, max(width, 0), max(height, 0)]
  return [x1 - 1, y1 - 1, *(side + (side > 0) for side in (width, height))]


def _classes(
    found: Iterable[str], names: Iterable[str], report: Report
) -> dict[int, str]:
  """The classes by number, from 1 on."""
  classes = sorted(set(found))
  known = {name.casefold() for name in classes}
  for name in map(class_name, names):
    if name and name.casefold() not in known:
      report.note('class that no object has', repr(name))
      classes.append(name)
  if not classes:
    raise UserError(
        f'{report.file} has no object to take classes from ({report}); name'
        ' them by names='
    )
  return dict(enumerate(classes, 1))
