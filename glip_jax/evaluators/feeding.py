"""The loop that gives an evaluator what is found in batches."""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from glip_jax import types
from glip_jax.evaluators import detecting, protocols, resuming


class Pace(NamedTuple):
  """How fast images were looked at, once everything was compiled.

  Attributes:
    images: that were answered after the first batch.
    seconds: they took, reading and judging included.
  """

  images: int
  seconds: float


def feed(
    evaluator: protocols.Evaluator,
    batches: Iterable[types.Batch],
    detect: detecting.Detect,
    *,
    progress: Callable[[int], None] | None = None,
    log: resuming.Log | None = None,
) -> Pace | None:
  """Gives one evaluator what is found in batches.

  Args:
    evaluator: takes the detections.
    batches: what to detect in; padding rows have id -1.
    detect: detections of a batch. Batch n + 1 is asked for before the answer to
      batch n is read, so that a device works while the host does.
    progress: told the number of images done, after every batch.
    log: keeps what the evaluator is given; what waits is written at the end,
      whatever ends it.

  Returns:
    The pace, of this process; None where there was one batch or none.
  """
  images, started, done, waiting = 0, None, 0, None

  def answer(batch: types.Batch, detections: types.Detections) -> None:
    nonlocal images, started
    evaluator.add(batch, detections)
    if log is not None:
      log.add(batch, detections)
    if started is None:
      started = time.monotonic()
    else:
      images += int((batch.id >= 0).sum())

  with contextlib.ExitStack() as stack:
    if log is not None:
      stack.callback(log.write)
    for batch in batches:
      latest = (batch, detect(batch))
      if waiting is not None:
        answer(*waiting)
      waiting = latest
      done += int((batch.id >= 0).sum())
      if progress is not None:
        progress(done)
    if waiting is not None:
      answer(*waiting)
  return Pace(images, time.monotonic() - started) if images else None
