"""The worst misses and the most confident errors, as small pictures.

The image lies in the page as a small JPEG, cut to what is around the box; boxes
are lines of SVG over it. Truth is green and dashed, a detection is red.
"""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from glip_jax.data.sources import protocol
from glip_jax.errors import UserError
from glip_jax.evaluators import overlaps
from glip_jax.evaluators.matches import Matches
from glip_jax.report import quality

_SIDE = 280  # Pixels of the longer side of a picture.
_MOST_OF_IMAGE = 2  # Errors of one image, so that several images are seen.
_NEAR = 0.1  # Overlap from which an error is about a box.


class Shown(NamedTuple):
  """A picture to be.

  Attributes:
    image: id.
    truth: boxes xyxy that are there, in pixels of the original.
    found: boxes xyxy that were found.
    said: what is to be seen.
  """

  image: int | str
  truth: Float[np.ndarray, 'm 4']
  found: Float[np.ndarray, 'k 4']
  said: str


class _Boxes:
  """Boxes of truth and of detections by their place in matches."""

  def __init__(self, matches, predictions, truth):
    self.matches, self._rows = matches, predictions
    self._annotations = truth['annotations']
    self.sizes = {
        row['id']: row.get('width', 0) * row.get('height', 0)
        for row in truth['images']
    }
    self._own: dict[int, list[int]] = {}
    for n, image in enumerate(matches.truth_image.tolist()):
      self._own.setdefault(image, []).append(n)

  def of_truth(self, places: Iterable[int]) -> np.ndarray:
    rows = [self._annotations[self.matches.annotation[n]] for n in places]
    return _corners(rows)

  def of_found(self, places: Iterable[int]) -> np.ndarray:
    return _corners([self._rows[self.matches.row[n]] for n in places])

  def there(self, image: int) -> list[int]:
    return self._own.get(image, [])


def worst_misses(
    matches: Matches,
    predictions: Sequence[Mapping[str, Any]],
    truth: Mapping[str, Any],
    most: int = 8,
) -> list[Shown]:
  """The boxes, largest in their image first, that no detection belongs to.

  Args:
    matches: of the predictions and the truth.
    predictions: rows in COCO's result format.
    truth: in COCO's format.
    most: how many.
  """
  boxes = _Boxes(matches, predictions, truth)
  missed = np.flatnonzero(matches.counted[:, 0] & (matches.best < 0))
  corners = boxes.of_truth(missed)
  areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
  whole = [boxes.sizes[matches.images[n]] for n in matches.truth_image[missed]]
  shares = areas / np.maximum(np.array(whole, float), 1)
  order = np.argsort(-shares, kind='stable')
  chosen = _few(missed[order], matches.truth_image, most)
  shown = []
  for n in chosen:
    image = int(matches.truth_image[n])
    own = np.flatnonzero((matches.image == image) & (matches.row >= 0))
    found, said = boxes.of_found(own), 'nothing near it'
    overlap = overlaps.pairwise(boxes.of_truth([n]), found)[0]
    near = np.flatnonzero(overlap >= _NEAR)
    if len(near):
      best = near[matches.score[own[near]].argmax()]
      name = matches.names[matches.category[own[best]]]
      score = matches.score[own[best]]
      said = f'best near it: {name} {score:.2f}, IoU {overlap[best]:.2f}'
      near = near[near == best]
    name = matches.names[matches.truth_category[n]]
    shown.append(
        Shown(
            matches.images[image],
            boxes.of_truth([n]),
            found[near],
            f'{name} is missed; {said}',
        )
    )
  return shown


def confident_errors(
    matches: Matches,
    predictions: Sequence[Mapping[str, Any]],
    truth: Mapping[str, Any],
    most: int = 8,
) -> list[Shown]:
  """The wrong detections of the highest scores, and what is there instead.

  Args:
    matches: of the predictions and the truth.
    predictions: rows in COCO's result format.
    truth: in COCO's format.
    most: how many.
  """
  boxes = _Boxes(matches, predictions, truth)
  wrong = np.flatnonzero(
      quality.counted(matches) & matches.wrong[:, 0, 0] & (matches.row >= 0)
  )
  order = np.argsort(-matches.score[wrong], kind='stable')
  shown = []
  for n in _few(wrong[order], matches.image, most):
    image = int(matches.image[n])
    there = np.array(boxes.there(image), int)
    found, corners = boxes.of_found([n]), boxes.of_truth(there)
    overlap = overlaps.pairwise(found, corners)[0]
    near = np.flatnonzero(overlap >= _NEAR)
    best = near[overlap[near].argmax()] if len(near) else -1
    name = matches.names[matches.category[n]]
    said = f'{name} {matches.score[n]:.2f}: nothing is there'
    if best >= 0:
      is_same = matches.truth_category[there[best]] == matches.category[n]
      said = f'{name} {matches.score[n]:.2f}: ' + _error(
          matches.names[matches.truth_category[there[best]]],
          bool(is_same),
          float(overlap[best]),
      )
    chosen = corners[[best]] if best >= 0 else corners[:0]
    shown.append(Shown(matches.images[image], chosen, found, said))
  return shown


def _error(name: str, is_same: bool, overlap: float) -> str:
  if not is_same:
    return f'in truth {name}, IoU {overlap:.2f}'
  if overlap >= 0.5:
    return f'another detection has that box, IoU {overlap:.2f}'
  return f'badly placed, IoU {overlap:.2f}'


def draw(shown: Sequence[Shown], source: protocol.Source) -> str:
  """The pictures as HTML; images that cannot be read are left out.

  Args:
    shown: what is to be seen.
    source: where the images are.
  """
  ids = {shown.image for shown in shown}
  index = {
      image: n
      for n in range(len(source))
      if (image := source.image_id(n)) in ids
  }
  figures = []
  for each in shown:
    with_image = _picture(each, source, index.get(each.image))
    if with_image:
      figures.append(with_image)
  return f'<div class="pictures">{"".join(figures)}</div>'


def _picture(each: Shown, source: protocol.Source, index: int | None) -> str:
  try:
    image = source[index].image if index is not None else None
  except UserError:
    image = None
  if image is None:
    return ''
  boxes = np.concatenate([each.truth, each.found])
  left, top, right, bottom = _around(boxes, image.shape[1], image.shape[0])
  cut = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
  factor = _SIDE / max(cut.size)
  size = tuple(max(round(side * factor), 1) for side in cut.size)
  file = io.BytesIO()
  cut.resize(size, Image.Resampling.BILINEAR).save(file, 'JPEG', quality=75)
  data = base64.b64encode(file.getvalue()).decode()
  rectangles = [
      _rectangle((box - [left, top, left, top]) * factor, kind)
      for kind, own in (('truth', each.truth), ('found', each.found))
      for box in own
  ]
  said = html.escape(each.said)
  return (
      f'<figure><svg viewBox="0 0 {size[0]} {size[1]}" role="img"'
      f' aria-label="{said}"><image width="{size[0]}" height="{size[1]}"'
      f' href="data:image/jpeg;base64,{data}"/>{"".join(rectangles)}</svg>'
      f'<figcaption>{said}<br><small>image {html.escape(str(each.image))}'
      '</small></figcaption></figure>'
  )


def _rectangle(box: np.ndarray, kind: str) -> str:
  x, y, width, height = *box[:2], *(box[2:] - box[:2])
  place = (
      f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}"'
      f' height="{max(height, 1):.1f}"'
  )
  return f'<rect {place} class="rim"/><rect {place} class="{kind}"/>'


def _around(
    boxes: np.ndarray, width: int, height: int
) -> tuple[int, int, int, int]:
  """The part of an image to show: boxes and what is around them."""
  low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
  whole = np.array([width, height])
  side = np.maximum(1.8 * (high - low), 0.35 * whole.max())
  side = np.minimum(np.maximum(side, 0.7 * side.max()), whole)
  start = np.clip((low + high) / 2 - side / 2, 0, whole - side)
  ends = np.minimum(np.ceil(start + side), whole)
  return *np.floor(start).astype(int).tolist(), *ends.astype(int).tolist()


def _few(places: np.ndarray, image: np.ndarray, most: int) -> list[int]:
  """The first places, of no image too many."""
  chosen, seen = [], {}
  for n in places.tolist():
    seen[image[n]] = seen.get(image[n], 0) + 1
    if seen[image[n]] <= _MOST_OF_IMAGE:
      chosen.append(n)
    if len(chosen) == most:
      break
  return chosen


def _corners(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
  xywh = np.array([row['bbox'] for row in rows], np.float64).reshape(-1, 4)
  return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
