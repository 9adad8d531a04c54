"""Parts of a config that families share, and what is built of them."""

import dataclasses
from typing import Any

import jax

from glip_jax import errors
from glip_jax.fields import field
from glip_jax.models import bert, resnet, swin
from glip_jax.ops import images


@dataclasses.dataclass(frozen=True)
class Swin:
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

  def check(self, what: str) -> None:
    """Refuses widths that do not divide into heads."""
    for i, heads in enumerate(self.num_heads):
      if (width := self.embed_dim * 2**i) % heads:
        raise errors.UserError(
            f'stage {i + 1} of the backbone is {width} wide, not divisible by'
            f' its {heads} heads: change {what}.num_heads'
        )

  def build(self, dtype: Any, **options: Any) -> swin.Swin:
    """The module.

    Args:
      dtype: of the matrix products.
      **options: attributes of the module that a family decides on.
    """
    sizes = dataclasses.asdict(self)
    del sizes['name']  # One architecture so far.
    return swin.Swin(**sizes, **options, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class ResNet:
  """ResNet; see models.resnet.ResNet."""

  name: str = field('resnet', 'architecture', choices=('resnet',))
  depths: tuple[int, ...] = field(
      (3, 4, 6, 3),
      'blocks of each stage; fewer numbers are fewer stages',
      least=1,
      most=2**8,
  )
  width: int = field(
      64, "inside of the first stage's bottlenecks", least=1, most=2**12
  )

  def check(self, what: str) -> None:
    """Refuses no stages, and more than strides 4, 8, 16 and 32."""
    if not 1 <= len(self.depths) <= 4:
      raise errors.UserError(
          f'{what}.depths={self.depths} are {len(self.depths)} stages, not 1'
          ' to 4: say how many blocks each of them has'
      )

  def build(self, dtype: Any, **options: Any) -> resnet.ResNet:
    """The module.

    Args:
      dtype: of the convolutions.
      **options: attributes of the module that a family decides on.
    """
    sizes = dataclasses.asdict(self)
    del sizes['name']  # One architecture so far.
    return resnet.ResNet(**sizes, **options, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Bert:
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

  def check(self, what: str) -> None:
    """Refuses a width that does not divide into heads."""
    check_divisible(what, self, 'width', 'num_heads')

  def build(self, dtype: Any, **options: Any) -> bert.Bert:
    """The module.

    Args:
      dtype: of the matrix products.
      **options: attributes of the module that a family decides on.
    """
    return bert.Bert(**dataclasses.asdict(self), **options, dtype=dtype)

  def check_prompts(self, *, num_tokens: int, vocab_size: int) -> None:
    """Refuses prompts that the text encoder has no embeddings for.

    Args:
      num_tokens: length of the prompts.
      vocab_size: number of token ids of the tokenizer.

    Raises:
      UserError: the encoder has fewer positions or tokens.
    """
    if num_tokens > self.max_positions:
      raise errors.UserError(
          f'data.num_tokens={num_tokens} is over'
          f' model.language.max_positions={self.max_positions}: lower the'
          ' one or raise the other'
      )
    if vocab_size > self.vocab_size:
      raise errors.UserError(
          f'data.tokenizer has {vocab_size} tokens, more than'
          f' model.language.vocab_size={self.vocab_size}: take the'
          ' tokenizer that the model was made for, or raise vocab_size'
      )


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

  def normalize(self, image: Any, size: Any) -> jax.Array:
    """float32[b h w 3] of uint8 pixels, zero beyond each image's size."""
    return images.normalize(
        image, size, mean=self.mean, std=self.std, bgr=self.bgr
    )


def check_divisible(what: str, config: Any, name: str, divisor: str) -> None:
  """Refuses a width that does not divide into heads or groups.

  Args:
    what: where the config stands, for the message.
    config: has both fields.
    name: field of the width.
    divisor: field of the number of parts.

  Raises:
    UserError: it does not divide.
  """
  width, count = getattr(config, name), getattr(config, divisor)
  if width % count:
    raise errors.UserError(
        f'{what}.{name}={width} is not divisible by'
        f' {what}.{divisor}={count}: change one of the two'
    )
