"""Image-caption pairs without boxes: tar shards, as webdataset writes them.

Files of one name but for what follows its first dot are a record: an image, and
its caption in a `.txt`, or in a `.json` as `caption`.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int

from glip_jax import errors
from glip_jax.data.images import BadImage, image_size, read_image
from glip_jax.data.records import Record, Truth
from glip_jax.data.sources.annotation_file import Report
from glip_jax.data.sources.listing import IMAGE_SUFFIXES
from glip_jax.data.sources.selection import Selection
from glip_jax.data.sources.strings import Strings
from glip_jax.data.sources.tar_index import Member, members, read_member
from glip_jax.errors import UserError
from glip_jax.text import prompts

T = TypeVar('T')

_TEXTS = ('.txt', '.json')
# Captions are short; what is longer is something else.
_MAX_TEXT = 2**20


class WebdatasetSource:
  """Random access to pairs of images and captions; no phrase is linked.

  A grounding source for a detector to find boxes in, rather than to train on.
  Shards are not unpacked: they are listed once, and images read where they lie.
  The id of a record is its name, in front of the first dot.

  Attributes:
    report: what was wrong with the shards.
    bad_records: 'skip' or 'raise'.
  """

  def __init__(
      self,
      *,
      directory: str | os.PathLike[str],
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Lists the shards.

    Args:
      directory: folder of `.tar` files, or one such file.
      selection: which part of the pairs to use; it has no classes.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if there is no shard or no pair in it, or a record is broken
        and to be refused.
    """
    self.bad_records = bad_records
    self.report = Report(os.fspath(directory), bad_records=bad_records)
    self._shards = _shards(pathlib.Path(directory))
    rows = []
    num_pairs = 0
    for number in range(len(self._shards)):
      for key, image, text in self._pairs(number):
        num_pairs += 1
        caption = self._caption(number, text, key)
        if caption:
          rows.append((key, caption, number, image.offset, image.size))
    kept = selection.files((row[0] for row in rows), self.report.file)
    used = [row for row in rows if row[0] in kept]
    self.report.keep('pairs', len(used), num_pairs - len(rows) + len(used))
    if not used:
      raise UserError(
          f'{self.report.file} has no image with a caption ({self.report});'
          ' give a folder of .tar files with pairs such as 1.jpg and 1.txt'
      )
    keys, captions, *numbers = zip(*used, strict=True)
    self._keys, self._captions = Strings(keys), Strings(captions)
    # Archive, offset and size of each image.
    self._places = np.array(numbers, np.int64).T.copy()
    self.report.log()

  def __len__(self) -> int:
    return len(self._keys)

  def __getitem__(self, index: int) -> Record:
    """Reads an image and its caption.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the image cannot be read.
    """
    text = self.text(index)
    return _truth(text).of(self._decoded(index, read_image), index)

  def num_boxes(self) -> Int[np.ndarray, n]:
    """Zeros."""
    return np.zeros(len(self), np.int64)

  def image_id(self, index: int) -> str:
    """Name of a record."""
    return self._keys[index]

  def text(self, index: int) -> prompts.TextPrompt:
    """The caption of a record; it has no phrases.

    Raises:
      IndexError: if there is no such record.
    """
    return prompts.from_caption(self._captions[index], ())

  def truth(self, index: int) -> Truth:
    """The caption of a record; of the image the header is read.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the header cannot be read.
    """
    text = self.text(index)
    self._decoded(index, image_size)
    return _truth(text)

  def file_name(self, index: int) -> str:
    """Name of a record, by which parts are taken."""
    return self._keys[index]

  def image_file(self, index: int) -> bytes:
    """The file of an image as it is.

    Raises:
      IndexError: if there is no such record.
      BadImage: if it cannot be read.
    """
    return self._decoded(index, lambda file: file)

  def image_size(self, index: int) -> tuple[int, int]:
    """(h, w) as the header of the image states it.

    Raises:
      IndexError: if there is no such record.
      BadImage: if the header cannot be read.
    """
    return self._decoded(index, image_size)

  def _decoded(self, index: int, decode: Callable[[bytes], T]) -> T:
    """What the bytes of an image are decoded to."""
    number, offset, size = self._places[index].tolist()
    shard = self._shards[number]
    try:
      return decode(read_member(shard, offset, size))
    except (OSError, BadImage) as error:
      raise BadImage(f'{shard}, {self._keys[index]}: {error}') from error

  def _pairs(self, number: int) -> Iterator[tuple[str, Member, Member]]:
    """(key, image, text) of the records of a shard that have both."""
    found: dict[str, dict[str, Member]] = {}
    for member in members(self._shards[number], self.report):
      folder, name = os.path.split(member.name)
      stem, _, suffix = name.partition('.')
      suffix = f'.{suffix.lower()}'
      kind = 'image' if suffix in IMAGE_SUFFIXES else suffix
      if kind == 'image' or suffix in _TEXTS:
        found.setdefault(os.path.join(folder, stem), {})[kind] = member
    for key, files in found.items():
      text = next((files[kind] for kind in _TEXTS if kind in files), None)
      if 'image' in files and text is not None:
        yield key, files['image'], text
      else:
        what = 'caption' if 'image' in files else 'image'
        self.report.fault(f'record without {what}', key)

  def _caption(self, number: int, text: Member, key: str) -> str:
    """The caption of a record; empty, and a fault, where there is none."""
    try:
      if text.size > _MAX_TEXT:
        raise ValueError('it is over a megabyte')
      data = read_member(self._shards[number], text.offset, text.size)
      caption: Any = data.decode('utf-8-sig')
      if text.name.lower().endswith('.json'):
        caption = json.loads(caption)['caption']
      if not isinstance(caption, str) or not prompts.has_word(caption):
        raise ValueError('it holds no words')
      if not prompts.is_whole(caption):
        raise ValueError('it holds half of a character')
    except (ValueError, KeyError, TypeError, RecursionError) as error:
      reason = ' '.join(str(error).split())[:80]
      self.report.fault('caption that cannot be read', f'{key} ({reason})')
      return ''
    return caption.strip()


def _shards(directory: pathlib.Path) -> tuple[str, ...]:
  if directory.is_dir():
    found = sorted(str(path) for path in directory.glob('*.tar'))
  else:
    errors.check_file('directory', directory)
    found = [str(directory)] if directory.is_file() else []
  if not found:
    raise UserError(
        f"directory='{directory}' holds no .tar file; give a folder of shards"
    )
  return tuple(found)


def _truth(text: prompts.TextPrompt) -> Truth:
  return Truth(
      boxes=np.zeros((0, 4), np.float32),
      phrase=np.zeros(0, np.int32),
      crowd=np.zeros(0, bool),
      text=text,
  )
