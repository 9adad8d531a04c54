"""Sizes of GLIP's models: `config.model` where `family` is 'glip'.

A, B, C, T and L are the released models (GLIP README; L differs from T by its
backbone, depth and drop path). The nano ones have the same structure at sizes
that run in seconds; the reference arrays in the tests were computed with them.
`shapes` is the small model that the embedded world is trained with.
"""

import dataclasses

from glip_jax import errors
from glip_jax.detectors import parts
from glip_jax.fields import field, part


@dataclasses.dataclass(frozen=True)
class Neck:
  """FPN; see models.fpn.FPN."""

  width: int = field(256, 'channels of every level', least=1, most=2**14)
  drop_block_rate: float = field(
      0.3, 'chance to drop a block of P3 and P4 in training', least=0, below=1
  )


@dataclasses.dataclass(frozen=True)
class Fusion:
  """Bidirectional attention; see models.fusion.BiAttention."""

  on: bool = field(True, 'off is late fusion, as in variant A')
  width: int = field(
      2048, 'channels of queries, keys and values', least=1, most=2**16
  )
  num_heads: int = field(8, 'attention heads', least=1)
  dropout_rate: float = field(0.1, 'dropout in training', least=0, below=1)

  def check(self, what: str) -> None:
    """Refuses a width that does not divide into heads."""
    if self.on:
      parts.check_divisible(what, self, 'width', 'num_heads')


@dataclasses.dataclass(frozen=True)
class Head:
  """Tower and dense head; see dyhead.DyHead, dense_head.DenseHead."""

  depth: int = field(6, 'blocks of the tower', least=1, most=2**8)
  num_groups: int = field(16, 'groups of every GroupNorm', least=1)
  fusion: Fusion = part(Fusion)
  anchor_scale: float = field(
      8.0, "side of a level's anchors over its stride", above=0
  )
  remat: bool = field(True, 'recompute blocks in the backward pass')
  unroll: int = field(1, 'blocks in one iteration of the scan', least=1)


@dataclasses.dataclass(frozen=True)
class Loss:
  """See objective.loss."""

  reg_weight: float = field(2.0, 'weight of the box loss', least=0)
  alpha: float = field(
      0.25, 'weight of positive region-token pairs', least=0, most=1
  )
  gamma: float = field(2.0, 'focusing exponent', least=0)


@dataclasses.dataclass(frozen=True)
class Decode:
  """See objective.decode."""

  score_threshold: float = field(
      0.05, 'phrase scores at or below it are no candidates', least=0, most=1
  )
  pre_nms_top_k: int = field(1000, 'candidates of a level', least=1)
  nms_threshold: float = field(
      0.6, 'IoU above which the worse box goes', least=0, most=1
  )
  max_detections: int = field(100, 'detections of an image', least=1)
  aggregate: str = field(
      'mean', 'over the tokens of a phrase', choices=('mean', 'max')
  )
  unknown: bool = field(
      False, 'also give objects that match no phrase, with label -1'
  )


@dataclasses.dataclass(frozen=True)
class Config:
  """All of a model that its weights depend on, its loss and its decoding."""

  family: str = field('glip', 'family of the detector', choices=('glip',))
  backbone: parts.Swin = part(parts.Swin)
  neck: Neck = part(Neck)
  language: parts.Bert = part(parts.Bert)
  head: Head = part(Head)
  image: parts.Image = part(parts.Image)
  loss: Loss = part(Loss)
  decode: Decode = part(Decode)
  dtype: str = field(
      'float32',
      'of matrix products and norms (not float16: there is no loss scaling)',
      choices=('float32', 'bfloat16', 'float64'),
  )

  def check(self, what: str) -> None:
    """Refuses a width that does not divide into groups."""
    width, groups = self.neck.width, self.head.num_groups
    if width % groups:
      raise errors.UserError(
          f'{what}.neck.width={width} is not divisible by'
          f' {what}.head.num_groups={groups}: change one of the two'
      )


_LATE = Fusion(on=False)
_SWIN_LARGE = parts.Swin(
    embed_dim=192,
    depths=(2, 2, 18, 2),
    num_heads=(6, 12, 24, 48),
    window=12,
    drop_path_rate=0.4,
    remat=True,
)
_NANO_TEXT = parts.Bert(width=64, depth=2, num_heads=4, mlp_width=128)
_NANO_LARGE = parts.Swin(
    embed_dim=24,
    depths=(2, 2, 4, 2),
    num_heads=(2, 4, 8, 16),
    window=12,
    drop_path_rate=0.4,
    remat=True,
)
_TINY = Config()
_NANO = Config(
    backbone=parts.Swin(
        embed_dim=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window=7
    ),
    neck=Neck(width=64),
    language=_NANO_TEXT,
    head=Head(depth=2),
)

VARIANTS: dict[str, Config] = {
    'A': Config(head=Head(fusion=_LATE)),
    'B': _TINY,
    'C': _TINY,
    'T': _TINY,
    'L': Config(backbone=_SWIN_LARGE, head=Head(depth=8)),
    'nanoA': dataclasses.replace(_NANO, head=Head(depth=2, fusion=_LATE)),
    'nanoB': _NANO,
    'nanoC': _NANO,
    'nanoL': Config(
        backbone=_NANO_LARGE,
        neck=Neck(width=96),
        language=_NANO_TEXT,
        head=Head(depth=3),
    ),
    'shapes': Config(
        backbone=parts.Swin(
            embed_dim=32,
            depths=(1, 1, 2, 1),
            num_heads=(1, 2, 4, 8),
            window=4,
            drop_path_rate=0.0,
        ),
        neck=Neck(width=64, drop_block_rate=0.0),
        language=parts.Bert(
            vocab_size=4096,
            width=96,
            depth=2,
            num_heads=4,
            mlp_width=192,
            max_positions=256,
            dropout_rate=0.0,
        ),
        head=Head(
            depth=2,
            fusion=Fusion(width=128, num_heads=4, dropout_rate=0.0),
            anchor_scale=2.5,
            remat=False,
            unroll=2,
        ),
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
