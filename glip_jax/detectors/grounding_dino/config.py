"""Sizes of Grounding DINO's models: `config.model`, family 'grounding_dino'.

T and B are those of Grounding DINO (arXiv 2303.05499), mm_T, mm_B and mm_L
those of MM-Grounding-DINO (arXiv 2401.02361), whose architecture LLMDet (arXiv
2501.18954) has too; sizes are those of the public configs. nano_gd, nano_mm
and nano_mms have the same structure at sizes that run in seconds; the
reference arrays in the tests were computed with them. `grounding_dino_shapes`
is the small model that the embedded world is trained with.
"""

import dataclasses

from glip_jax import errors
from glip_jax.detectors import parts
from glip_jax.fields import field, part


@dataclasses.dataclass(frozen=True)
class Fusion:
  """Bidirectional attention; see models.fusion.BiAttention."""

  width: int = field(
      1024, 'channels of queries, keys and values', least=1, most=2**16
  )
  num_heads: int = field(4, 'attention heads', least=1)
  layer_scale: float = field(1e-4, 'scale of the messages at the start')
  dropout_rate: float = field(0.0, 'dropout in training', least=0, below=1)
  drop_path_rate: float = field(
      0.1, 'chance to drop the messages of a layer in training', least=0,
      below=1,
  )  # fmt: skip

  def check(self, what: str) -> None:
    """Refuses a width that does not divide into heads."""
    parts.check_divisible(what, self, 'width', 'num_heads')


@dataclasses.dataclass(frozen=True)
class Encoder:
  """See encoder.Encoder."""

  depth: int = field(6, 'layers', least=1, most=2**8)
  num_heads: int = field(8, 'heads of the deformable attention', least=1)
  num_points: int = field(4, 'points that a head reads of a level', least=1)
  mlp_width: int = field(
      2048, 'hidden channels of the MLP of positions', least=1, most=2**16
  )
  text_num_heads: int = field(4, 'heads of the attention of tokens', least=1)
  text_mlp_width: int = field(
      1024, 'hidden channels of the MLP of tokens', least=1, most=2**16
  )
  fusion: Fusion = part(Fusion)
  dropout_rate: float = field(0.0, 'dropout in training', least=0, below=1)
  remat: bool = field(True, 'recompute layers in the backward pass')


@dataclasses.dataclass(frozen=True)
class Decoder:
  """See decoder.Decoder."""

  depth: int = field(6, 'layers', least=1, most=2**8)
  num_heads: int = field(8, 'attention heads', least=1)
  num_points: int = field(4, 'points that a head reads of a level', least=1)
  mlp_width: int = field(
      2048, 'hidden channels of the MLPs', least=1, most=2**16
  )
  num_queries: int = field(900, 'boxes of an image', least=1, most=2**16)
  share_heads: bool = field(
      True, 'one head of boxes and classes for all layers'
  )
  scale_logits: bool = field(
      False,
      'logits are divided by the root of the width and have a bias, as in'
      ' MM-Grounding-DINO',
  )
  prior: float = field(
      0.01, 'scale_logits: probability that biases start from', above=0, below=1
  )
  look_forward_twice: bool = field(
      True, 'the loss of a box trains the layer before it too (DINO)'
  )
  dropout_rate: float = field(0.0, 'dropout in training', least=0, below=1)
  remat: bool = field(True, 'recompute layers in the backward pass')


@dataclasses.dataclass(frozen=True)
class Denoising:
  """Noised true boxes as further queries in training; see denoising.py."""

  on: bool = field(False, 'train with them')
  groups: int = field(4, 'times that each true box is noised', least=1)
  box_noise: float = field(
      1.0, 'largest shift of an edge, in half sides', least=0
  )
  label_noise: float = field(
      0.5, 'twice the share of boxes that get another phrase', least=0, most=2
  )


@dataclasses.dataclass(frozen=True)
class Loss:
  """See objective.loss; class, L1 and GIoU, in the matching and in the sum."""

  class_cost: float = field(2.0, 'weight of the class in the matching', least=0)
  box_cost: float = field(5.0, 'weight of L1 in the matching', least=0)
  giou_cost: float = field(2.0, 'weight of GIoU in the matching', least=0)
  class_weight: float = field(1.0, 'weight of the focal loss', least=0)
  box_weight: float = field(5.0, 'weight of the L1 loss', least=0)
  giou_weight: float = field(2.0, 'weight of the GIoU loss', least=0)
  auxiliary: bool = field(True, 'train every layer of the decoder')
  alpha: float = field(
      0.25, 'weight of positive query-token pairs', least=0, most=1
  )
  gamma: float = field(2.0, 'focusing exponent', least=0)


@dataclasses.dataclass(frozen=True)
class Decode:
  """See decoding.decode."""

  rule: str = field(
      'phrases',
      "the best pairs of a query and a phrase, or as Hugging Face's processor:"
      ' each query once, named by its tokens',
      choices=('phrases', 'hf'),
  )
  max_detections: int = field(
      300, 'query-phrase pairs or queries of an image', least=1
  )
  score_threshold: float = field(
      0.0, 'what scores at or below it is left out', least=0, most=1
  )
  text_threshold: float = field(
      0.25, "rule 'hf': tokens over it name their query", least=0, most=1
  )
  aggregate: str = field(
      'mean', 'over the tokens of a phrase', choices=('mean', 'max')
  )


@dataclasses.dataclass(frozen=True)
class Config:
  """All of a model that its weights depend on, its loss and its decoding."""

  family: str = field(
      'grounding_dino', 'family of the detector', choices=('grounding_dino',)
  )
  width: int = field(256, 'channels of everything', least=1, most=2**14)
  backbone: parts.Swin = part(parts.Swin)
  stages: tuple[int, ...] = field(
      (1, 2, 3), 'stages of the backbone that are read, from 0', least=0, most=3
  )
  num_groups: int = field(32, 'groups of every GroupNorm', least=1)
  language: parts.Bert = part(parts.Bert)
  delimiters: tuple[int, ...] = field(
      (101, 102, 1012, 1029),
      'ids of the tokens that end a phrase: of BERT [CLS] [SEP] . ?',
      least=0,
  )
  encoder: Encoder = part(Encoder)
  decoder: Decoder = part(Decoder)
  denoising: Denoising = part(Denoising)
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

  def check(self, what: str) -> None:
    """Refuses widths that do not divide, and stages out of order."""
    shares = {
        'num_groups': self.num_groups,
        'encoder.num_heads': self.encoder.num_heads,
        'encoder.text_num_heads': self.encoder.text_num_heads,
        'decoder.num_heads': self.decoder.num_heads,
    }
    for name, count in shares.items():
      if self.width % count:
        raise errors.UserError(
            f'{what}.width={self.width} is not divisible by'
            f' {what}.{name}={count}: change one of the two'
        )
    if self.width % 4:
      raise errors.UserError(
          f'{what}.width={self.width} is not divisible by 4: each coordinate of'
          ' a position is sines and cosines in half of it'
      )
    if self.stages not in [tuple(range(first, 4)) for first in range(4)]:
      raise errors.UserError(
          f'{what}.stages={self.stages} must follow each other up to the last,'
          ' for example (1, 2, 3)'
      )


def _swin(embed_dim, depths, num_heads, window, drop_path_rate, remat=False):
  return parts.Swin(
      embed_dim=embed_dim,
      depths=depths,
      num_heads=num_heads,
      window=window,
      drop_path_rate=drop_path_rate,
      remat=remat,
  )


_SWIN_BASE = _swin(128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 0.3, remat=True)
_SWIN_LARGE = _swin(192, (2, 2, 18, 2), (6, 12, 24, 48), 12, 0.3, remat=True)
_MM = Decoder(share_heads=False, scale_logits=True)
_NANO = Config(
    width=64,
    backbone=_swin(16, (2, 2, 2, 2), (1, 2, 4, 8), 7, 0.2),
    language=parts.Bert(width=64, depth=2, num_heads=4, mlp_width=128),
    encoder=Encoder(
        depth=2,
        num_heads=4,
        num_points=3,
        mlp_width=160,
        text_num_heads=2,
        text_mlp_width=80,
        fusion=Fusion(width=80, num_heads=2),
    ),
    decoder=Decoder(depth=2, num_points=2, mlp_width=96, num_queries=60),
)


def _nano(**options: bool) -> Config:
  decoder = dataclasses.replace(_NANO.decoder, **options)
  return dataclasses.replace(_NANO, decoder=decoder)


VARIANTS: dict[str, Config] = {
    'grounding_dino_T': Config(),
    'grounding_dino_B': Config(backbone=_SWIN_BASE),
    'mm_grounding_dino_T': Config(decoder=_MM),
    'mm_grounding_dino_B': Config(decoder=_MM, backbone=_SWIN_BASE),
    'mm_grounding_dino_L': Config(
        decoder=_MM, backbone=_SWIN_LARGE, stages=(0, 1, 2, 3)
    ),
    'grounding_dino_shapes': Config(
        width=64,
        backbone=_swin(32, (1, 1, 2, 1), (1, 2, 4, 8), 4, 0.0),
        num_groups=8,
        language=parts.Bert(
            vocab_size=4096,
            width=96,
            depth=2,
            num_heads=4,
            mlp_width=192,
            max_positions=256,
            dropout_rate=0.0,
        ),
        delimiters=(2, 3, 54, 61),  # The same, of the tokenizer `shapes`.
        encoder=Encoder(
            depth=2,
            num_heads=4,
            mlp_width=256,
            text_num_heads=4,
            text_mlp_width=128,
            fusion=Fusion(width=128, num_heads=4, drop_path_rate=0.0),
            remat=False,
        ),
        decoder=Decoder(
            depth=3,
            num_heads=4,
            mlp_width=256,
            num_queries=40,
            scale_logits=True,
            remat=False,
        ),
        denoising=Denoising(on=True, groups=3),
    ),
    'nano_gd': _NANO,
    'nano_mm': _nano(share_heads=False, scale_logits=True),
    'nano_mms': _nano(scale_logits=True),
}
