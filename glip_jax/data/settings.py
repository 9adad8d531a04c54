"""What `config.data` says: its fields, and the transforms that they ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections

from glip_jax import fields
from glip_jax.data import fast_images, transforms
from glip_jax.data.buckets import Bucket
from glip_jax.data.caption_packing import Packed
from glip_jax.data.drawing import Drawn
from glip_jax.data.element import ToElement
from glip_jax.data.specs import Augment, Spec
from glip_jax.errors import UserError
from glip_jax.fields import field

BAD_RECORDS = ('skip', 'raise')


@dataclasses.dataclass(frozen=True)
class Data:
  """All of `config.data`."""

  train: Spec | Mapping[str, Spec] = fields.part(Spec)
  curriculum: Mapping[str, Spec] = field(
      {},
      'sources by name that are read, each `until` its record, before `train`',
  )
  tokenizer: str = field(
      'shapes', '`shapes`, a vocab.txt, a tokenizer.json, or a hub name'
  )
  num_tokens: int = field(256, 'length of a prompt', least=3, most=2**14)
  num_phrases: int = field(
      128, 'phrases of a prompt at most', least=1, most=2**14
  )
  num_boxes: int = field(
      100,
      'boxes of an image; of more the largest, crowds last',
      least=1,
      most=2**14,
  )
  image_size: tuple[int, int] = field(
      (1344, 1344), '(h, w) that images are padded to', least=32, most=2**14
  )
  resize: tuple[int, ...] = field(
      (),
      '(short, long): short side, and about the most of the long side, pixels;'
      ' empty: the largest that fits',
      least=1,
  )
  fast_images: bool = field(
      False,
      'decode JPEGs at no more than is needed, and resize, by OpenCV'
      ' (glip_jax[fast]): several times as fast, not the pixels of Pillow',
  )
  buckets: tuple[tuple[int, int, int], ...] = field(
      (),
      '(h, w, tokens) that training batches have, one of them each: a record'
      ' goes where it wastes least; empty: one of `image_size` and'
      ' `num_tokens`',
      least=3,
      most=2**14,
  )
  extent_multiple: int = field(
      32,
      'what the network treats as the image is its size rounded up to this; 32'
      ' is what GLIP was trained with, 1 what Grounding DINO was',
      least=1,
  )
  prompt_end: str = field(
      '',
      "what a prompt is ended by where it is not already; '.' is what Grounding"
      ' DINO was trained with',
  )
  augment: Augment = fields.part(Augment)
  shuffle_names: bool = field(
      False, 'put class names in random order for every training image'
  )
  draw_names: Drawn = fields.part(
      Drawn, 'names that a training prompt lists, drawn for each image'
  )
  pack_captions: Packed = fields.part(
      Packed, 'captions of other images beside that of a training image'
  )
  chunk_names: int = field(
      0,
      'in evaluation: names of each of several prompts for one image, fewer'
      ' where they do not fit; 0: one prompt of all names',
      least=0,
  )
  class_captions: str = field(
      '',
      'in evaluation and prediction: each class is read as a caption of its own'
      ' and is one token, the `first` of it or the `mean` of all',
      choices=('', 'first', 'mean'),
  )
  bad_records: str = field(
      'skip', 'leave out what is broken, or refuse it', choices=BAD_RECORDS
  )
  num_workers: int = field(
      0,
      'processes that read; 0: threads of the main process',
      least=0,
      most=2**10,
  )

  def check(self, what: str) -> None:
    """Refuses sizes that no model could take."""
    if any(side % 32 for side in self.image_size):
      raise UserError(
          f'{what}.image_size={self.image_size} must be (height, width) in'
          ' multiples of 32, for example (128, 128)'
      )
    if len(self.resize) not in (0, 2):
      raise UserError(
          f'{what}.resize={self.resize} must be empty or (short, long), for'
          ' example (800, 1333)'
      )
    longest = max((tokens for _, _, tokens in self.buckets), default=None)
    if longest is not None and longest != self.num_tokens:
      raise UserError(
          f'{what}.buckets={self.buckets} have at most {longest} tokens,'
          f' prompts num_tokens={self.num_tokens}: the longest must be as long'
      )
    if self.augment.short_sides and not self.resize:
      raise UserError(
          f'{what}.augment.short_sides={self.augment.short_sides} takes the'
          ' place of resize[0], and resize is empty; set it, for example to'
          ' (800, 1333)'
      )
    if self.fast_images:
      fast_images.load_opencv()
    for bucket in self.buckets:
      if bucket[0] * bucket[1] > 2 * self.image_size[0] * self.image_size[1]:
        raise UserError(
            f'{what}.buckets holds {bucket}, of more than twice the pixels of'
            f' image_size={self.image_size}: give smaller ones, or () for one'
            ' canvas of that size'
        )
      if bucket[0] % 32 or bucket[1] % 32:
        raise UserError(
            f'{what}.buckets holds {bucket}: each must be (height, width,'
            ' tokens), sides in multiples of 32, for example (800, 1344, 256)'
        )


Config = Data | Mapping[str, Any] | ml_collections.ConfigDict


def read_data(data: Config) -> Data:
  """`config.data`, checked.

  Raises:
    UserError: naming a field that there is not, or whose value cannot be.
  """
  return fields.from_dict(Data, data, 'config.data')


def buckets(data: Data) -> tuple[Bucket, ...]:
  """The shapes that training batches may have."""
  shapes = data.buckets or ((*data.image_size, data.num_tokens),)
  return tuple(Bucket((h, w), tokens) for h, w, tokens in dict.fromkeys(shapes))


def resizing(
    data: Config, canvas: tuple[int, int] | None = None, short: int = 0
) -> transforms.Resize | transforms.FitInside:
  """The transform that brings images to the size of a canvas.

  Args:
    data: `config.data`.
    canvas: (h, w); by default `image_size`.
    short: pixels of the short side; 0: as `resize` says.
  """
  data = read_data(data)
  canvas = canvas or data.image_size
  if data.resize:
    sides = short or data.resize[0], data.resize[1]
    return transforms.Resize(*sides, canvas, data.fast_images)
  return transforms.FitInside(canvas, data.fast_images)


def to_element(data: Config) -> ToElement:
  """The transform that makes records elements of the shapes of a config."""
  data = read_data(data)
  return ToElement(
      tokenizer=data.tokenizer,
      num_tokens=data.num_tokens,
      num_phrases=data.num_phrases,
      num_boxes=data.num_boxes,
      canvas=data.image_size,
      extent_multiple=data.extent_multiple,
      prompt_end=data.prompt_end,
  )


def drawn(data: Data, spec: Spec) -> Drawn:
  """How the names of a source are drawn for a prompt."""
  return spec.draw_names if spec.draw_names.on else data.draw_names


def packing(data: Data, spec: Spec) -> Packed:
  """How captions of other images stand beside those of a source."""
  return spec.pack_captions if spec.pack_captions.on else data.pack_captions


def shuffles_names(data: Data, spec: Spec) -> bool:
  """Whether the names of a source are put in random order."""
  own = {'': data.shuffle_names, 'yes': True, 'no': False}
  return own[spec.shuffle_names]


def augmentation(data: Data, spec: Spec) -> Augment:
  """How the images of a source are changed."""
  return spec.augment if spec.augment.on else data.augment


def changes(data: Data, spec: Spec) -> tuple[list[Any], list[Any]]:
  """The transforms of a source before and after an image is resized."""
  augment = augmentation(data, spec)
  before, after = [], []
  if not augment.on:
    return before, after
  if augment.scale != (1.0, 1.0):
    before.append(transforms.RandomScaleCrop(*augment.scale))
  if augment.flip:
    before.append(transforms.Flip(augment.flip, augment.exchange_sides))
  colors = augment.brightness, augment.contrast, augment.saturation
  if any(colors):
    after.append(transforms.ColorJitter(*colors))
  return before, after
