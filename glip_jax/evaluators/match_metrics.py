"""The numbers of a protocol in draws of the images, from stored matches."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from glip_jax.evaluators import match_scores
from glip_jax.evaluators.matches import Matches

_MOST_NUMBERS = 1 << 22  # Of a table of draws.


def draws(num_images: int, count: int, *, seed: int) -> Int[np.ndarray, 'r i']:
  """How often each image is drawn, in draws of as many as there are.

  Args:
    num_images: how many there are.
    count: number of draws.
    seed: the same gives the same.
  """
  rng = np.random.default_rng(seed)
  shares = np.full(num_images, 1 / num_images)
  return rng.multinomial(num_images, shares, size=count).astype(np.int32)


def metrics(
    matches: Matches, counts: Int[np.ndarray, 'r i'] | None = None
) -> dict[str, Float[np.ndarray, 'r']]:
  """The numbers of the protocol in each draw, by name; -1 without truth.

  Args:
    matches: of a set of i images.
    counts: of each draw, how often each image counts; every image once by
      default.
  """
  if counts is None:
    counts = np.ones((1, len(matches.images)), np.int32)
  # Few draws at a time where there are many detections or classes.
  largest = np.bincount(matches.category, minlength=1).max()
  table = len(matches.areas) * len(matches.ious) * len(matches.names)
  step = max(_MOST_NUMBERS // max(table, largest, 1), 1)
  parts = [
      _METRICS[matches.protocol](matches, counts[start : start + step])
      for start in range(0, len(counts), step)
  ]
  return {
      name: np.concatenate([part[name] for part in parts]) for name in parts[0]
  }


def _coco(matches: Matches, counts: np.ndarray) -> dict[str, np.ndarray]:
  scores = match_scores.class_scores(matches, counts)
  fewer = {
      matches.limits[n]: match_scores.class_scores(matches, counts, limit=n)
      for n in range(1, len(matches.limits))
  }
  return {
      **_precisions(scores.precision),
      **{f'AR{k}': _mean(x.recall[:, 0]) for k, x in sorted(fewer.items())},
      f'AR{matches.limits[0]}': _mean(scores.recall[:, 0]),
      **_by_area('AR', scores.recall),
  }


def _lvis(matches: Matches, counts: np.ndarray) -> dict[str, np.ndarray]:
  result, groups = {}, np.array(matches.frequency)
  for limit, name in enumerate(matches.limits):
    scores = match_scores.class_scores(matches, counts, limit=limit)
    numbers = {
        **_precisions(scores.precision),
        **{f'AP{x}': _mean(scores.precision[groups == x, 0]) for x in 'rcf'},
        'AR': _mean(scores.recall[:, 0]),
        **_by_area('AR', scores.recall),
    }
    ending = f'@{name}' if limit else ''
    result |= {key + ending: value for key, value in numbers.items()}
  return result


def _voc(matches: Matches, counts: np.ndarray) -> dict[str, np.ndarray]:
  return {
      name: _mean(
          match_scores.class_scores(matches, counts, average=average).precision
      )
      for name, average in (('AP50', 'area'), ('AP50_11_points', '11 recalls'))
  }


def _precisions(precision: np.ndarray) -> dict[str, np.ndarray]:
  return {
      'AP': _mean(precision[:, 0]),
      'AP50': _mean(precision[:, 0, 0]),
      'AP75': _mean(precision[:, 0, 5]),
      **_by_area('AP', precision),
  }


def _by_area(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
  return {f'{name}{x}': _mean(values[:, n]) for n, x in enumerate('sml', 1)}


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
  """The mean of what is defined over all axes but the last; -1 if none is."""
  values = np.asarray(values).reshape(-1, np.shape(values)[-1])
  defined = ~np.isnan(values)
  total = np.where(defined, values, 0).sum(axis=0)
  count = defined.sum(axis=0)
  return np.where(count > 0, total / np.maximum(count, 1), -1.0)


_METRICS = {'coco': _coco, 'lvis': _lvis, 'voc': _voc}
