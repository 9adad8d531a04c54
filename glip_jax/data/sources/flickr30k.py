"""Grounding data: Flickr30k Entities as it is published.

`Sentences/<image>.txt` has five captions, a line each, whose phrases are marked
with the number of an entity, `[/EN#12/people two men]`, and
`Annotations/<image>.xml` the boxes of the entities.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

from glip_jax import errors
from glip_jax.data.sources.annotation_file import Report
from glip_jax.data.sources.grounding import GroundingRecords
from glip_jax.data.sources.phrases import Types, join_types, split_types
from glip_jax.data.sources.selection import Selection
from glip_jax.data.sources.split_list import read_split
from glip_jax.data.sources.strings import Strings
from glip_jax.data.sources.voc_xml import read_corners, read_size
from glip_jax.data.sources.xml_file import read_xml
from glip_jax.errors import UserError

# '[/EN#12/clothing/other a red hat]': entity, types, words.
_PHRASE = re.compile(r'\[/EN#(\d+)([^\s\]]*)\s([^\]]*)\]')

Entities = Mapping[str, Sequence[tuple[str, list[float] | None]]]


class Mention(NamedTuple):
  """A phrase that is marked in a caption.

  Attributes:
    entity: number of what it names.
    types: such as 'people' or 'clothing'; several of some phrases.
    span: [start, end) characters of the caption.
  """

  entity: str
  types: tuple[str, ...]
  span: list[int]


class Flickr30kSource(GroundingRecords):
  """Random access to the captions of Flickr30k, one record each.

  The id of a record is '<image>#<line of the caption, from 0>'. A phrase has
  all boxes of its entity; scenes and what else has no box are words of the
  caption only. Corners count from 1, as those of VOC.
  """

  def __init__(
      self,
      *,
      directory: str | os.PathLike[str],
      images: str | os.PathLike[str],
      split: str = '',
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Parses the files.

    Args:
      directory: folder with `Sentences`, `Annotations` and, for each split, a
        list of images, `train.txt`, `val.txt` and `test.txt`.
      images: folder of the images.
      split: name of a list; by default all images that have sentences.
      selection: which part of the images to use; it has no classes.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if a folder or list is missing, or a record is broken and to be
        refused.
    """
    root = pathlib.Path(directory)
    report = Report(f'{root} {split}'.strip(), bad_records=bad_records)
    captioned, linked, types = [], [], {}
    for image in _listed(root, split, report):
      try:
        lines = _read_captions(root / 'Sentences' / f'{image}.txt')
        file = root / 'Annotations' / f'{image}.xml'
        annotation = read_xml(file)
      except UserError as error:
        report.fault('image without sentences or annotations', str(error))
        continue
      entities = _entities(annotation, file.name)
      for number, line in enumerate(lines):
        key = f'{image}#{number}'
        caption, mentions = parse_caption(line)
        entry = {'id': key, 'file_name': f'{image}.jpg', 'caption': caption}
        captioned.append((key, entry | read_size(annotation)))
        linked += _links(key, mentions, entities)
        types[key] = {x.span[0]: x.types for x in mentions}
    super().__init__(
        captioned, linked, images=images, selection=selection, report=report
    )
    report.log()
    self._types = Strings(
        join_types([
            types[self.image_id(index)][spans[0][0]]
            for spans in self._phrases[index]
        ])
        for index in range(len(self))
    )

  def phrase_types(self, index: int) -> Types:
    """The types of each phrase of a record, such as 'people'; none or more.

    A type that is marked twice is there twice, and published results count it
    so.

    Raises:
      IndexError: if there is no such record.
    """
    return split_types(self._types[index], len(self._phrases[index]))


def parse_caption(line: str) -> tuple[str, list[Mention]]:
  """A caption without marks, and what is marked in it.

  Args:
    line: of a file of sentences.
  """
  caption, mentions, end = '', [], 0
  for mark in _PHRASE.finditer(line):
    caption += line[end : mark.start()]
    words, end = mark[3].strip(), mark.end()
    if words:
      span = [len(caption), len(caption) + len(words)]
      types = tuple(filter(None, mark[2].split('/')))
      mentions.append(Mention(mark[1], types, span))
    caption += words
  return caption + line[end:], mentions


def _listed(root: pathlib.Path, split: str, report: Report) -> list[str]:
  """The images of a split."""
  sentences = root / 'Sentences'
  if not sentences.is_dir() or not (root / 'Annotations').is_dir():
    raise UserError(
        f"directory='{root}' has no folders Sentences and Annotations; give"
        ' that of Flickr30k Entities'
    )
  if split:
    return read_split(root, split, report)
  return sorted(path.stem for path in sentences.glob('*.txt'))


def _read_captions(path: pathlib.Path) -> list[str]:
  errors.check_file('file', path)
  try:
    lines = path.read_text('utf-8-sig').splitlines()
  except (OSError, ValueError) as error:
    raise UserError(f'{path} cannot be read ({error})') from error
  return [line for line in lines if line.strip()]


def _entities(root: Element, file: str) -> Entities:
  """(name for messages, box) of the boxes of each entity."""
  entities: dict[str, list[tuple[str, list[float] | None]]] = {}
  for position, entry in enumerate(root.findall('object')):
    if (corners := entry.find('bndbox')) is None:
      continue  # A scene, or nothing that can be seen.
    box = f'{file} object[{position}]', read_corners(corners)
    for name in entry.findall('name'):
      entities.setdefault((name.text or '').strip(), []).append(box)
  return entities


def _links(
    key: str, mentions: Iterable[Mention], entities: Entities
) -> Iterator[tuple[str, dict[str, Any]]]:
  """The boxes of each phrase of a caption."""
  for mention in mentions:
    for name, box in entities.get(mention.entity, ()):
      linked = {'image_id': key, 'bbox': box, 'tokens_positive': [mention.span]}
      yield f'{key} {name}', linked
