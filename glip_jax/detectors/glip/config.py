"""The table of model variants, as plain frozen dataclasses.

A, B, C, T and L are the released models (GLIP README; L differs from T by its
backbone, depth and drop path). The nano ones have the same structure at sizes
that run in seconds; the reference arrays in the tests were computed with them.
`shapes` is the small model that the embedded world is trained with.
"""

import dataclasses

import ml_collections

from glip_jax import errors


@dataclasses.dataclass(frozen=True)
class Backbone:
  """Swin; see models.swin.Swin."""

  name: str = 'swin'
  embed_dim: int = 96
  depths: tuple[int, ...] = (2, 2, 6, 2)
  num_heads: tuple[int, ...] = (3, 6, 12, 24)
  window: int = 7
  drop_path_rate: float = 0.2
  remat: bool = False


@dataclasses.dataclass(frozen=True)
class Neck:
  """FPN; see models.fpn.FPN."""

  width: int = 256
  drop_block_rate: float = 0.3


@dataclasses.dataclass(frozen=True)
class Language:
  """BERT; see models.bert.Bert."""

  vocab_size: int = 30522
  width: int = 768
  depth: int = 12
  num_heads: int = 12
  mlp_width: int = 3072
  max_positions: int = 512
  dropout_rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class Fusion:
  """Bidirectional attention; see models.fusion.BiAttention."""

  width: int = 2048
  num_heads: int = 8
  dropout_rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class Head:
  """Tower and dense head; see models.dyhead.DyHead, models.dense_head."""

  depth: int = 6
  num_groups: int = 16
  fusion: Fusion | None = Fusion()
  anchor_scale: float = 8.0
  remat: bool = True
  unroll: int = 1


@dataclasses.dataclass(frozen=True)
class Image:
  """Normalisation of pixels in 0..255 (the reference's: blue first)."""

  mean: tuple[float, float, float] = (103.53, 116.28, 123.675)
  std: tuple[float, float, float] = (57.375, 57.12, 58.395)
  bgr: bool = True


@dataclasses.dataclass(frozen=True)
class Loss:
  """See objectives.dense.loss."""

  reg_weight: float = 2.0
  alpha: float = 0.25
  gamma: float = 2.0


@dataclasses.dataclass(frozen=True)
class Decode:
  """See objectives.dense.decode."""

  score_threshold: float = 0.05
  pre_nms_top_k: int = 1000
  nms_threshold: float = 0.6
  max_detections: int = 100
  aggregate: str = 'mean'


@dataclasses.dataclass(frozen=True)
class Variant:
  """All of a model that its weights depend on, and how it is decoded."""

  backbone: Backbone = Backbone()
  neck: Neck = Neck()
  language: Language = Language()
  head: Head = Head()
  image: Image = Image()
  loss: Loss = Loss()
  decode: Decode = Decode()
  dtype: str = 'float32'


_SWIN_LARGE = Backbone(
    embed_dim=192,
    depths=(2, 2, 18, 2),
    num_heads=(6, 12, 24, 48),
    window=12,
    drop_path_rate=0.4,
    remat=True,
)
_NANO_TEXT = Language(width=64, depth=2, num_heads=4, mlp_width=128)
_NANO_TINY = Backbone(
    embed_dim=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window=7
)
_NANO_LARGE = Backbone(
    embed_dim=24,
    depths=(2, 2, 4, 2),
    num_heads=(2, 4, 8, 16),
    window=12,
    drop_path_rate=0.4,
    remat=True,
)
_TINY = Variant()
_NANO = Variant(
    backbone=_NANO_TINY,
    neck=Neck(width=64),
    language=_NANO_TEXT,
    head=Head(depth=2),
)

VARIANTS: dict[str, Variant] = {
    'A': Variant(head=Head(fusion=None)),
    'B': _TINY,
    'C': _TINY,
    'T': _TINY,
    'L': Variant(backbone=_SWIN_LARGE, head=Head(depth=8)),
    'nanoA': dataclasses.replace(_NANO, head=Head(depth=2, fusion=None)),
    'nanoB': _NANO,
    'nanoC': _NANO,
    'nanoL': Variant(
        backbone=_NANO_LARGE,
        neck=Neck(width=96),
        language=_NANO_TEXT,
        head=Head(depth=3),
    ),
    'shapes': Variant(
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


def to_config(name: str) -> ml_collections.ConfigDict:
  """A variant as the ConfigDict that `models.build.build` takes.

  Args:
    name: a key of `VARIANTS`.

  Returns:
    A locked ConfigDict with the fields of `Variant`.

  Raises:
    UserError: there is no such variant; the message lists them all.
  """
  if name not in VARIANTS:
    raise errors.UserError(
        f'variant {name!r} is unknown: choose one of {sorted(VARIANTS)}'
    )
  config = ml_collections.ConfigDict(dataclasses.asdict(VARIANTS[name]))
  # None has no type to check overrides against: keep the field open, so that
  # head.fusion can be switched off and on again.
  config.head.fusion = (
      ml_collections.config_dict.placeholder(object)
      if config.head.fusion is None
      else config.head.fusion
  )
  return config
