"""The embedded world: endless images with text, from a seed, without files.

Images of 3 to 8 shapes in colours, sizes and textures, some overlapping, on
varied backdrops, with category lists, captions and relational captions. A
composition is a colour and a shape; five of the twenty-five, 'green triangle'
among them, never occur outside of the split 'heldout': they measure zero-shot
detection.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from glip_jax.data.records import Record, Truth
from glip_jax.data.sources.boxes import Boxes
from glip_jax.data.sources.ground_truth import Classes
from glip_jax.shapes import arguments, captions, compose, relations, render
from glip_jax.shapes.scenes import (
    FINE_HELD_OUT,
    FINE_SEEN,
    HELD_OUT,
    SEEN,
    Scene,
)
from glip_jax.shapes.sentences import Named
from glip_jax.text.prompts import TextPrompt

SPLITS = compose.SPLITS
# Of the edges of boxes in the ground truth and in files, pixels.
DECIMALS = 3
TRAIN_PROMPTS = {'list': 5, 'attributes': 1, 'caption': 2, 'relation': 2}


class ShapesSource:
  """Random access to one split of the embedded world, a text for each image.

  Attributes:
    split: the split.
    side: of the square images in pixels.
  """

  def __init__(
      self,
      split: str,
      *,
      seed: int = 0,
      num_images: int = 10_000,
      image_size: int = 128,
      prompts: Mapping[str, float],
      max_names: int = 20,
      unnamed: bool = False,
      fine: bool = False,
  ):
    """Opens a split; see `open_world`."""
    prompts = {name: float(weight) for name, weight in prompts.items()}
    arguments.check(split, seed, num_images, image_size, prompts, fine)
    self.split = split
    self.side = image_size
    self._seed = seed
    self._num_images = num_images
    self._max_names = max_names
    self._unnamed = unnamed
    self._fine = fine
    weights = np.array([prompts.get(name, 0.0) for name in arguments.PROMPTS])
    self._thresholds = np.cumsum(weights / weights.sum())

  def __len__(self) -> int:
    return self._num_images

  def __getitem__(self, index: int) -> Record:
    """Renders image `index` with its prompt and the boxes of its phrases."""
    scene = self.scene(index)
    image = render.render(scene, self.side)
    return self._truth(index, scene).of(image, int(index))

  def scene(self, index: int) -> Scene:
    """What is in image `index`, in fractions of its side; not rendered."""
    if not 0 <= index < self._num_images:
      raise IndexError(f'index={index} is not in [0, {self._num_images})')
    return compose.compose(self.split, self._seed, int(index))

  def text(self, index: int) -> TextPrompt:
    """The prompt of record `index`."""
    return self._prompt(index, self.scene(index)).text

  def truth(self, index: int) -> Truth:
    """The prompt and boxes of record `index`, without rendering it."""
    return self._truth(index, self.scene(index))

  def candidates(self, index: int) -> Float[np.ndarray, '2 4']:
    """Boxes in pixels that a 'relation' prompt chooses between.

    Both fit the words of phrase 0, and no other item does. The first is the
    right one.
    """
    scene = self.scene(index)
    fact = scene.relation
    return scene.boxes(self.side)[[fact.target, fact.other]]

  def image_id(self, index: int) -> int:
    """Id of image `index` in the ground truth and in exported files."""
    return int(index) + 1

  def image_size(self, index: int) -> tuple[int, int]:
    """(h, w) of image `index`, which is that of all."""
    del index
    return self.side, self.side

  def image_entry(self, index: int) -> dict[str, Any]:
    """The 'images' entry of a COCO file for image `index`."""
    return {
        'id': self.image_id(index),
        'file_name': f'{self.split}_{index:08d}.jpg',
        'width': self.side,
        'height': self.side,
    }

  def _truth(self, index: int, scene: Scene) -> Truth:
    """Draws the prompt of a record and looks up the boxes of its phrases."""
    named = self._prompt(index, scene)
    items = [item for items in named.items for item in items]
    counts = [len(items) for items in named.items]
    phrase = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    if self._unnamed:
      others = sorted({*range(len(scene.items))} - {*items})
      items += others
      phrase = np.append(phrase, np.full(len(others), -1, np.int32))
    return Truth(
        boxes=scene.boxes(self.side)[np.array(items, int)],
        phrase=phrase,
        crowd=np.zeros(len(items), bool),
        text=named.text,
        is_list=named.is_list,
    )

  def _prompt(self, index: int, scene: Scene) -> Named:
    rng = compose.stream(self.split, self._seed, int(index), purpose=1)
    kind = arguments.PROMPTS[
        int(np.searchsorted(self._thresholds, rng.random(), 'right'))
    ]
    if kind == 'all':
      names = vocabulary(self.split, fine=self._fine)
      return captions.all_names(scene, names, fine=self._fine)
    if kind in _LISTS:
      return _LISTS[kind](
          rng,
          scene,
          vocabulary=SEEN + HELD_OUT * (self.split == 'heldout'),
          max_names=self._max_names,
      )
    return _WRITERS[kind](rng, scene)


class ShapesDetectionSource(Classes, ShapesSource):
  """One split of the embedded world with its vocabulary as every text."""

  def __init__(self, split: str, **settings: Any):
    """Opens a split; arguments are those of `open_world` but for prompts."""
    ShapesSource.__init__(self, split, prompts={'all': 1}, **settings)
    names = vocabulary(split, fine=self._fine)
    Classes.__init__(self, names, range(1, len(names) + 1))

  def labels(self, index: int) -> Int[np.ndarray, 'm']:
    """Labels of the boxes of record `index`, which is not rendered."""
    return self.truth(index).phrase

  def file_name(self, index: int) -> str:
    """What the file of image `index` is called where it is written."""
    return self.image_entry(index)['file_name']

  def boxes_of(self, index: int, size: tuple[int, int]) -> Boxes:
    """The boxes of image `index`, in pixels."""
    del size
    truth = self.truth(index)
    sides = truth.boxes.astype(np.float64)
    sides[:, 2:] -= sides[:, :2]
    return Boxes(
        offset=np.array([0, len(sides)]),
        xywh=sides,
        label=truth.phrase,
        crowd=truth.crowd,
        area=np.full(len(sides), np.nan),
        decimals=DECIMALS,
    )

  def _truth(self, index: int, scene: Scene) -> Truth:
    """What is true of an image, with the prompt of all classes."""
    return dataclasses.replace(super()._truth(index, scene), text=self.prompt)

  def _annotated(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yields the entry of each image, and those of its boxes."""
    for index in range(len(self)):
      size = self.image_size(index)
      yield self.image_entry(index), self.boxes_of(index, size).entries(0, size)


def open_world(
    split: str,
    *,
    seed: int = 0,
    num_images: int = 10_000,
    image_size: int = 128,
    prompts: Mapping[str, float] | None = None,
    max_names: int = 20,
    unnamed: bool = False,
    fine: bool = False,
) -> ShapesSource | ShapesDetectionSource:
  """Opens a split of the embedded world.

  Args:
    split: 'train', 'val' (like it, other images) or 'heldout' (each image with
      held-out compositions among seen ones).
    seed: of the world; another seed has other images in every split.
    num_images: length of the source; image i does not depend on it.
    image_size: side of the images in pixels, 32 or more. The same image at
      every size.
    prompts: weight of each kind of prompt, drawn for each image. 'all': the
      whole vocabulary, whose other items go without box; 'list': names in the
      image among negatives; 'attributes': coarser names such as 'red object';
      'caption': a sentence; 'relation': 'the circle left of the green star'
      where two circles are, phrase 0 being the target; 'statements': one to
      four relations in one caption, nearness among them; 'partial': a list of
      all names in the image but one. By default
      `TRAIN_PROMPTS` in split 'train', else 'all'.
    max_names: longest 'list' and 'partial'.
    unnamed: True gives the objects that a prompt does not name too, with
      phrase -1.
    fine: True has classes of size, texture, colour and shape ('tiny striped red
      cross'), 200 in place of 20 and 50 of 5; prompts must be 'all' then.

  Returns:
    A detection source if all prompts are 'all': of `HELD_OUT` in split
    'heldout', else of `SEEN`. Otherwise a grounding source.

  Raises:
    UserError: an argument is out of range or unknown.
  """
  settings = dict(
      seed=seed,
      num_images=num_images,
      image_size=image_size,
      max_names=max_names,
      unnamed=unnamed,
      fine=fine,
  )
  if prompts is None:
    prompts = TRAIN_PROMPTS if split == 'train' else {'all': 1}
  if {name for name, weight in prompts.items() if weight} == {'all'}:
    return ShapesDetectionSource(split, **settings)
  return ShapesSource(split, prompts=prompts, **settings)


def vocabulary(split: str, *, fine: bool = False) -> tuple[str, ...]:
  """The names of all classes of a split, in label order."""
  if fine:
    return FINE_HELD_OUT if split == 'heldout' else FINE_SEEN
  return HELD_OUT if split == 'heldout' else SEEN


_LISTS = {'list': captions.some_names, 'partial': captions.but_one}
_WRITERS = {
    'attributes': captions.attribute_names,
    'caption': captions.caption,
    'relation': relations.relation,
    'statements': relations.statements,
}
