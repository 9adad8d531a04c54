"""What the steps of a run get from its stream, and how long they wait."""

import time
from collections.abc import Iterator

import numpy as np

from glip_jax import types


class Feed(Iterator[types.Batch]):
  """The batches of a stream, and numbers of the last one.

  Attributes:
    numbers: `padding`, the share of its pixels that hold no image, and
      `data_wait`, the share of the time since the one before that went into
      waiting for it.
  """

  def __init__(self, batches: Iterator[types.Batch]):
    """Takes the stream."""
    self.numbers: dict[str, float] = {}
    self._batches = batches
    self._given: float | None = None

  def __next__(self) -> types.Batch:
    asked = time.monotonic()
    batch = next(self._batches)
    given = time.monotonic()
    # What fills the buffers at first is no wait of a step.
    waited = 0.0
    if self._given is not None:
      waited = (given - asked) / max(given - self._given, 1e-9)
    self._given = given
    self.numbers = {'padding': _padding(batch), 'data_wait': waited}
    return batch


def _padding(batch: types.Batch) -> float:
  height, width = batch.image.shape[1:3]
  used = np.prod(np.asarray(batch.size, np.float64), axis=-1).mean()
  return float(1 - used / (height * width))
