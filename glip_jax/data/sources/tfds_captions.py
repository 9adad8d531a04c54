"""Captions of sets that TensorFlow Datasets has prepared.

Three kinds: what `tools.to_tfds` writes, in which boxes belong to phrases of a
caption; RefCOCO, whose objects have expressions; and images with captions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Bool, Float, Int

from glip_jax.data.sources.tfds_boxes import parts_of
from glip_jax.data.sources.tfds_files import Examples
from glip_jax.errors import UserError
from glip_jax.text import prompts

# What `tools.to_tfds` calls the characters of phrases.
SPANS = 'spans'
_OWN = {
    'caption': None,
    'is_list': None,
    SPANS: ('phrase', 'start', 'end'),
    'objects': ('bbox', 'phrase', 'is_crowd'),
}
_CAPTIONS = ('caption', 'captions', 'text')


@dataclasses.dataclass(frozen=True, eq=False)
class Said:
  """What is said of an image.

  Attributes:
    text: the caption and its phrases.
    is_list: as in `Truth`.
    bbox: rows of (ymin, xmin, ymax, xmax), parts of the sides of the image.
    phrase: of each box.
    crowd: True at boxes of crowds.
  """

  text: prompts.TextPrompt
  is_list: bool
  bbox: Float[np.ndarray, 'm 4']
  phrase: Int[np.ndarray, m]
  crowd: Bool[np.ndarray, m]


Read = Callable[..., Said]


class Captioned:
  """Examples with captions, in the same words whatever the set."""

  def __init__(
      self, examples: Examples, read: Read, places: np.ndarray | None = None
  ):
    """Takes what reads them.

    Args:
      examples: as they are stored.
      read: gives what is said of an example.
      places: rows of the example and what else `read` is told of a record;
        None where each example is one.
    """
    self._examples, self._read, self._places = examples, read, places

  def __len__(self) -> int:
    return len(self._examples if self._places is None else self._places)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """The `image` of a record, encoded, and what is `said` of it.

    Raises:
      IndexError: if there is no such record.
      UserError: if it has no caption.
    """
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in [0, {len(self)})')
    place, *rest = [index] if self._places is None else self._places[index]
    example = self._examples[int(place)]
    try:
      said = self._read(example, *rest)
    except UserError:
      raise
    except (IndexError, ValueError) as error:
      raise UserError(
          f'the parts of example {place} do not match ({error}); prepare the'
          ' set anew'
      ) from error
    return {'image': example['image'], 'said': said}


def find_captions(examples: Examples, bad_records: str) -> Captioned | None:
  """The captions of a set; None if it is none of captions.

  A set whose boxes have classes is one of boxes, captions or not.

  Args:
    examples: of the set.
    bad_records: what is done with those that are damaged, where all are read.
  """
  features = examples.features
  if all(_has(features, key, parts) for key, parts in _OWN.items()):
    examples.want({'image': None} | _OWN)
    return Captioned(examples, _read_own)
  if _has(features, 'objects', ('bbox', 'refexp')):
    return _expressions(examples, bad_records)
  boxes = [key for key in features if _has(features, key, ('bbox',))]
  caption = next((key for key in _CAPTIONS if _is_text(features, key)), '')
  if boxes or not caption:
    return None
  examples.want({'image': None, caption: None})
  return Captioned(examples, _ReadCaption(caption))


def _has(
    features: Mapping[str, Any], key: str, parts: tuple[str, ...] | None
) -> bool:
  """Whether there is a feature, with these parts where it should have any."""
  return key in features and set(parts or ()) <= {*parts_of(features, key)}


def _is_text(features: Mapping[str, Any], key: str) -> bool:
  """Whether a feature is a text, a list of these, or of parts with a `text`."""
  import tensorflow_datasets as tfds

  if key not in features:
    return False
  parts, feature = parts_of(features, key), features[key]
  if parts:
    feature = parts['text'] if 'text' in parts else None
  feature = getattr(feature, 'feature', feature)
  return isinstance(feature, tfds.features.Text)


def _read_own(example: Mapping[str, Any]) -> Said:
  """What is said of an example that `tools.to_tfds` wrote."""
  caption, spans = _text(example['caption']), example[SPANS]
  found: dict[int, list[tuple[int, int]]] = {}
  for phrase, *span in zip(
      *(np.array(spans[key]).tolist() for key in ('phrase', 'start', 'end')),
      strict=True,
  ):
    found.setdefault(phrase, []).append(tuple(span))
  phrases = tuple(tuple(found[phrase]) for phrase in sorted(found))
  objects = example['objects']
  numbers = np.array(objects['phrase'], np.int64).reshape(-1)
  if ((numbers < -1) | (numbers >= len(phrases))).any():
    raise ValueError(f'phrase {numbers.tolist()} of {len(phrases)}')
  if example['is_list']:
    # Names as they stand, spaces at their ends included.
    names = tuple(caption[start:end] for ((start, end),) in phrases)
    text = prompts.TextPrompt(caption, names, phrases)
  else:
    text = prompts.from_caption(caption, phrases)
  return Said(
      text=text,
      is_list=bool(example['is_list']),
      bbox=objects['bbox'],
      phrase=numbers,
      crowd=objects['is_crowd'],
  )


def _expressions(examples: Examples, bad_records: str) -> Captioned:
  """A record for each expression; all examples are read to count them."""
  examples.want({'objects': ('refexp',)})
  places = []
  for number in range(len(examples)):
    try:
      expressions = examples[number]['objects']['refexp']['raw']
    except UserError as error:
      if bad_records == 'raise':
        raise
      logging.warning('left out: %s', error)
      continue
    for row, own in enumerate(expressions):
      words = [n for n, raw in enumerate(own) if prompts.has_word(_text(raw))]
      places += [(number, row, which) for which in words]
  examples.want({'image': None, 'objects': ('bbox', 'refexp')})
  rows = np.array(places, np.int32).reshape(-1, 3)
  return Captioned(examples, _read_expression, rows)


def _read_expression(example: Mapping[str, Any], row: int, which: int) -> Said:
  """What is said of an object by one of its expressions: all of that."""
  objects = example['objects']
  return _said(
      _text(objects['refexp']['raw'][row][which]),
      is_linked=True,
      bbox=np.array(objects['bbox']).reshape(-1, 4)[row : row + 1],
  )


class _ReadCaption:
  """Reads the caption of an example, the first with words of several."""

  def __init__(self, feature: str):
    self._feature = feature

  def __call__(self, example: Mapping[str, Any]) -> Said:
    value = example[self._feature]
    if isinstance(value, Mapping):
      value = value.get('text', ())
    if isinstance(value, (bytes, str)):
      value = [value]
    texts = [text for each in value if prompts.has_word(text := _text(each))]
    if not texts:
      raise UserError(f'{self._feature!r} holds no words; leave it out')
    return _said(texts[0], is_linked=False, bbox=np.zeros((0, 4)))


def _said(caption: str, *, is_linked: bool, bbox: np.ndarray) -> Said:
  """A caption that is one phrase, of all its boxes, or none."""
  caption = caption.strip()
  spans = (((0, len(caption)),),) if is_linked else ()
  return Said(
      text=prompts.from_caption(caption, spans),
      is_list=False,
      bbox=bbox,
      phrase=np.zeros(len(bbox), np.int32),
      crowd=np.zeros(len(bbox), bool),
  )


def _text(value: Any) -> str:
  return (
      value.decode('utf-8', 'replace')
      if isinstance(value, bytes)
      else str(value)
  )
