"""ODVG: JSON lines of detection and grounding records.

The format that mmdetection and Open-GroundingDino train on. A record says
itself what it is: one of `detection` is a list of names, one of `grounding` a
sentence.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from glip_jax.data.sources import annotation_file, json_lines
from glip_jax.data.sources.annotation_file import Entries, Report
from glip_jax.data.sources.detection import Content, DetectionRecords
from glip_jax.data.sources.grounding import GroundingRecords
from glip_jax.data.sources.json_lines import Line
from glip_jax.data.sources.mixed import MixedRecords
from glip_jax.data.sources.protocol import Source
from glip_jax.data.sources.selection import (
    Selection,
    class_name,
    note_equal_names,
)
from glip_jax.errors import UserError

_KINDS = {'detection': dict, 'grounding': dict}
# What `tokens_positive` says of a box that the whole caption is about.
_WHOLE = -1


def open_odvg(
    *,
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str],
    label_map: str | os.PathLike[str] = '',
    selection: Selection = Selection(),
    bad_records: str = 'skip',
) -> Source:
  """Opens a file.

  Ids of records are their lines, from 0. A phrase without `tokens_positive` is
  where its words first stand in the caption.

  Args:
    annotations: the file of JSON lines.
    images: folder that each `filename` is relative to.
    label_map: JSON file of the names of detection's classes by label; by
      default they are the `category` of the boxes.
    selection: images and classes to use; classes are those of detection.
    bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

  Returns:
    A detection source where all records are of detection; otherwise a grounding
    source, whose records of detection have the list of all names for text.

  Raises:
    UserError: if a file or folder is missing or no such thing, has no usable
      record, or one is broken and to be refused.
  """
  report = Report(os.fspath(annotations), bad_records=bad_records)
  lines = json_lines.read_lines(annotations, _KINDS, report)
  classes = _classes(lines, label_map, report)
  kept = selection.files((line['filename'] for _, line in lines), report.file)
  lines = [line for line in lines if line[1]['filename'] in kept]
  # Lists and sentences of one image are in one part, so it is taken here.
  selection = dataclasses.replace(selection, part=(0.0, 1.0))
  opened: list[DetectionRecords | GroundingRecords] = []
  if lists := [line for line in lines if _is_list(line[1])]:
    content = _detection(lists, classes, report)
    opened.append(
        DetectionRecords(
            content, images=images, selection=selection, report=report
        )
    )
  if sentences := [line for line in lines if not _is_list(line[1])]:
    captioned, linked = _grounding(sentences, report)
    opened.append(
        GroundingRecords(
            captioned, linked, images=images, selection=selection, report=report
        )
    )
  report.log()
  return opened[0] if len(opened) == 1 else MixedRecords(opened)


def _is_list(record: Mapping[str, Any]) -> bool:
  return isinstance(record.get('detection'), dict)


def _detection(
    lines: Sequence[Line], classes: Mapping[int, str], report: Report
) -> Content:
  """Images and boxes of the records that are lists."""
  labels = {name: label for label, name in classes.items()}
  images, boxes = [], []
  for number, record in lines:
    images.append(
        (f'line {number + 1}', json_lines.image_entry(number, record))
    )
    for name, instance in _instances(number, record, report):
      label, category = instance.get('label'), instance.get('category')
      stated = class_name(category)
      if label is None:
        label = labels.get(stated, category)
      elif type(label) is int and stated != classes.get(label, stated):
        if stated:
          report.note('category that is not the name of its label', name)
      box = {'image_id': number, 'bbox': json_lines.xywh(instance.get('bbox'))}
      boxes.append((name, box | {'category_id': label}))
  return Content(images, boxes, classes)


def _instances(
    number: int, record: Mapping[str, Any], report: Report
) -> Iterator[tuple[str, dict[str, Any]]]:
  return _listed(number, record, 'detection', 'instances', report)


def _grounding(
    lines: Sequence[Line], report: Report
) -> tuple[Entries, Entries]:
  """Entries of captions, and of boxes that are linked to them."""
  images, boxes = [], []
  for number, record in lines:
    caption = record['grounding'].get('caption')
    image = json_lines.image_entry(number, record) | {'caption': caption}
    images.append((f'line {number + 1}', image))
    if not isinstance(caption, str):
      continue
    for name, region in _listed(number, record, 'grounding', 'regions', report):
      spans = _spans(region, caption, name, report)
      if spans is not None:
        linked = {'image_id': number, 'tokens_positive': spans}
        boxes += [
            (name, linked | {'bbox': json_lines.xywh(box)})
            for box in _each_box(region.get('bbox'))
        ]
  return images, boxes


def _listed(
    number: int, record: Mapping[str, Any], kind: str, key: str, report: Report
) -> Iterator[tuple[str, dict[str, Any]]]:
  """(name, entry) of the dicts in a list of a record."""
  entries = record[kind].get(key, [])
  if not isinstance(entries, list):
    report.fault(f'record without a list of {key}', f'line {number + 1}')
    return
  for position, entry in enumerate(entries):
    name = f'line {number + 1} {key}[{position}]'
    if isinstance(entry, dict):
      yield name, entry
    else:
      report.fault('entry that is no dict', name)


def _each_box(value: Any) -> Sequence[Any]:
  """The boxes of a region, which may have one or a list of them."""
  is_many = isinstance(value, list) and value and isinstance(value[0], list)
  return value if is_many else [value]


def _spans(
    region: Mapping[str, Any], caption: str, name: str, report: Report
) -> list[Any] | None:
  """The spans of a region; None, and a fault, where its words are not there."""
  stated = region.get('tokens_positive')
  if stated == _WHOLE:
    return [[0, len(caption)]]
  if isinstance(stated, list) and stated:
    # A region of several phrases may have a list of spans for each.
    is_nested = isinstance(stated[0], list) and any(
        isinstance(part, list) for part in stated[0]
    )
    return [span for part in stated for span in part] if is_nested else stated
  phrases = region.get('phrase')
  phrases = phrases if isinstance(phrases, list) else [phrases]
  spans = [_find(phrase, caption) for phrase in phrases]
  if not spans or None in spans:
    report.fault('phrase that is not in its caption', f'{name} {phrases!r:.60}')
    return None
  return spans


def _find(phrase: Any, caption: str) -> list[int] | None:
  """Where the words of a phrase first stand in a caption, capitals aside."""
  if not isinstance(phrase, str) or not phrase.strip():
    return None
  words = r'\s+'.join(map(re.escape, phrase.split()))
  for pattern in (rf'(?<!\w){words}(?!\w)', words):
    if found := re.search(pattern, caption, re.IGNORECASE):
      return list(found.span())
  return None


def _classes(
    lines: Sequence[Line], label_map: str | os.PathLike[str], report: Report
) -> dict[int, str]:
  """The classes by label; of all records, so that parts have the same."""
  lists = [line for line in lines if _is_list(line[1])]
  if not lists:
    return {}
  if label_map:
    classes = _read_label_map(label_map, report)
  else:
    classes = _stated_classes(lists, report)
  note_equal_names(classes, report)
  return classes


def _read_label_map(
    path: str | os.PathLike[str], report: Report
) -> dict[int, str]:
  content = annotation_file.read_json(path, name='label_map')
  classes = {}
  for key, value in content.items():
    name = class_name(value)
    if key.isdecimal() and name:
      classes[int(key)] = name
    else:
      report.fault('class without label or name', f'{key!r}: {value!r:.60}')
  if not classes:
    raise UserError(
        f'label_map={os.fspath(path)!r} names no class; write names by label,'
        ' {"0": "person", ...}'
    )
  return dict(sorted(classes.items()))


def _stated_classes(lines: Sequence[Line], report: Report) -> dict[int, str]:
  """The classes that boxes name; faults are counted when boxes are read."""
  classes: dict[int, str] = {}
  unheard = Report(report.file, bad_records='skip')
  for number, record in lines:
    for name, box in _instances(number, record, unheard):
      label, category = box.get('label'), class_name(box.get('category'))
      if type(label) is not int or not category:
        continue
      if classes.setdefault(label, category) != category:
        raise UserError(
            f'{report.file}: label {label} is both {classes[label]!r} and'
            f' {category!r} ({name}); give label_map='
        )
  if not classes:
    raise UserError(
        f"{report.file} has no box with a 'label' and a 'category'; give"
        ' label_map='
    )
  return dict(sorted(classes.items()))
