"""What is kept of all that was found: by score, by number, by overlap.

These are rules on the host, over all prompts that an image was asked in.
"""

import dataclasses
import difflib
import numbers
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from glip_jax import errors

# By rule: the overlap above which the worse of two goes, by default.
SUPPRESS = {
    # Of boxes of one phrase: GLIP's `ml_nms`.
    'class': 0.6,
    # Of all: an object has its best phrase.
    'all': 0.6,
    # Of boxes that are the same: a box has its best phrase.
    'box': 0.9,
}


@dataclasses.dataclass(frozen=True)
class Choice:
  """What is kept.

  Attributes:
    threshold: lowest score, or that of each phrase by name.
    default: lowest score of phrases that `threshold` does not name.
    top_k: the best so many of an image; None for all.
    suppress: a key of `SUPPRESS`; '' keeps what overlaps.
    overlap: IoU above which the worse of two goes; None for the rule's own.
  """

  threshold: float | Mapping[str, float] | None
  default: float
  top_k: int | None = None
  suppress: str = ''
  overlap: float | None = None

  def __post_init__(self):
    for value in (*self._by_name.values(), self._common):
      check_threshold(value)
    top_k = self.top_k
    if top_k is not None and (not _is_whole(top_k) or top_k < 1):
      raise errors.UserError(
          f'top_k={top_k!r:.80} is no number of boxes: give 1 or more, or None'
          ' for all'
      )
    if self.suppress and self.suppress not in SUPPRESS:
      raise errors.UserError(
          f'suppress={self.suppress!r:.80} is no rule: give one of'
          f' {", ".join(SUPPRESS)}, or none to keep what overlaps'
      )
    if self.overlap is not None:
      if not self.suppress:
        raise errors.UserError(
            f'overlap={self.overlap!r:.80} has no meaning without suppress: say'
            f' which, one of {", ".join(SUPPRESS)}'
        )
      if not _is_number(self.overlap) or not 0 <= self.overlap <= 1:
        raise errors.UserError(
            f'overlap={self.overlap!r:.80} is no share of two boxes: give 0 to'
            ' 1'
        )

  @property
  def lowest(self) -> float:
    """No box of a lower score is kept, whatever it answers."""
    return min([*self._by_name.values(), self._common])

  @property
  def most_overlap(self) -> float:
    """IoU above which the worse of two goes; 1 where nothing does."""
    if self.overlap is not None or not self.suppress:
      return 1.0 if self.overlap is None else self.overlap
    return SUPPRESS[self.suppress]

  def check_names(self, phrases: Sequence[str]) -> None:
    """Refuses thresholds of phrases that nobody asks for.

    Raises:
      UserError: naming the phrase, and those that are close.
    """
    known = {_key(phrase) for phrase in phrases}
    for name in self._by_name:
      if _key(name) not in known:
        close = difflib.get_close_matches(name, phrases, n=3) or phrases[:3]
        raise errors.UserError(
            f'threshold names {name!r:.80}, which is not asked for: the prompt'
            f' has {", ".join(map(repr, close))}'
        )

  def rows(
      self,
      boxes: Float[np.ndarray, 'k 4'],
      scores: Float[np.ndarray, 'k'],
      labels: Int[np.ndarray, 'k'],
      phrases: Sequence[str],
  ) -> Int[np.ndarray, 'n']:
    """Places of what is kept, best first.

    Args:
      boxes: xyxy, best first.
      scores: of each.
      labels: of each.
      phrases: of each.
    """
    own = {_key(name): value for name, value in self._by_name.items()}
    least = np.array(
        [own.get(_key(phrase), self._common) for phrase in phrases], np.float64
    )
    kept = np.flatnonzero(scores >= least)
    if self.suppress:
      among = labels[kept] if self.suppress == 'class' else None
      kept = kept[unsuppressed(boxes[kept], self.most_overlap, among)]
    return kept[: self.top_k]

  @property
  def _by_name(self) -> Mapping[str, float]:
    return self.threshold if isinstance(self.threshold, Mapping) else {}

  @property
  def _common(self) -> float:
    """The lowest score of phrases that have none of their own."""
    if self.threshold is None or isinstance(self.threshold, Mapping):
      return self.default
    return self.threshold


def unsuppressed(
    boxes: Float[np.ndarray, 'k 4'],
    overlap: float,
    labels: Int[np.ndarray, 'k'] | None = None,
) -> Bool[np.ndarray, 'k']:
  """Which boxes no better kept one overlaps.

  Args:
    boxes: xyxy, best first.
    overlap: IoU, of edges, above which the worse of two goes.
    labels: where given, only boxes of one label suppress each other.
  """
  boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
  area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
  kept = np.ones(len(boxes), bool)
  for i in range(len(boxes)):
    if not kept[i]:
      continue
    low = np.maximum(boxes[i, :2], boxes[i + 1 :, :2])
    high = np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    union = np.maximum(area[i] + area[i + 1 :] - shared, 1e-12)
    beaten = shared / union > overlap
    if labels is not None:
      beaten &= labels[i + 1 :] == labels[i]
    kept[i + 1 :] &= ~beaten
  return kept


def check_threshold(threshold: float | None) -> None:
  """Refuses one that no score can reach, or that all do.

  Raises:
    UserError: it is not in [0, 1].
  """
  if threshold is None:
    return
  if not _is_number(threshold) or not 0 <= threshold <= 1:
    raise errors.UserError(
        f'threshold={threshold!r:.80} is not in [0, 1], where scores are: give'
        " one that is, or none for the model's own"
    )


def _key(phrase: str) -> str:
  return ' '.join(phrase.replace('_', ' ').split())


def _is_number(value: object) -> bool:
  return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
  return isinstance(value, numbers.Integral) and not isinstance(value, bool)
