"""One source of a config: where its records are, and how they are used."""

from __future__ import annotations

import dataclasses

from glip_jax import fields
from glip_jax.data.caption_packing import Packed
from glip_jax.data.drawing import Drawn
from glip_jax.errors import UserError
from glip_jax.fields import field

SOURCES = tuple(
    'coco lvis mdetr voc yolo odvg flickr30k pseudo_labels odinw webdataset'
    ' tfds records shapes'.split()
)


@dataclasses.dataclass(frozen=True)
class Augment:
  """How training images are changed at random."""

  on: bool = field(True, 'whether they are')
  flip: float = field(0.0, 'how often an image is mirrored', least=0, most=1)
  exchange_sides: bool = field(
      False,
      'mirror images whose text says left or right too, and exchange the words',
  )
  scale: tuple[float, float] = field(
      (1.0, 1.0),
      'smallest and largest magnification of a random crop',
      above=0,
  )
  mosaic: float = field(
      0.0,
      'how often an image is made of itself and three others of its source',
      least=0,
      most=1,
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
      ' .yaml, `odvg` of .jsonl), `records` or `tfds` where there is a'
      ' `directory`, else `shapes`',
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
  label_map: str = field(
      '', 'JSON file of class names by label, for ODVG and TFDS'
  )
  directory: str = field(
      '',
      'folder of a VOC set, of Flickr30k Entities, of all sets of ODinW, of tar'
      ' shards, of a version that TFDS has prepared, or that `to_records` has'
      ' packed',
  )
  split: str = field(
      '',
      'split of a VOC, YOLO, ODinW or TFDS set, of Flickr30k, or of the'
      ' embedded world',
  )
  dataset: str = field(
      '',
      'which set of ODinW, or of TFDS, such as voc/2007; its `directory` is the'
      ' data_dir then',
  )
  published_prompt: bool = field(
      False, 'prompt by the sentence published for it, where there is one'
  )
  class_prompts: str = field(
      '',
      'JSON file of words around the names of classes in the prompt'
      ' (docs/prompts.md)',
  )
  whole_caption: bool = field(
      False,
      'of MDETR files: the whole caption is its one phrase, as of referring'
      ' expressions',
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
  fine: bool = field(
      False, 'its classes are of size, texture, colour and shape: 200 names'
  )
  prompts: Prompts = fields.part(Prompts)
  augment: Augment = fields.part(
      Augment, 'instead of `config.data.augment`, where it is on', on=False
  )
  draw_names: Drawn = fields.part(
      Drawn, 'instead of `config.data.draw_names`, where it is on'
  )
  pack_captions: Packed = fields.part(
      Packed, 'instead of `config.data.pack_captions`, where it is on'
  )
  shuffle_names: str = field(
      '', 'instead of `config.data.shuffle_names`', choices=('', 'yes', 'no')
  )
