"""Detection data: the 35 sets of ODinW, as Roboflow lays them out."""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from glip_jax.data.sources import annotation_file
from glip_jax.data.sources.annotation_file import Report
from glip_jax.data.sources.detection import Content, DetectionRecords
from glip_jax.data.sources.odinw_sets import ODINW, OdinwSet, Prompt
from glip_jax.data.sources.selection import Selection, class_name
from glip_jax.errors import UserError
from glip_jax.text import class_prompts
from glip_jax.text.prompts import TextPrompt

# That of a few images a class, such as 'train_10_3': 10 images, seed 3.
_FEW = re.compile(r'(train|val|minival)_(\d+)_(\d+)')
_FOLDERS = {
    'train': 'train',
    'val': 'valid',
    'test': 'test',
    'minival': 'mini_val',
}
# As GLIP's downloads have it, and as Roboflow exports it.
_FILES = 'annotations_without_background.json', '_annotations.coco.json'


class OdinwSource(DetectionRecords):
  """Random access to one of the sets.

  Classes are called what GLIP calls them, by their ids; that of id 0, the
  background, and one without a name are dropped.

  Attributes:
    names_are_published: True: results are of these names, as they are.
  """

  names_are_published = True

  def __init__(
      self,
      *,
      directory: str | os.PathLike[str],
      dataset: str,
      split: str = '',
      published_prompt: bool = False,
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Parses the file of a split.

    Args:
      directory: folder of all sets.
      dataset: a key of `ODINW`.
      split: 'train', 'val', 'test', 'minival' where there is one, or one of a
        few images a class, 'train_10_3' of 10 by seed 3; by default the one
        that published results are of.
      published_prompt: prompt by the sentence that is published for the set,
        in place of the list of names; not where classes are selected.
      selection: classes and images to use.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if there is no such set, split, file or prompt, or a record is
        broken and to be refused.
    """
    known = _find(dataset)
    images, path = _places(pathlib.Path(directory), known, split)
    report = Report(str(path), bad_records=bad_records)
    content = annotation_file.read_json(path, name='directory')
    super().__init__(
        _read(content, known, report),
        images=images,
        selection=selection,
        report=report,
    )
    if published_prompt:
      whole = dataclasses.replace(selection, part=(0.0, 1.0), part_seed=0)
      if not known.prompt or whole != Selection():
        with_prompt = [name for name, row in ODINW.items() if row.prompt]
        raise UserError(
            f'dataset={dataset!r} has no published_prompt, or not for some of'
            f' its classes; {", ".join(with_prompt)} have one for all of theirs'
        )
      self.prompt = _sentence(self.names, known.prompt)
    report.log()


def _find(dataset: str) -> OdinwSet:
  if dataset in ODINW:
    return ODINW[dataset]
  close = difflib.get_close_matches(dataset, ODINW, n=3, cutoff=0.4)
  raise UserError(
      f'dataset={dataset!r} is not in ODinW; did you mean one of'
      f' {", ".join(map(repr, close or ODINW))}?'
  )


def _places(
    root: pathlib.Path, known: OdinwSet, split: str
) -> tuple[pathlib.Path, pathlib.Path]:
  """The folder of the images of a split, and its file."""
  split = split or known.evaluated
  few = _FEW.fullmatch(split)
  base = few[1] if few else split
  if base not in _FOLDERS or (base == 'minival' != known.evaluated):
    own = [name for name in _FOLDERS if name in ('train', 'val', 'test')]
    raise UserError(
        f'split={split!r} is none of'
        f' {", ".join(dict.fromkeys([*own, known.evaluated]))}, train_10_3, ...'
    )
  folder = root / known.folder
  if not known.is_export:
    # The set of VOC has no test images with boxes.
    voc = known.folder == 'PascalVOC' and base == 'test'
    folder /= _FOLDERS['val' if voc else base]
  names = [f'fewshot_{base}_shot{few[2]}_seed{few[3]}.json'] if few else _FILES
  if known.is_export and not few:
    names = [f'{base}_{_FILES[0]}']
  for name in names:
    if (folder / name).is_file():
      return folder, folder / name
  raise UserError(
      f"directory='{root}' has no '{(folder / names[0]).relative_to(root)}';"
      ' give the folder that holds those of the sets'
  )


def _read(content: dict[str, Any], known: OdinwSet, report: Report) -> Content:
  boxes = annotation_file.entries(content, 'annotations', report)
  named, nameless = {}, set()
  for number, name in enumerate(known.names, 1):
    if name := class_name(name):
      named[number] = name
    else:
      nameless.add(number)
  used = []
  for row in boxes:
    if row[1].get('category_id') in nameless:
      report.note('box of the class without a name, dropped', row[0])
    else:
      used.append(row)
  images = annotation_file.entries(content, 'images', report)
  return Content(images, used, named)


def _sentence(names: Sequence[str], prompt: Prompt) -> TextPrompt:
  """The prompt of all classes, of each of which only the name is its phrase."""
  return class_prompts.prompt(
      names,
      {
          name: (class_prompts.Wording(*words),)
          for name, words in zip(names, prompt, strict=True)
      },
  )
