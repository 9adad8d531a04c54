"""The embedded world: endless images with text, from a seed, without files.

Images of 3 to 8 shapes in colours, sizes and textures, some overlapping, on
varied backdrops, with category lists, captions and relational captions. A
composition is a colour and a shape; five of the twenty-five, 'green triangle'
among them, never occur outside of the split 'heldout': they measure zero-shot
detection.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from glip_jax import errors
from glip_jax.data.records import Record
from glip_jax.shapes import captions, compose, relations, render
from glip_jax.shapes.scenes import HELD_OUT, SEEN, Scene
from glip_jax.shapes.sentences import Named
from glip_jax.text.prompts import TextPrompt

SPLITS = compose.SPLITS
PROMPTS = ('all', 'list', 'attributes', 'caption', 'relation', 'statements')
TRAIN_PROMPTS = {'list': 5, 'attributes': 1, 'caption': 2, 'relation': 2}


class Truth(NamedTuple):
  """What a record's prompt says, and where it is in the image.

  Attributes:
    text: the prompt.
    boxes: xyxy float32[m 4] in pixels, in the order of their phrases.
    phrase: int32[m] index into `text.phrases` of each box.
  """

  text: TextPrompt
  boxes: Float[np.ndarray, 'm 4']
  phrase: Int[np.ndarray, 'm']


class ShapesSource:
  """Random access to one split of the embedded world.

  Attributes:
    names: the vocabulary in label order if all prompts are 'all': `HELD_OUT`
      in split 'heldout', else `SEEN`. `()` for prompts that differ by image.
    split: the split.
    image_size: side of the square images in pixels.
  """

  def __init__(
      self,
      split: str,
      *,
      seed: int = 0,
      num_images: int = 10_000,
      image_size: int = 128,
      prompts: Mapping[str, float] | None = None,
      max_names: int = 20,
  ):
    """Opens a split.

    Args:
      split: 'train', 'val' (like it, other images) or 'heldout' (each
        image with held-out compositions among seen ones).
      seed: of the world; another seed has other images in every split.
      num_images: length of the source; image i does not depend on it.
      image_size: side of the images in pixels, 32 or more. The same image
        at every size.
      prompts: weight of each kind of prompt, drawn for each image. 'all':
        `names`, whose other items go without box; 'list': names in the image
        among negatives; 'attributes': coarser names such as 'red object';
        'caption': a sentence; 'relation': 'the circle left of the green star'
        where two circles are, phrase 0 being the target; 'statements': one to
        four relations in one caption, nearness among them. By default
        `TRAIN_PROMPTS` in split 'train', else 'all'.
      max_names: longest 'list'.

    Raises:
      UserError: an argument is out of range or unknown.
    """
    if prompts is None:
      prompts = TRAIN_PROMPTS if split == 'train' else {'all': 1}
    prompts = {name: float(weight) for name, weight in prompts.items()}
    _check(split, seed, num_images, image_size, prompts)
    self.split = split
    self.image_size = image_size
    self.names = ()
    self._labels = HELD_OUT if split == 'heldout' else SEEN
    if {name for name, weight in prompts.items() if weight} == {'all'}:
      self.names = self._labels
    self._seed = seed
    self._num_images = num_images
    self._max_names = max_names
    weights = np.array([prompts.get(name, 0.0) for name in PROMPTS])
    self._thresholds = np.cumsum(weights / weights.sum())

  def __len__(self) -> int:
    return self._num_images

  def __getitem__(self, index: int) -> Record:
    """Renders image `index` with its prompt and the boxes of its phrases."""
    scene = self.scene(index)
    truth = self._truth(index, scene)
    return Record(
        image=render.render(scene, self.image_size),
        boxes=truth.boxes,
        phrase=truth.phrase,
        crowd=np.zeros(len(truth.boxes), bool),
        text=truth.text,
        index=int(index),
    )

  def scene(self, index: int) -> Scene:
    """What is in image `index`, in fractions of its side; not rendered."""
    if not 0 <= index < self._num_images:
      raise IndexError(f'index={index} is not in [0, {self._num_images})')
    return compose.compose(self.split, self._seed, int(index))

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
    return scene.boxes(self.image_size)[[fact.target, fact.other]]

  def image_id(self, index: int) -> int:
    """Id of image `index` in `ground_truth()` and in exported files."""
    return int(index) + 1

  def category_id(self, label: int) -> int:
    """Id of `names[label]` in `ground_truth()` and in exported files.

    Raises:
      UserError: not all prompts are 'all', so there is no one vocabulary.
    """
    self._check_categories()
    return label + 1

  def ground_truth(self) -> dict[str, list[dict[str, Any]]]:
    """COCO dictionary of the whole source; nothing is rendered.

    Raises:
      UserError: not all prompts are 'all', so there is no one vocabulary.
    """
    self._check_categories()
    images, annotations = [], []
    for index in range(len(self)):
      images.append(self.image_entry(index))
      truth = self.truth(index)
      for box, label in zip(truth.boxes, truth.phrase, strict=True):
        annotations.append({
            'id': len(annotations) + 1,
            'image_id': self.image_id(index),
            'category_id': self.category_id(int(label)),
            **box_entry(box),
        })
    categories = [
        {'id': self.category_id(label), 'name': name}
        for label, name in enumerate(self.names)
    ]
    return dict(images=images, annotations=annotations, categories=categories)

  def image_entry(self, index: int) -> dict[str, Any]:
    """The 'images' entry of a COCO file for image `index`."""
    return {
        'id': self.image_id(index),
        'file_name': f'{self.split}_{index:08d}.jpg',
        'width': self.image_size,
        'height': self.image_size,
    }

  def _check_categories(self) -> None:
    if not self.names:
      raise errors.UserError(
          f'split {self.split!r} has prompts that differ by image, so no'
          " categories: open it with prompts={'all': 1}, or use truth(index)"
      )

  def _truth(self, index: int, scene: Scene) -> Truth:
    """Draws the prompt of a record and looks up the boxes of its phrases."""
    named = self._prompt(index, scene)
    items = [item for items in named.items for item in items]
    counts = [len(items) for items in named.items]
    boxes = scene.boxes(self.image_size)[np.array(items, int)]
    phrase = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return Truth(named.text, boxes, phrase)

  def _prompt(self, index: int, scene: Scene) -> Named:
    rng = compose.stream(self.split, self._seed, int(index), purpose=1)
    kind = PROMPTS[
        int(np.searchsorted(self._thresholds, rng.random(), 'right'))
    ]
    if kind == 'all':
      return captions.all_names(scene, self._labels)
    if kind == 'list':
      vocabulary = SEEN + HELD_OUT * (self.split == 'heldout')
      return captions.some_names(
          rng, scene, vocabulary=vocabulary, max_names=self._max_names
      )
    return _WRITERS[kind](rng, scene)


_WRITERS = {
    'attributes': captions.attribute_names,
    'caption': captions.caption,
    'relation': relations.relation,
    'statements': relations.statements,
}


def box_entry(box: Float[np.ndarray, '4']) -> dict[str, Any]:
  """The geometry of a COCO annotation: [x, y, width, height] and area."""
  x0, y0, x1, y1 = (round(float(edge), 3) for edge in box)
  width, height = round(x1 - x0, 3), round(y1 - y0, 3)
  return {
      'bbox': [x0, y0, width, height],
      'area': round(width * height, 3),
      'iscrowd': 0,
  }


def _check(
    split: str,
    seed: int,
    num_images: int,
    image_size: int,
    prompts: Mapping[str, float],
) -> None:
  """Refuses what `ShapesSource` cannot be opened with."""
  if split not in SPLITS:
    raise errors.UserError(f'split={split!r} is unknown: use one of {SPLITS}')
  if seed < 0:
    raise errors.UserError(f'seed={seed} is negative: use 0 or more')
  if num_images < 1:
    raise errors.UserError(f'num_images={num_images}: use 1 or more')
  if image_size < 32:
    raise errors.UserError(
        f'image_size={image_size} is too small to tell shapes: use 32 or more'
    )
  for name, weight in prompts.items():
    if name not in PROMPTS:
      raise errors.UserError(
          f'prompts has the unknown kind {name!r}: use kinds of {PROMPTS}'
      )
    if not 0 <= weight < math.inf:
      raise errors.UserError(
          f'prompts[{name!r}]={weight} is no weight: use 0 or more'
      )
  if not sum(prompts.values()):
    raise errors.UserError(
        f'prompts={dict(prompts)} has no weight above 0: give one kind a 1'
    )
