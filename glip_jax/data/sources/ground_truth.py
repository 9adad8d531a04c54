"""The classes of a detection source, and its truth in COCO format."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import Any, Self

from absl import logging

from glip_jax.errors import UserError
from glip_jax.text import prompts


class Classes(abc.ABC):
  """What all detection sources have in common; the truth is read once.

  Attributes:
    names: the vocabulary in label order.
    prompt: the text of every record: the names, or each among words of its own.
  """

  def __init__(self, names: Sequence[str], category_ids: Sequence[int | str]):
    """Names the classes.

    Args:
      names: in label order.
      category_ids: the id that the data set itself gives each of them.
    """
    self.names = tuple(names)
    self.prompt = prompts.from_names(self.names)
    self._category_ids = tuple(category_ids)
    self._ground_truth: dict[str, Any] | None = None

  def __getstate__(self) -> dict[str, Any]:
    # Workers read records; the truth stays where it was asked for.
    return self.__dict__ | {'_ground_truth': None}

  def with_prompt(self, prompt: prompts.TextPrompt) -> Self:
    """The same source with another text for every record; no data is copied.

    Args:
      prompt: a list of all names, in label order.
    """
    changed = object.__new__(type(self))
    changed.__dict__ |= self.__dict__ | {'prompt': prompt}
    return changed

  def text(self, index: int) -> prompts.TextPrompt:
    """The prompt of all classes."""
    del index
    return self.prompt

  def category_id(self, label: int) -> int | str:
    """The id that the data set itself gives a class."""
    return self._category_ids[label]

  def ground_truth(self) -> dict[str, Any]:
    """The data set in COCO format, as `DetectionSource.ground_truth` says.

    Annotations are numbered from 1, as the COCO code takes 0 for "no match".
    """
    if self._ground_truth is None:
      self._ground_truth = self._read_ground_truth()
    return self._ground_truth

  @abc.abstractmethod
  def _annotated(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yields the entry of each image, and those of its boxes.

    The entry of a box has the geometry, and the label as `category_id`.
    """

  def _read_ground_truth(self) -> dict[str, Any]:
    images, annotations = [], []
    for image, boxes in self._annotated():
      images.append(image)
      for box in boxes:
        annotations.append(
            box
            | {
                'id': len(annotations) + 1,
                'image_id': image['id'],
                'category_id': self.category_id(box['category_id']),
            }
        )
    categories = [
        {'id': key, 'name': name}
        for key, name in zip(self._category_ids, self.names, strict=True)
    ]
    return dict(images=images, annotations=annotations, categories=categories)


def leave_out(error: UserError, *, bad_records: str) -> None:
  """Names an image that is left out of the truth.

  Args:
    error: what is wrong with it.
    bad_records: 'skip' or 'raise'.

  Raises:
    UserError: if bad records are to be refused.
  """
  if bad_records == 'raise':
    raise error
  logging.warning('left out of the ground truth: %s', error)
