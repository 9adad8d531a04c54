"""What `config.data` says: its fields, and the transforms that they ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections

from glip_jax import fields
from glip_jax.data import transforms
from glip_jax.data.buckets import Bucket
from glip_jax.data.drawing import Drawn
from glip_jax.data.element import ToElement
from glip_jax.errors import UserError
from glip_jax.fields import field

BAD_RECORDS = ('skip', 'raise')
SOURCES = tuple(
    'coco lvis mdetr voc yolo odvg flickr30k pseudo_labels odinw webdataset'
    ' tfds shapes'.split()
)


@dataclasses.dataclass(frozen=True)
class Augment:
  """How training images are changed at random."""

  on: bool = field(True, 'whether they are')
  flip: float = field(0.0, 'how often an image is mirrored', least=0, most=1)
  scale: tuple[float, float] = field(
      (1.0, 1.0),
      'smallest and largest magnification of a random crop',
      above=0,
  )
  short_sides: tuple[int, ...] = field(
      (), 'pixels; one is drawn for each image in place of `resize[0]`', least=1
  )
  brightness: float = field(0.0, 'largest relative change', least=0, most=1)
  contrast: float = field(0.0, 'largest relative change', least=0, most=1)
  saturation: float = field(0.0, 'largest relative change', least=0, most=1)

  def check(self, what: str) -> None:
    """Refuses a range of magnifications that ends before it begins."""
    if self.scale[0] > self.scale[1]:
      raise UserError(
          f'{what}.scale={self.scale} must be (low, high) with low <= high,'
          ' for example (0.8, 1.5)'
      )


@dataclasses.dataclass(frozen=True)
class Prompts:
  """Weight of each kind of text in the embedded world; all 0: its split's."""

  all: float = field(0.0, 'the whole vocabulary', least=0)
  list: float = field(0.0, 'names in the image among others', least=0)
  attributes: float = field(0.0, "'striped star. red object'", least=0)
  caption: float = field(0.0, 'a sentence', least=0)
  relation: float = field(0.0, "'the circle left of the green star'", least=0)
  statements: float = field(0.0, 'one to four relations', least=0)
  partial: float = field(0.0, 'all names in the image but one', least=0)


@dataclasses.dataclass(frozen=True)
class Spec:
  """One source of records; each kind reads the fields that it has."""

  source: str = field(
      '',
      'kind of source; empty: `coco` where there are `annotations` (`yolo` of'
      ' .yaml, `odvg` of .jsonl), `tfds` where there is a `directory`, else'
      ' `shapes`',
      choices=('', *SOURCES),
  )
  weight: float = field(1.0, 'share in a mixture; 0 switches it off', least=0)
  copies: float = field(
      0.0,
      'instead of `weight`, for all sources of a mixture: passes over this one'
      ' for each pass over one with 1',
      least=0,
  )
  until: int = field(
      0, 'in a curriculum: records of the stream when the next begins', least=0
  )
  annotations: str = field(
      '', 'COCO, LVIS, MDETR or ODVG file, or data.yaml of YOLO'
  )
  images: str = field(
      '',
      'folder that its `file_name`s are relative to; of COCO by default that of'
      ' the file',
  )
  min_score: float = field(
      0.5, 'of pseudo-labels: boxes below are not used', least=0, most=1
  )
  label_map: str = field('', 'JSON file of class names by label, for ODVG')
  directory: str = field(
      '',
      'folder of a VOC set, of Flickr30k Entities, of all sets of ODinW, of tar'
      ' shards, or of a version that TFDS has prepared',
  )
  split: str = field(
      '',
      'split of a VOC, YOLO, ODinW or TFDS set, of Flickr30k, or of the'
      ' embedded world',
  )
  dataset: str = field('', 'which set of ODinW')
  published_prompt: bool = field(
      False, 'prompt by the sentence published for it, where there is one'
  )
  names: tuple[str, ...] = field((), 'classes to keep, in this order; or all')
  exclude: tuple[str, ...] = field((), 'classes to drop')
  class_map: tuple[tuple[str, str], ...] = field(
      (),
      '(class, name in the prompt) pairs: rename, merge under one name, or drop'
      " by ''",
  )
  part: tuple[float, float] = field(
      (0.0, 1.0),
      '(start, end) of the images in an order of `part_seed`, as shares; (0,'
      ' 0.9) and (0.9, 1) split one file in two',
      least=0,
      most=1,
  )
  part_seed: int = field(0, 'another deals the images out otherwise', least=0)
  seed: int = field(0, 'of the embedded world', least=0)
  num_images: int = field(10_000, 'of the embedded world', least=1)
  image_size: int = field(
      128, 'side of its images, pixels', least=32, most=2**12
  )
  max_names: int = field(20, 'of a list of names in it', least=1)
  unnamed: bool = field(
      False, 'it gives objects that a prompt does not name too, with no phrase'
  )
  prompts: Prompts = fields.part(Prompts)
  augment: Augment = fields.part(
      Augment, 'instead of `config.data.augment`, where it is on', on=False
  )
  draw_names: Drawn = fields.part(
      Drawn, 'instead of `config.data.draw_names`, where it is on'
  )
  shuffle_names: str = field(
      '', 'instead of `config.data.shuffle_names`', choices=('', 'yes', 'no')
  )


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
  chunk_names: int = field(
      0,
      'in evaluation: names of a prompt, of several prompts for one image; 0:'
      ' as many as fit',
      least=0,
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
    for bucket in self.buckets:
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
    return transforms.Resize(short or data.resize[0], data.resize[1], canvas)
  return transforms.FitInside(canvas)


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
    before.append(transforms.Flip(augment.flip))
  colors = augment.brightness, augment.contrast, augment.saturation
  if any(colors):
    after.append(transforms.ColorJitter(*colors))
  return before, after
