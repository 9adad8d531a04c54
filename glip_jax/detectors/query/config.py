"""Sizes of the query model: `config.model` where `family` is 'query'.

`textbook` has DETR's sizes (arXiv 2005.12872, section A.4) with a BERT-base.
`query_shapes` has the same parts at about the size of GLIP's `shapes`, and
stops at stride 8: the embedded world's images are small.
"""

import dataclasses

from glip_jax import errors
from glip_jax.detectors import parts
from glip_jax.fields import field, part


@dataclasses.dataclass(frozen=True)
class Stack:
  """Layers of the encoder or the decoder; see transformer.Encoder, Decoder."""

  depth: int = field(6, 'layers', least=1, most=2**8)
  num_heads: int = field(8, 'attention heads', least=1)
  mlp_width: int = field(
      2048, 'hidden channels of the MLPs', least=1, most=2**16
  )
  dropout_rate: float = field(0.1, 'dropout in training', least=0, below=1)
  norm_first: bool = field(
      False,
      'norm what attention and MLPs read, not their sum with the residual: for'
      ' training from nothing',
  )
  remat: bool = field(False, 'recompute layers in the backward pass')


@dataclasses.dataclass(frozen=True)
class Loss:
  """Weights in the assignment and the loss; see objective.loss."""

  match_class: float = field(
      1.0, 'of minus the probability of the phrase, in the assignment', least=0
  )
  box_weight: float = field(
      5.0, 'of the L1 distance of boxes, in both', least=0
  )
  giou_weight: float = field(2.0, 'of the GIoU loss, in both', least=0)
  none_weight: float = field(
      0.1, "of queries that learn 'none', over the others", above=0
  )
  object_weight: float = field(
      1.0, "of the objectness head's cross-entropy", least=0
  )


@dataclasses.dataclass(frozen=True)
class Decode:
  """See decoding.decode."""

  score_threshold: float = field(
      0.0, 'pairs of query and phrase below it are left out', least=0, most=1
  )
  max_detections: int = field(100, 'detections of an image', least=1)
  unknown: bool = field(
      False, 'also give objects that match no phrase, with label -1'
  )


@dataclasses.dataclass(frozen=True)
class Config:
  """All of a model that its weights depend on, its loss and its decoding."""

  family: str = field('query', 'family of the detector', choices=('query',))
  backbone: parts.ResNet | parts.Swin = part(parts.ResNet)
  stride: int = field(
      32, "of the backbone's map that is encoded, pixels", choices=(8, 16, 32)
  )
  language: parts.Bert = part(parts.Bert)
  width: int = field(
      256,
      'channels of both stacks and of queries; divisible by 4',
      least=4,
      most=2**14,
  )
  num_queries: int = field(
      100, 'boxes of an image, before decoding', least=1, most=2**14
  )
  num_groups: int = field(
      1,
      'sets of queries in training, each with an assignment of its own (arXiv'
      ' 2207.13085): boxes are learnt more often; the first alone answers',
      least=1,
      most=2**10,
  )
  position_cycles: float = field(
      1.0,
      'periods of the fastest wave of positions, over an image: more tell'
      ' neighbours apart',
      above=0,
      most=1000,
  )
  encoder: Stack = part(Stack)
  decoder: Stack = part(Stack)
  objectness: str = field(
      'none',
      'what says that a query is an object: none is one minus the probability'
      " of 'none of the phrases', head a logit of its own",
      choices=('none', 'head'),
  )
  image: parts.Image = part(
      parts.Image,
      mean=(123.675, 116.28, 103.53),
      std=(58.395, 57.12, 57.375),
      bgr=False,
  )
  loss: Loss = part(Loss)
  decode: Decode = part(Decode)
  dtype: str = field(
      'float32',
      'of matrix products and norms (not float16: there is no loss scaling)',
      choices=('float32', 'bfloat16', 'float64'),
  )

  @property
  def stage(self) -> int:
    """The stage of the backbone, from 0, whose map is encoded."""
    return self.stride.bit_length() - 3

  def check(self, what: str) -> None:
    """Refuses a width that does not divide, and a stage that there is not."""
    if self.stage >= len(self.backbone.depths):
      raise errors.UserError(
          f'{what}.stride={self.stride} is that of stage {self.stage + 1}, and'
          f' {what}.backbone.depths={self.backbone.depths} has'
          f' {len(self.backbone.depths)}: change one of the two'
      )
    if self.width % 4:
      raise errors.UserError(
          f'{what}.width={self.width} is not divisible by 4, as sines and'
          ' cosines of two axes are: take a multiple'
      )
    for name in ('encoder', 'decoder'):
      heads = getattr(self, name).num_heads
      if self.width % heads:
        raise errors.UserError(
            f'{what}.width={self.width} is not divisible by'
            f' {what}.{name}.num_heads={heads}: change one of the two'
        )


_SHAPES_STACK = Stack(
    depth=4, num_heads=4, mlp_width=512, dropout_rate=0.0, norm_first=True
)

VARIANTS: dict[str, Config] = {
    'textbook': Config(),
    'query_shapes': Config(
        backbone=parts.ResNet(depths=(2, 3), width=32),
        stride=8,
        language=parts.Bert(
            vocab_size=4096,
            width=96,
            depth=2,
            num_heads=4,
            mlp_width=192,
            max_positions=256,
            dropout_rate=0.0,
        ),
        width=128,
        num_queries=25,
        position_cycles=4.0,
        objectness='head',
        encoder=_SHAPES_STACK,
        decoder=_SHAPES_STACK,
    ),
}


def variant(name: str) -> Config:
  """The config of a variant.

  Args:
    name: a key of `VARIANTS`.

  Raises:
    UserError: there is no such variant; the message lists them all.
  """
  if name not in VARIANTS:
    raise errors.UserError(
        f'variant {name!r} is unknown: choose one of {sorted(VARIANTS)}'
    )
  return VARIANTS[name]
