"""GLIP as a recipe: the model, and what it is trained and decoded with."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import fields, types
from glip_jax.detectors import base
from glip_jax.detectors.glip import (
    config as config_lib,
)
from glip_jax.detectors.glip import (
    dense_head,
    dyhead,
    mmdet_weights,
    model,
    objective,
    official_weights,
)
from glip_jax.models import fpn, fusion


@dataclasses.dataclass(frozen=True)
class Glip(base.Base):
  """A dense detector, as `detectors.recipe.Recipe` describes them.

  Attributes:
    config: what it was built from.
    model: image, extent, ids, mask -> Outputs.
    show_threshold: what docs/evaluation.md gives shares of names for.
  """

  config: config_lib.Config
  show_threshold: float = 0.3

  def encode_image(
      self, params: Any, image: Any, size: Any, extent: Any
  ) -> types.Features:
    """The pyramid; without fusion, the tower's."""
    levels = self.model.apply(
        {'params': params},
        self.config.image.normalize(image, size),
        jnp.asarray(extent),
        method='encode_image',
    )
    return types.Features(levels, jnp.asarray(size), jnp.asarray(extent))

  def loss(
      self, outputs: types.Outputs, batch: types.Batch
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """See `objective.loss`."""
    return objective.loss(
        outputs, batch, **dataclasses.asdict(self.config.loss)
    )

  @property
  def thresholds(self) -> dict[str, float]:
    """What decoding is told at each call, where nobody says otherwise."""
    own = self.config.decode
    return dict(
        score_threshold=own.score_threshold, nms_threshold=own.nms_threshold
    )

  def decode(
      self, outputs: types.Outputs, batch: types.Batch, **thresholds: Any
  ) -> types.Detections:
    """See `objective.decode`."""
    options = dataclasses.asdict(self.config.decode) | thresholds
    return objective.decode(outputs, batch, **options)

  def lowest(self, threshold: float) -> dict[str, float]:
    """Thresholds under which no detection of this score is lost.

    A score is the root of phrase score times centerness, so what has a phrase
    score below the square cannot reach it.
    """
    own = self.config.decode.score_threshold
    return dict(score_threshold=min(own, threshold**2))

  def read_weights(
      self, state: Mapping[str, np.ndarray], params: Any
  ) -> Any | None:
    """Parameters of official or mmdetection's arrays; None if of neither.

    Args:
      state: arrays by the names of a file.
      params: parameters of the model, or their shapes.

    Raises:
      WeightsError: lists everything that does not fit.
    """
    scale = self.config.head.anchor_scale
    if any(key.startswith('rpn.head.') for key in state):
      return official_weights.from_official(state, params, anchor_scale=scale)
    if any(key.startswith('bbox_head.head.') for key in state):
      return mmdet_weights.from_mmdet(state, params)
    return None

  def write_weights(self, params: Any) -> dict[str, np.ndarray]:
    """Arrays by official name.

    Raises:
      WeightsError: the model has parts that the official one does not.
    """
    scale = self.config.head.anchor_scale
    return official_weights.to_official(params, anchor_scale=scale)

  def _grounded(
      self, features: types.Features, text: types.Text
  ) -> tuple[Any, ...]:
    """What `ground` of the model takes."""
    return features.levels, text, features.extent

  def _inputs(self, batch: types.Batch) -> tuple[Any, ...]:
    """What the model takes of a batch."""
    return (
        self.config.image.normalize(batch.image, batch.size),
        batch.extent,
        batch.prompt.ids,
        batch.prompt.mask,
    )


def build(config: config_lib.Config | Mapping[str, Any]) -> Glip:
  """Composes a detector of its parts.

  Args:
    config: `config.model`.

  Raises:
    UserError: a name or size that no model can have.
  """
  config = fields.from_dict(config_lib.Config, config, 'config.model')
  dtype = jnp.dtype(config.dtype)
  return Glip(
      config,
      model.GroundedDetector(
          backbone=config.backbone.build(dtype),
          neck=fpn.FPN(**dataclasses.asdict(config.neck), dtype=dtype),
          language=config.language.build(dtype),
          tower=_tower(config, dtype),
          head=dense_head.DenseHead(
              anchor_scale=config.head.anchor_scale,
              masked_text=not config.head.fusion.on,
              dtype=dtype,
          ),
      ),
  )


def _tower(config: config_lib.Config, dtype: Any) -> dyhead.DyHead:
  head, language = config.head, config.language
  exchange = None
  if head.fusion.on:
    exchange = functools.partial(
        fusion.BiAttention,
        width=head.fusion.width,
        num_heads=head.fusion.num_heads,
        dropout_rate=head.fusion.dropout_rate,
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
