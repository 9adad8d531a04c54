"""What matching gave, kept: AP of any draw of the images without another.

A file of it lies beside the predictions. Detections are in the order in which
precision is counted: by class, then best first, of equal scores by image.
"""

import dataclasses
import io
import json
import os
import zipfile

import numpy as np
from etils import epath
from jaxtyping import Bool, Float, Int

from glip_jax.errors import UserError

FILE = 'matches.npz'
AREAS = 'all', 'small', 'medium', 'large'
COCO_IOUS = tuple(n / 100 for n in range(50, 100, 5))
_VERSION = 1
_FACTS = 'protocol', 'images', 'names', 'frequency', 'ious', 'areas', 'limits'
_BITS = 'right', 'wrong', 'within', 'counted'


@dataclasses.dataclass(frozen=True, eq=False)
class Matches:
  """Detections and boxes of truth of a set, and what belongs to what.

  Axes: n detections, a ranges of area, u overlaps, l limits, m truth boxes.

  Attributes:
    protocol: 'coco', 'lvis' or 'voc'.
    images: ids of all images, in the order that decides between equal scores.
    names: of the classes.
    frequency: 'r', 'c', 'f' or '' of each class; () where that is unknown.
    ious: overlaps from which a detection is right.
    areas: names of the ranges of area, the first of them 'all'.
    limits: names of the limits on detections, the first that of AP.
    image: place of each detection's image.
    category: place of its class.
    score: its score.
    row: its place in the predictions, -1 where it is not among them.
    within: whether it counts under each limit.
    right: whether it belongs to a box that counts.
    wrong: whether it belongs to none; what is neither is ignored.
    truth_image: place of each box's image.
    truth_category: place of its class.
    annotation: its place in the annotations of the truth.
    counted: whether it counts in each range.
    best: score of what belongs to it at the first overlap, -1 for nothing.
  """

  protocol: str
  images: tuple[int | str, ...]
  names: tuple[str, ...]
  frequency: tuple[str, ...]
  ious: tuple[float, ...]
  areas: tuple[str, ...]
  limits: tuple[str, ...]
  image: Int[np.ndarray, 'n']
  category: Int[np.ndarray, 'n']
  score: Float[np.ndarray, 'n']
  row: Int[np.ndarray, 'n']
  within: Bool[np.ndarray, 'n l']
  right: Bool[np.ndarray, 'n a u']
  wrong: Bool[np.ndarray, 'n a u']
  truth_image: Int[np.ndarray, 'm']
  truth_category: Int[np.ndarray, 'm']
  annotation: Int[np.ndarray, 'm']
  counted: Bool[np.ndarray, 'm a']
  best: Float[np.ndarray, 'm']

  def to_bytes(self) -> bytes:
    """The whole as a file, flags as bits."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    facts = {key: fields.pop(key) for key in _FACTS} | {'version': _VERSION}
    shapes = {key: fields[key].shape for key in _BITS}
    text = json.dumps(facts | {'shapes': shapes}).encode()
    for key in _BITS:
      fields[key] = np.packbits(fields[key])
    fields['score'] = _shorter(fields['score'])
    file = io.BytesIO()
    np.savez_compressed(file, facts=np.frombuffer(text, np.uint8), **fields)
    return file.getvalue()


def read(path: str | os.PathLike) -> Matches:
  """Reads a file that `Matches.to_bytes` gave.

  Raises:
    UserError: it is another file, or damaged.
  """
  try:
    content = epath.Path(path).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
      columns = dict(file)
    facts = json.loads(columns.pop('facts').tobytes())
    if facts.pop('version') != _VERSION:
      raise ValueError('it is of another version')
    shapes = facts.pop('shapes')
    for key in _BITS:
      count = int(np.prod(shapes[key]))
      flags = np.unpackbits(columns[key], count=count)
      columns[key] = flags.astype(bool).reshape(shapes[key])
    facts = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in facts.items()
    }
    return Matches(**facts, **columns)
  except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as e:
    raise UserError(
        f'{os.fspath(path)} is no file of matches ({e!s:.200}): evaluate again'
    ) from e


def _shorter(score: np.ndarray) -> np.ndarray:
  """Scores in half the bytes, where no two that differ would be equal."""
  short = score.astype(np.float32)
  same = len(np.unique(short)) == len(np.unique(score))
  return short if same else score
