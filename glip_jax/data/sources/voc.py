"""Detection data: Pascal VOC, one XML file an image."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from glip_jax.data.sources.annotation_file import Report
from glip_jax.data.sources.detection import Content, DetectionRecords
from glip_jax.data.sources.listing import IMAGE_SUFFIXES
from glip_jax.data.sources.selection import Selection, class_name
from glip_jax.data.sources.split_list import read_split
from glip_jax.data.sources.voc_xml import read_corners, read_size
from glip_jax.data.sources.xml_file import read_xml
from glip_jax.errors import UserError


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
    root = pathlib.Path(directory)
    report = Report(f'{root} {split}'.strip(), bad_records=bad_records)
    layout = _find(root, images, split, report)
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
    annotations: folder of the XML files.
    images: folder of the images.
    stems: names of the files without suffix, in order.
    is_whole: True where `stems` are all files of the folder.
  """

  annotations: pathlib.Path
  images: pathlib.Path
  stems: Sequence[str]
  is_whole: bool


def _find(
    root: pathlib.Path, images: str, split: str, report: Report
) -> _Layout:
  if not root.is_dir():
    raise UserError(
        f"directory='{root}' is not a folder; give that of a VOC set"
    )
  annotations = root / 'Annotations'
  if annotations.is_dir():
    own = images or root / 'JPEGImages'
    if split:
      stems = read_split(root / 'ImageSets' / 'Main', split, report)
      return _Layout(annotations, pathlib.Path(own), stems, False)
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
  return _Layout(annotations, pathlib.Path(own), files, True)


def _among(names: Sequence[str]) -> str:
  return f'; there are {", ".join(names)}' if names else '; there is none'


def _read(layout: _Layout, names: Iterable[str], report: Report) -> Content:
  """Reads all files of a set."""
  by_stem = _images_by_stem(layout.images)
  images, boxes = [], []
  for stem in layout.stems:
    file = f'{stem}.xml'
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
  return {'file_name': file or f'{stem}.jpg', **read_size(root)}


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
        'bbox': read_corners(entry.find('bndbox')),
        'ignore': int(is_difficult),
    }


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
