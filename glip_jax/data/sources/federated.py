"""Detection data whose images are labelled for some classes only.

Those are the classes that an image has boxes of, and those that it is known not
to show. Of all others nothing is known, and of a few not all objects have a
box.
"""

from __future__ import annotations

from typing import Any

from glip_jax.data.sources.ground_truth import Classes
from glip_jax.data.sources.lists import Lists

# What LVIS calls the two lists of an image.
ABSENT, NOT_EXHAUSTIVE = 'neg_category_ids', 'not_exhaustive_category_ids'


class Federated(Classes):
  """What such sources have in common; a `FederatedSource`.

  Attributes:
    frequency: 'r' (rare), 'c' (common) or 'f' (frequent) of each label, ''
      where the data does not say.
    synonyms: other words for each label.
  """

  frequency: tuple[str, ...]
  synonyms: tuple[tuple[str, ...], ...]
  _absent: Lists
  _partial: Lists

  def absent(self, index: int) -> tuple[int, ...]:
    """Labels of the classes that an image is known not to show."""
    has = set(self.labels(index).tolist())
    return tuple(label for label in self._absent[index] if label not in has)

  def not_exhaustive(self, index: int) -> tuple[int, ...]:
    """Labels of the classes of which an image shows more than have boxes."""
    return self._partial[index]

  def _read_ground_truth(self) -> dict[str, Any]:
    """The truth, with what LVIS evaluates by."""
    truth = super()._read_ground_truth()
    places = {self.image_id(index): index for index in range(len(self))}
    for image in truth['images']:
      index = places[image['id']]
      image[ABSENT] = list(map(self.category_id, self.absent(index)))
      partial = self.not_exhaustive(index)
      image[NOT_EXHAUSTIVE] = list(map(self.category_id, partial))
    for label, category in enumerate(truth['categories']):
      category['frequency'] = self.frequency[label]
      category['synonyms'] = list(self.synonyms[label])
    return truth
