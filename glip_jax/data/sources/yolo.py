"""Detection data: YOLO's text labels, and the `data.yaml` that names classes.

A line of a label file is a class number and, in 0..1, the middle and the sides
of a box, or the corners of a polygon, whose box is taken.
"""

from __future__ import annotations

import math
import os
import pathlib
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from glip_jax import errors
from glip_jax.data.sources.annotation_file import Entries, Report
from glip_jax.data.sources.box_reading import polygon_box
from glip_jax.data.sources.detection import Content, DetectionRecords
from glip_jax.data.sources.listing import IMAGE_SUFFIXES, Listing
from glip_jax.data.sources.selection import (
    Selection,
    class_name,
    note_equal_names,
)
from glip_jax.errors import UserError

# Some exports write `valid` for what others call `val`.
_ALIASES = {'val': ('val', 'valid'), 'valid': ('valid', 'val')}
# Boxes in 0..1 may leave their image a little; pixels are larger.
_MOST = 2.0


class YoloSource(DetectionRecords):
  """Random access to a set of YOLO labels.

  The labels of `a/images/b.jpg` are `a/labels/b.txt`, and beside the image
  where no folder is called `images`. An image without them has no boxes. Ids
  of images are their paths, those of classes their numbers.
  """

  def __init__(
      self,
      *,
      annotations: str | os.PathLike[str],
      split: str = 'train',
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Reads all labels of a split; of images only the names.

    Args:
      annotations: the `data.yaml`: `names`, and for each split a folder of
        images, a text file that lists images, or several of these.
      split: key in it.
      selection: classes and images to use.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if the file, split or folder is missing or no such thing, no
        image has labels, or a record is broken and to be refused.
    """
    path = pathlib.Path(annotations).absolute()
    description = _read_yaml(path)
    report = Report(f'{path} {split}', bad_records=bad_records)
    images = [
        image
        for place in _places(description, path, split)
        for image in _images(place)
    ]
    if not images:
      raise UserError(f'{report.file} has no image; check its folders')
    folder = os.path.commonpath([os.path.dirname(image) for image in images])
    # The labels of a pose have key points behind the box.
    has_points = 'kpt_shape' in description
    content = Content(
        images=[_entry(image, folder) for image in dict.fromkeys(images)],
        boxes=_read_labels(images, folder, has_points, report),
        classes=_read_classes(description, report),
        is_unit=True,
    )
    super().__init__(content, images=folder, selection=selection, report=report)
    report.log()


def _read_yaml(path: pathlib.Path) -> dict[str, Any]:
  errors.check_file('annotations', path)
  try:
    content = yaml.safe_load(path.read_text('utf-8-sig'))
  except OSError as error:
    raise UserError(
        f"annotations='{path}' cannot be read ({error.strerror or error}); give"
        ' the path of a data.yaml'
    ) from error
  except (yaml.YAMLError, ValueError, RecursionError) as error:
    reason = ' '.join(str(error).split())
    raise UserError(f'{path} is not valid YAML ({reason}); mend it') from error
  if not isinstance(content, dict) or not content.get('names'):
    raise UserError(
        f"{path} has no 'names'; list the names of the classes in it, in the"
        ' order of their numbers'
    )
  return content


def _read_classes(
    description: dict[str, Any], report: Report
) -> dict[int, str]:
  """The names of the classes by number."""
  names = description['names']
  if isinstance(names, list):
    names = dict(enumerate(names))
  if not isinstance(names, dict):
    raise UserError(
        f'{report.file}: names={names!r:.60} must be a list of names, or names'
        ' by number'
    )
  classes: dict[int, str] = {}
  for key, name in names.items():
    text = class_name(name)
    if str(key).isdecimal() and text:
      classes[int(key)] = text
    else:
      # What YAML repeats by reference has no end when written out.
      told = f'{key!r}: {reprlib.repr(name)}'
      report.fault('class without number or name', told)
  if not classes:
    raise UserError(f"{report.file} names no class; fill in 'names'")
  note_equal_names(classes, report)
  return dict(sorted(classes.items()))


def _places(
    description: dict[str, Any], path: pathlib.Path, split: str
) -> list[pathlib.Path]:
  """The folders of a split, and the files that list its images."""
  keys = _ALIASES.get(split, (split,))
  value = next(filter(None, map(description.get, keys)), None)
  values = value if isinstance(value, list) else [value]
  if not all(isinstance(each, str) for each in values):
    there = [
        key for key in ('train', 'val', 'valid', 'test') if key in description
    ]
    raise UserError(
        f'split={split!r} is no folder or list of images in {path}; there are'
        f' {", ".join(there) or "none"}'
    )
  root = description.get('path')
  folders = [path.parent / root] if isinstance(root, str) else []
  return [_place(each, [*folders, path.parent], path) for each in values]


def _place(
    value: str, folders: Sequence[pathlib.Path], path: pathlib.Path
) -> pathlib.Path:
  """Where a path of the file is; exports write one `../` too many."""
  for folder in folders:
    for name in (value, value.removeprefix('../')):
      if (folder / name).exists():
        return folder / name
  raise UserError(
      f'{path}: {value!r} is neither in {str(folders[0])!r} nor beside the'
      " file; set its 'path' to the folder of the data set"
  )


def _images(place: pathlib.Path) -> Iterator[str]:
  """The paths of the images of a folder, or of a list, in order."""
  if not place.is_dir():
    yield from _listed(place)
    return
  for folder, folders, files in os.walk(place):
    folders.sort()
    for file in sorted(files):
      if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES:
        yield os.path.normpath(os.path.join(folder, file))


def _listed(place: pathlib.Path) -> Iterator[str]:
  """The paths in a list, which may be those of another machine."""
  errors.check_file('list of images', place)
  try:
    lines = place.read_text('utf-8-sig').splitlines()
  except (OSError, ValueError) as error:
    raise UserError(f'{place} is no list of images ({error})') from error
  names = [line.strip() for line in lines if line.strip()]
  found = Listing(str(place.parent)).find_all(names)
  for name in names:
    path = found.get(name) or name.lstrip('/\\')
    yield os.path.normpath(os.path.join(place.parent, path))


def _entry(image: str, folder: str) -> tuple[str, dict[str, Any]]:
  name = os.path.relpath(image, folder)
  return name, {'id': name, 'file_name': name}


def _label_folder(folder: str) -> str:
  """Where the labels of the images of a folder are to be."""
  parts = folder.split(os.sep)
  if 'images' in parts:
    last = len(parts) - 1 - parts[::-1].index('images')
    parts[last] = 'labels'
  return os.sep.join(parts)


def _label_files(images: Iterable[str]) -> Iterator[tuple[str, str]]:
  """(image, file of its labels) of each image."""
  found: dict[str, str] = {}
  for image in images:
    folder, name = os.path.split(image)
    if folder not in found:
      own = _label_folder(folder)
      # A folder above may be called `images` and mean nothing by it.
      found[folder] = own if os.path.isdir(own) else folder
    stem = os.path.splitext(name)[0]
    yield image, os.path.join(found[folder], f'{stem}.txt')


def _read_labels(
    images: Sequence[str], folder: str, has_points: bool, report: Report
) -> Entries:
  """The boxes of all images."""
  boxes: list[tuple[str, dict[str, Any]]] = []
  num_files = num_outside = 0
  for image, file in _label_files(dict.fromkeys(images)):
    identity = os.path.relpath(image, folder)
    try:
      lines = pathlib.Path(file).read_text('utf-8-sig').splitlines()
    except FileNotFoundError:
      continue
    except (OSError, ValueError) as error:
      report.fault('labels that cannot be read', f'{file} ({error})')
      continue
    num_files += 1
    for number, line in enumerate(lines, 1):
      name = f'{file} line {number}'
      if not line.strip():
        continue
      values = _numbers(line)
      if values is None or not (box := _box(values[1:], has_points)):
        report.fault('line that is no label', f'{name} {line[:60]!r}')
        continue
      num_outside += max(map(abs, box)) > _MOST
      what = {'image_id': identity, 'category_id': values[0], 'bbox': box}
      boxes.append((name, what))
  if not num_files:
    raise UserError(
        f'{report.file}: no image has labels; put the first ones into'
        f' {_label_folder(os.path.dirname(images[0]))!r}'
    )
  if boxes and num_outside == len(boxes):
    raise UserError(
        f'{report.file}: all {len(boxes)} boxes leave 0..1, as if in pixels'
        f' ({boxes[0][0]}); divide x and width by the width of the image, y and'
        ' height by its height'
    )
  return boxes


def _numbers(line: str) -> list[float] | None:
  try:
    values = [float(value) for value in line.split()]
  except ValueError:
    return None
  return values if all(map(math.isfinite, values)) else None


def _box(values: Sequence[float], has_points: bool) -> list[float] | None:
  """xywh of a box by its middle, or around a polygon; None if neither."""
  if len(values) == 4 or (has_points and len(values) > 4):
    x, y, width, height = values[:4]
    return [x - width / 2, y - height / 2, width, height]
  # Three corners at least; `polygon_box` is None of an odd number too.
  box = polygon_box(list(values))
  return list(box) if box else None
