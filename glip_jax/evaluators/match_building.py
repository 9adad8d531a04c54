"""From the matching of pycocotools, image by image, to one table of matches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from glip_jax.evaluators import matches

# Upper ends of the ranges of area of `matches.AREAS`; 'all' has the last too.
_ENDS = {1024: 1, 9216: 2}


class Builder:
  """Joins what pycocotools' matching gives, of one run or several."""

  def __init__(self):
    """Begins with nothing."""
    self._detections = [_NO_DETECTION]
    self._truth = [_NO_TRUTH]

  def add(
      self,
      matched: Sequence[Mapping[str, Any] | None],
      rows: Int[np.ndarray, 'n'],
      annotations: Int[np.ndarray, 'm'],
      *,
      category: int | None = None,
      limit: int = 0,
  ) -> None:
    """Takes the `evalImgs` of a run, whose images have numbers from 1.

    Args:
      matched: an entry for each image, class and range of area.
      rows: place of the detection of each number, from 1.
      annotations: place of the truth of each number, from 1.
      category: place of the one class of the run; by default classes have
        numbers from 1.
      limit: place of the limit on detections that the run was made under.
    """
    for parts in _by_image(matched):
      place = parts[0]['category_id'] - 1 if category is None else category
      where = parts[0]['image_id'] - 1, place
      scores = self._add_found(parts, rows, (*where, limit))
      self._add_truth(parts, annotations, where, scores)

  def _add_found(self, parts, rows, where) -> dict[int, float]:
    """Detections of one image and class; the score of each number."""
    numbers = np.asarray(parts[0]['dtIds'], int)
    shape = len(parts), len(matches.COCO_IOUS), len(numbers)
    belongs, ignored = (
        np.array([part[key] for part in parts]).reshape(shape) > 0
        for key in ('dtMatches', 'dtIgnore')
    )
    scores = np.asarray(parts[0]['dtScores'], np.float64)
    self._detections.append((
        *(np.full(len(numbers), x, np.int32) for x in where),
        rows[numbers - 1].astype(np.int32),
        scores,
        (belongs & ~ignored).transpose(2, 0, 1),
        (~belongs & ~ignored).transpose(2, 0, 1),
    ))
    return dict(zip(numbers.tolist(), scores.tolist(), strict=True))

  def _add_truth(self, parts, annotations, where, scores) -> None:
    """Boxes of one image and class; each range has an order of its own."""
    numbers = np.asarray(parts[0]['gtIds'], int)
    if not len(numbers):
      return
    ignored = [
        dict(zip(part['gtIds'], part['gtIgnore'], strict=True))
        for part in parts
    ]
    counted = [[not x[number] for x in ignored] for number in numbers]
    taken_by = np.asarray(parts[0]['gtMatches'])[0].astype(int).tolist()
    self._truth.append((
        *(np.full(len(numbers), x, np.int32) for x in where),
        annotations[numbers - 1].astype(np.int32),
        np.array(counted, bool),
        np.array([scores.get(x, -1.0) for x in taken_by], np.float32),
    ))

  def build(
      self,
      *,
      protocol: str,
      images: Sequence[int | str],
      categories: Sequence[Mapping[str, Any]],
      limits: Mapping[str, int | None],
  ) -> matches.Matches:
    """The matches of all runs.

    Args:
      protocol: as in `Matches`.
      images: as in `Matches`.
      categories: rows of the truth, in the order of the places.
      limits: by name, the most of one image and class; None where a run tells
        what counts.
    """
    found = _joined(self._detections)
    rows, first, runs = np.unique(
        found[3], return_index=True, return_inverse=True
    )
    within = np.zeros((len(rows), len(limits)), bool)
    within[runs, found[2]] = True
    image, category, _, row, score, right, wrong = (x[first] for x in found)
    order = np.lexsort((row, image, -score, category))
    rank = _rank(category[order], image[order])
    within = within[order]
    for place, most in enumerate(limits.values()):
      if most is not None:
        within[:, place] = rank < most
    return matches.Matches(
        protocol=protocol,
        images=tuple(images),
        names=tuple(row['name'] for row in categories),
        frequency=_frequency(categories),
        ious=matches.COCO_IOUS,
        areas=matches.AREAS,
        limits=tuple(limits),
        image=image[order],
        category=category[order],
        score=score[order],
        row=row[order],
        within=within,
        right=right[order],
        wrong=wrong[order],
        **_truth(self._truth),
    )


def of_coco(
    matched: Sequence[Mapping[str, Any] | None],
    places: Sequence[int],
    *,
    images: Sequence[int | str],
    categories: Sequence[Mapping[str, Any]],
) -> matches.Matches:
  """The matches of one run over all classes, by COCO's limits.

  Args:
    matched: as for `Builder.add`; detections have the order of predictions.
    places: of the boxes of truth in its annotations.
    images: as for `Builder.build`.
    categories: as for `Builder.build`.
  """
  numbers = [x for entry in matched if entry for x in entry['dtIds']]
  made = Builder()
  made.add(matched, np.arange(max(numbers, default=0)), np.array(places, int))
  return made.build(
      protocol='coco',
      images=images,
      categories=categories,
      limits={'100': 100, '1': 1, '10': 10},
  )


def _truth(parts: Sequence[tuple[np.ndarray, ...]]) -> dict[str, np.ndarray]:
  """Columns of boxes; of several runs the best score of each."""
  image, category, annotation, counted, best = _joined(parts)
  order = np.lexsort((-best, annotation))
  first = order[np.unique(annotation[order], return_index=True)[1]]
  return {
      'truth_image': image[first],
      'truth_category': category[first],
      'annotation': annotation[first],
      'counted': counted[first],
      'best': best[first],
  }


def _by_image(
    matched: Sequence[Mapping[str, Any] | None],
) -> list[list[Mapping[str, Any]]]:
  """The entries of each image and class, in the order of `matches.AREAS`."""
  every: dict[tuple[int, int], list[Any]] = {}
  for entry in matched:
    if entry is not None:
      low, high = entry['aRng']
      place = _ENDS.get(int(high), 0 if low == 0 else 3)
      key = int(entry['image_id']), int(entry['category_id'])
      every.setdefault(key, [None] * len(matches.AREAS))[place] = entry
  return list(every.values())


def _rank(category: np.ndarray, image: np.ndarray) -> np.ndarray:
  """How many of the same class and image stand before each."""
  order = np.lexsort((image, category))  # Stable: of one image in their order.
  key = np.stack([category[order], image[order]])
  starts = np.flatnonzero(
      np.r_[True, (key[:, 1:] != key[:, :-1]).any(axis=0)][: len(order)]
  )
  counts = np.diff(np.r_[starts, len(order)])
  rank = np.zeros(len(order), int)
  rank[order] = np.arange(len(order)) - np.repeat(starts, counts)
  return rank


def _frequency(categories: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
  known = any('frequency' in row for row in categories)
  return tuple(row.get('frequency', '') for row in categories) if known else ()


def _joined(parts: Sequence[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
  return [np.concatenate(column) for column in zip(*parts, strict=True)]


_FLAGS = np.zeros((0, len(matches.AREAS), len(matches.COCO_IOUS)), bool)
# Image, class, limit, row, score, right, wrong.
_NO_DETECTION = *[np.zeros(0, np.int32)] * 4, np.zeros(0), _FLAGS, _FLAGS
# Image, class, annotation, counted, best.
_NO_TRUTH = (
    *[np.zeros(0, np.int32)] * 3,
    np.zeros((0, len(matches.AREAS)), bool),
    np.zeros(0, np.float32),
)
