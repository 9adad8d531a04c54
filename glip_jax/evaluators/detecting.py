"""How the records of a source are asked for.

By one prompt or by several, and once or in several views.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from glip_jax import types
from glip_jax.data import settings, vocabularies
from glip_jax.data.sources import protocol
from glip_jax.evaluators import chunked, protocols, views

Detect = Callable[[types.Batch], types.Detections]


class Pass(Protocol):
  """Starts a pass over the records, `pipeline.eval_batches` of a source."""

  def __call__(
      self, *, resize: tuple[int, int] | None = None
  ) -> Iterator[types.Batch]:
    """Batches; of other (short, long) sides if they are given."""


def look(
    read: Pass,
    detect_by: Callable[[protocols.Detector], Detect],
    detector: protocols.Detector,
    how: views.Views,
) -> tuple[Iterable[types.Batch], Detect]:
  """Batches of a source, and what answers them.

  Args:
    read: starts a pass over the source.
    detect_by: the answers of a detector to its batches.
    detector: finds what is named.
    how: the views; where they are off each image is looked at once.

  Raises:
    UserError: there are views, and `config.data` states no size to change.
  """
  if not how.on:
    return read(), detect_by(detector)
  first, *others = [read(resize=view.resize) for view in how]
  return first, views.Joined(how, others, detect_by(detector.unsuppressed()))


def detect_in(
    source: protocol.Source,
    detector: protocols.Detector,
    data: settings.Config,
    *,
    most: int | None = chunked.MOST,
) -> Detect:
  """The detector's answers to batches of a source.

  All records of a source with a vocabulary have one prompt, or are asked for
  its names in several, where one does not hold them.

  Args:
    source: what is evaluated on.
    detector: finds what is named.
    data: `config.data`.
    most: detections of an image that are kept of several prompts; None for all.
  """
  is_list = protocol.is_detection(source)
  if is_list:
    data = settings.read_data(data)
    chunks = vocabularies.split(source, data)
    if data.class_captions:
      captions = vocabularies.captions(source, data)
      return chunked.Chunked(detector, chunks, captions, most=most)
    if len(chunks) > 1:
      element = settings.to_element(data)
      return chunked.Chunked(detector, chunks, element, most=most)
  return functools.partial(detector.detect, same_prompt=is_list)
