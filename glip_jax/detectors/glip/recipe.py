"""From a configuration to a Recipe: the model and what it is trained with.

The one place where models and objectives meet; ConfigDict stops here.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from glip_jax import errors, types
from glip_jax.detectors.glip import dense_head, dyhead
from glip_jax.detectors.glip import model as detector
from glip_jax.detectors.glip import objective as dense
from glip_jax.models import bert, fpn, fusion, swin
from glip_jax.ops import images, phrases

BACKBONES = {'swin': swin.Swin}
_SIZES = (
    'neck.width', 'head.depth', 'head.num_groups', 'language.width',
    'language.depth', 'language.num_heads', 'language.vocab_size',
    'decode.pre_nms_top_k', 'decode.max_detections',
)  # fmt: skip
_THRESHOLDS = ('decode.score_threshold', 'decode.nms_threshold')
_DROP_RATES = (
    'backbone.drop_path_rate', 'neck.drop_block_rate', 'language.dropout_rate',
)  # fmt: skip
DTYPES = ('float32', 'bfloat16', 'float16', 'float64')


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A model with the pure functions that it is trained and decoded with.

  Attributes:
    model: image, extent, ids, mask -> Outputs.
    loss: Outputs, Batch -> (total, parts).
    decode: Outputs, Batch -> Detections.
    normalize: uint8 image, sizes -> float32 image.
  """

  model: nn.Module
  loss: Callable[[types.Outputs, types.Batch], tuple[Any, dict[str, Any]]]
  decode: Callable[[types.Outputs, types.Batch], types.Detections]
  normalize: Callable[[Any, Any], Any]

  def forward(
      self,
      params: Any,
      batch: types.Batch,
      *,
      train: bool = False,
      rngs: Mapping[str, jax.Array] | None = None,
  ) -> types.Outputs:
    """Normalises the batch's images and applies the model."""
    return self.model.apply(
        {'params': params},
        self.normalize(batch.image, batch.size),
        batch.extent,
        batch.prompt.ids,
        batch.prompt.mask,
        train=train,
        rngs=rngs,
    )

  def init(self, rng: jax.Array, batch: types.Batch) -> Any:
    """Parameters for batches like this one; only its shapes matter."""
    return self.model.init(
        rng,
        self.normalize(batch.image, batch.size),
        batch.extent,
        batch.prompt.ids,
        batch.prompt.mask,
    )['params']


def build(config: ml_collections.ConfigDict) -> Recipe:
  """Composes a detector and its objective.

  Args:
    config: the fields of `variants.Variant`.

  Returns:
    The recipe.

  Raises:
    UserError: a name or size that no model can have.
  """
  _check_names(config)
  _check_values(config)
  _check_divisions(config)
  dtype = jnp.dtype(config.dtype)
  backbone = config.backbone.to_dict()
  model = detector.GroundedDetector(
      backbone=BACKBONES[backbone.pop('name')](**backbone, dtype=dtype),
      neck=fpn.FPN(**config.neck, dtype=dtype),
      language=bert.Bert(**config.language, dtype=dtype),
      tower=_tower(config, dtype),
      head=dense_head.DenseHead(
          anchor_scale=config.head.anchor_scale,
          masked_text=not config.head.fusion,
          dtype=dtype,
      ),
  )
  return Recipe(
      model=model,
      loss=functools.partial(dense.loss, **config.loss),
      decode=functools.partial(dense.decode, **config.decode),
      normalize=functools.partial(
          images.normalize,
          mean=tuple(config.image.mean),
          std=tuple(config.image.std),
          bgr=config.image.bgr,
      ),
  )


def _tower(config: ml_collections.ConfigDict, dtype: Any) -> dyhead.DyHead:
  head, language = config.head, config.language
  exchange = None
  if head.fusion:
    exchange = functools.partial(
        fusion.BiAttention,
        **head.fusion,
        layer_scale=1 / head.depth,
        dtype=dtype,
    )
  return dyhead.DyHead(
      width=config.neck.width,
      depth=head.depth,
      num_groups=head.num_groups,
      fusion=exchange,
      text_num_heads=language.num_heads,
      text_mlp_width=language.mlp_width,
      text_dropout_rate=language.dropout_rate,
      remat=head.remat,
      unroll=head.unroll,
      dtype=dtype,
  )


def check_prompts(
    config: ml_collections.ConfigDict, *, num_tokens: int, vocab_size: int
) -> None:
  """Refuses prompts that the text encoder has no embeddings for.

  Args:
    config: the fields of `variants.Variant`.
    num_tokens: length of the prompts.
    vocab_size: number of token ids of the tokenizer.

  Raises:
    UserError: the encoder has fewer positions or words.
  """
  language = config.language
  if num_tokens > language.max_positions:
    raise errors.UserError(
        f'data.num_tokens={num_tokens} is over'
        f' model.language.max_positions={language.max_positions}: lower the'
        ' one or raise the other'
    )
  if vocab_size > language.vocab_size:
    raise errors.UserError(
        f'data.tokenizer has {vocab_size} words, more than'
        f' model.language.vocab_size={language.vocab_size}: take the tokenizer'
        ' that the model was made for, or raise vocab_size'
    )


def _check_names(config: ml_collections.ConfigDict) -> None:
  """Refuses what there is not."""
  if config.dtype not in DTYPES:
    raise errors.UserError(
        f'model.dtype={config.dtype!r} is unknown: use one of {DTYPES}'
    )
  if config.decode.aggregate not in phrases.MODES:
    raise errors.UserError(
        f'model.decode.aggregate={config.decode.aggregate!r} is unknown: use'
        f' one of {phrases.MODES}'
    )
  if config.backbone.name not in BACKBONES:
    raise errors.UserError(
        f'model.backbone.name={config.backbone.name!r} is unknown: choose one'
        f' of {sorted(BACKBONES)}'
    )


def _check_values(config: ml_collections.ConfigDict) -> None:
  """Refuses numbers that mean nothing, or fail deep inside a module."""
  for name in _SIZES:
    if (size := _get(config, name)) < 1:
      raise errors.UserError(f'model.{name}={size} must be 1 or more')
  for name in _THRESHOLDS:
    if not 0 <= (value := _get(config, name)) <= 1:
      raise errors.UserError(f'model.{name}={value} must be from 0 to 1')
  in_fusion = ('head.fusion.dropout_rate',) if config.head.fusion else ()
  for name in _DROP_RATES + in_fusion:
    if not 0 <= (rate := _get(config, name)) < 1:
      raise errors.UserError(
          f'model.{name}={rate} must be 0 or more, and less than 1'
      )


def _check_divisions(config: ml_collections.ConfigDict) -> None:
  """Refuses widths that do not divide into heads or groups."""
  divisions = [
      ('language.width', 'language.num_heads'),
      ('neck.width', 'head.num_groups'),
  ]
  if config.head.fusion:
    divisions.append(('head.fusion.width', 'head.fusion.num_heads'))
  for name, divisor in divisions:
    value, parts = _get(config, name), _get(config, divisor)
    if value % parts:
      raise errors.UserError(
          f'model.{name}={value} is not divisible by model.{divisor}={parts}:'
          ' change one of the two'
      )
  for i, heads in enumerate(config.backbone.num_heads):
    width = config.backbone.embed_dim * 2**i
    if width % heads:
      raise errors.UserError(
          f'stage {i + 1} of the backbone is {width} wide, not divisible by'
          f' its {heads} heads: change model.backbone.num_heads'
      )


def _get(config: ml_collections.ConfigDict, path: str) -> Any:
  for key in path.split('.'):
    config = config[key]
  return config
