"""Sizes of GLIP's models: `config.model` where `family` is 'glip'.

A, B, C, T and L are the released models (GLIP README; L differs from T by its
backbone, depth and drop path). The nano ones have the same structure at sizes
that run in seconds; the reference arrays in the tests were computed with them.
`shapes` is the small model that the embedded world is trained with.
"""

import dataclasses

from glip_jax import errors
from glip_jax.fields import field, part


@dataclasses.dataclass(frozen=True)
class Backbone:
  """Swin; see models.swin.Swin."""

  name: str = field('swin', 'architecture', choices=('swin',))
  embed_dim: int = field(96, 'channels of the first stage', least=1, most=2**12)
  depths: tuple[int, int, int, int] = field(
      (2, 2, 6, 2), 'blocks of each stage', least=1, most=2**8
  )
  num_heads: tuple[int, int, int, int] = field(
      (3, 6, 12, 24), 'attention heads of each stage', least=1
  )
  window: int = field(7, 'side of a window, in tokens', least=1, most=64)
  drop_path_rate: float = field(
      0.2, 'chance to skip the last block in training', least=0, below=1
  )
  remat: bool = field(False, 'recompute blocks in the backward pass')


@dataclasses.dataclass(frozen=True)
class Neck:
  """FPN; see models.fpn.FPN."""

  width: int = field(256, 'channels of every level', least=1, most=2**14)
  drop_block_rate: float = field(
      0.3, 'chance to drop a block of P3 and P4 in training', least=0, below=1
  )


@dataclasses.dataclass(frozen=True)
class Language:
  """BERT; see models.bert.Bert."""

  vocab_size: int = field(
      30522, 'tokens that have an embedding', least=1, most=2**24
  )
  width: int = field(768, 'channels', least=1, most=2**14)
  depth: int = field(12, 'layers', least=1, most=2**8)
  num_heads: int = field(12, 'attention heads', least=1)
  mlp_width: int = field(
      3072, 'hidden channels of the MLPs', least=1, most=2**16
  )
  max_positions: int = field(
      512, 'longest prompt, in tokens', least=3, most=2**16
  )
  dropout_rate: float = field(0.1, 'dropout in training', least=0, below=1)


@dataclasses.dataclass(frozen=True)
class Fusion:
  """Bidirectional attention; see models.fusion.BiAttention."""

  on: bool = field(True, 'off is late fusion, as in variant A')
  width: int = field(
      2048, 'channels of queries, keys and values', least=1, most=2**16
  )
  num_heads: int = field(8, 'attention heads', least=1)
  dropout_rate: float = field(0.1, 'dropout in training', least=0, below=1)


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
class Image:
  """Normalisation of pixels in 0..255 (the reference's: blue first)."""

  mean: tuple[float, float, float] = field(
      (103.53, 116.28, 123.675), 'subtracted from each channel'
  )
  std: tuple[float, float, float] = field(
      (57.375, 57.12, 58.395), 'divides each channel', above=0
  )
  bgr: bool = field(True, 'the network sees blue first')


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


@dataclasses.dataclass(frozen=True)
class Config:
  """All of a model that its weights depend on, its loss and its decoding."""

  family: str = field('glip', 'family of the detector', choices=('glip',))
  backbone: Backbone = part(Backbone)
  neck: Neck = part(Neck)
  language: Language = part(Language)
  head: Head = part(Head)
  image: Image = part(Image)
  loss: Loss = part(Loss)
  decode: Decode = part(Decode)
  dtype: str = field(
      'float32',
      'of matrix products and norms (not float16: there is no loss scaling)',
      choices=('float32', 'bfloat16', 'float64'),
  )

  def check(self, what: str) -> None:
    """Refuses widths that do not divide into heads or groups."""
    head, language = self.head, self.language
    widths = [
        ('language.width', language.width, 'language.num_heads',
         language.num_heads),
        ('neck.width', self.neck.width, 'head.num_groups', head.num_groups),
    ]  # fmt: skip
    if head.fusion.on:
      widths.append((
          'head.fusion.width',
          head.fusion.width,
          'head.fusion.num_heads',
          head.fusion.num_heads,
      ))
    for name, width, divisor, parts in widths:
      if width % parts:
        raise errors.UserError(
            f'{what}.{name}={width} is not divisible by'
            f' {what}.{divisor}={parts}: change one of the two'
        )
    for i, heads in enumerate(self.backbone.num_heads):
      if (width := self.backbone.embed_dim * 2**i) % heads:
        raise errors.UserError(
            f'stage {i + 1} of the backbone is {width} wide, not divisible by'
            f' its {heads} heads: change {what}.backbone.num_heads'
        )


_LATE = Fusion(on=False)
_SWIN_LARGE = Backbone(
    embed_dim=192,
    depths=(2, 2, 18, 2),
    num_heads=(6, 12, 24, 48),
    window=12,
    drop_path_rate=0.4,
    remat=True,
)
_NANO_TEXT = Language(width=64, depth=2, num_heads=4, mlp_width=128)
_NANO_LARGE = Backbone(
    embed_dim=24,
    depths=(2, 2, 4, 2),
    num_heads=(2, 4, 8, 16),
    window=12,
    drop_path_rate=0.4,
    remat=True,
)
_TINY = Config()
_NANO = Config(
    backbone=Backbone(
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
        backbone=Backbone(
            embed_dim=32,
            depths=(1, 1, 2, 1),
            num_heads=(1, 2, 4, 8),
            window=4,
            drop_path_rate=0.0,
        ),
        neck=Neck(width=64, drop_block_rate=0.0),
        language=Language(
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
