"""Recall of phrases by the protocol of Flickr30k Entities.

Of each phrase the boxes are taken best first. Recall@k is the share of phrases
one of whose first k boxes overlaps the truth by at least `min_iou`, the upper
bound that of any of its boxes. A phrase may have several boxes of truth: by the
*any-box* protocol one of them will do, by the *merged-box* protocol their union
is the truth. Boxes reach from edge to edge in original pixels.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from glip_jax import types
from glip_jax.data.sources.protocol import Source, is_detection, phrase_types
from glip_jax.errors import UserError
from glip_jax.evaluators import grounding, overlaps, unpack
from glip_jax.evaluators.coco_ap import percent

_RANKS = {'recall@1': 1, 'recall@5': 5, 'recall@10': 10, 'upper_bound': None}
_PROTOCOLS = ('any box', 'merged box')


class Shares(NamedTuple):
  """How many of some phrases are found.

  Attributes:
    any_box: share by the name of a measure, in [0, 1]; -1 where n is 0.
    merged_box: likewise, by the union of the boxes of a phrase.
    n: number of phrases.
  """

  any_box: dict[str, float]
  merged_box: dict[str, float]
  n: int


@dataclasses.dataclass(frozen=True)
class Flickr30kResult:
  """Recall over all phrases and by their type.

  Attributes:
    overall: over every phrase that has a box.
    by_type: by type of phrase, such as 'people', those that occur; a phrase of
      two types counts under both.
  """

  overall: Shares
  by_type: dict[str, Shares]

  @property
  def metrics(self) -> dict[str, float]:
    """Scalars over all phrases; `merged/` by the merged-box protocol."""
    merged = self.overall.merged_box.items()
    return self.overall.any_box | {f'merged/{k}': v for k, v in merged}

  def to_json(self) -> dict[str, Any]:
    """Plain values for a metrics file."""
    return {
        **self.metrics,
        'n': self.overall.n,
        'by_type': {k: v._asdict() for k, v in self.by_type.items()},
    }

  def table(self, *, per_class: bool = False) -> str:
    """The numbers as text for a terminal, in percent, a row a type."""
    del per_class
    head = '   '.join(f'{name:<22}' for name in _PROTOCOLS)
    names = '   '.join(['R@1   R@5  R@10   all'.rjust(22)] * 2)
    lines = [f'{"":<12}{head}', f'{"phrases":<12}{names}       n']
    for name, shares in {'all': self.overall, **self.by_type}.items():
      columns = '   '.join(
          ' '.join(percent(x) for x in part.values()).rjust(22)
          for part in (shares.any_box, shares.merged_box)
      )
      lines.append(f'{name:<12}{columns}  {shares.n:>6}')
    return '\n'.join(lines)


class _Judged(NamedTuple):
  """What one record gave.

  Attributes:
    rows: of predictions, one a phrase.
    hits: place of the first right box of each phrase by each protocol, -1 where
      there is none.
    types: of each phrase.
  """

  rows: list[dict[str, Any]]
  hits: list[tuple[int, int]]
  types: list[tuple[str, ...]]


class Flickr30kEvaluator:
  """Collects at which place the first right box of each phrase stands."""

  metric_names = (*_RANKS, *(f'merged/{name}' for name in _RANKS))

  def __init__(self, source: Source, *, min_iou: float = 0.5):
    """Binds the evaluator to what it judges.

    Args:
      source: a grounding source; one with `phrase_types`, as `flickr30k` has,
        is judged by type too.
      min_iou: overlap in (0, 1] from which a box is right.

    Raises:
      UserError: it is a source with classes.
    """
    if is_detection(source):
      raise UserError(
          "type='flickr30k' needs captions whose phrases have boxes, and this"
          " source has one list of classes: use type='detection', or data as"
          " of source='flickr30k'"
      )
    self._source = source
    self._min_iou = min_iou
    self._judged: dict[int, _Judged] = {}

  def add(self, batch: types.Batch, detections: types.Detections) -> None:
    """Takes the detections of one batch.

    Rows of batch padding and records that were added before are skipped.

    Args:
      batch: what the detections were made of; `id` and `scale` are read.
      detections: boxes xyxy in input pixels, labelled by phrase.
    """
    for image in unpack.unpack(batch, detections):
      if image.index not in self._judged:
        self._judged[image.index] = self._judge(image)

  def state(self) -> dict[int, Any]:
    """What was judged, by record, for `merge` in another process."""
    return self._judged

  def merge(self, state: dict[int, Any]) -> None:
    """Takes what an evaluator of another process was given."""
    self._judged |= state

  def predictions(self) -> list[dict[str, Any]]:
    """Every judged phrase with its boxes, best first.

    Rows hold the original `image_id`, `phrase`, `boxes` (xywh) and `scores`.
    """
    return [row for i in sorted(self._judged) for row in self._judged[i].rows]

  def result(self) -> Flickr30kResult:
    """Recall over what was added."""
    every: list[tuple[int, int]] = []
    by_type: dict[str, list[tuple[int, int]]] = {}
    for judged in self._judged.values():
      every += judged.hits
      for hit, names in zip(judged.hits, judged.types, strict=True):
        for name in names:
          by_type.setdefault(name, []).append(hit)
    return Flickr30kResult(
        _shares(every),
        {name: _shares(by_type[name]) for name in sorted(by_type)},
    )

  def _judge(self, image: unpack.ImageDetections) -> _Judged:
    record = self._source.truth(image.index)
    named = phrase_types(self._source, image.index)
    judged = _Judged([], [], [])
    for phrase, truth in grounding.phrase_boxes(record).items():
      boxes, scores = best_first(image, phrase)
      union = np.concatenate([truth[:, :2].min(0), truth[:, 2:].max(0)])
      judged.hits.append((
          _first_hit(boxes, truth, self._min_iou),
          _first_hit(boxes, union[None], self._min_iou),
      ))
      judged.types.append(named[phrase] if named else ())
      judged.rows.append({
          'image_id': self._source.image_id(image.index),
          'phrase': record.text.phrases[phrase],
          'boxes': unpack.to_xywh(boxes),
          'scores': [unpack.to_score(score) for score in scores],
      })
    return judged


def best_first(
    image: unpack.ImageDetections, phrase: int
) -> tuple[np.ndarray, np.ndarray]:
  """Boxes xyxy and scores of one phrase, best first; of equals the first.

  As the original's post-processing, but for the empty box that it adds to each
  phrase, which is never right.
  """
  own = np.flatnonzero(image.labels == phrase)
  own = own[np.argsort(-image.scores[own], kind='stable')]
  return image.boxes[own], image.scores[own]


def _first_hit(boxes: np.ndarray, truth: np.ndarray, min_iou: float) -> int:
  """Place of the first box that is right, -1 if none is."""
  right = (overlaps.pairwise(boxes, truth) >= min_iou).any(axis=1)
  return int(right.argmax()) if right.any() else -1


def _shares(hits: list[tuple[int, int]]) -> Shares:
  places = np.array(hits, int).reshape(-1, 2)
  found = {
      name: (places >= 0) & (places < (np.inf if most is None else most))
      for name, most in _RANKS.items()
  }
  shares = [
      {k: float(v[:, n].mean()) if len(v) else -1.0 for k, v in found.items()}
      for n in range(2)
  ]
  return Shares(*shares, len(places))
