"""Grounding DINO as a recipe: the model, its training and decoding."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import fields, types
from glip_jax.detectors import base
from glip_jax.detectors.grounding_dino import config as config_lib
from glip_jax.detectors.grounding_dino import (
    decoding,
    hugging_face_weights,
    mmdet_weights,
    model,
    objective,
)


@dataclasses.dataclass(frozen=True)
class GroundingDino(base.Base):
  """A query-based detector, as `detectors.recipe.Recipe` describes them.

  Attributes:
    config: what it was built from.
    model: image, size, extent, ids, mask -> Outputs.
    show_threshold: what the released demo shows from.
  """

  config: config_lib.Config
  show_threshold: float = 0.3

  def forward(
      self,
      params: Any,
      batch: types.Batch,
      *,
      train: bool = False,
      rngs: Mapping[str, jax.Array] | None = None,
  ) -> types.Outputs:
    """Images and prompts of a batch, scored against each other."""
    return self.model.apply(
        {'params': params},
        *self._inputs(batch),
        truth=batch if train else None,
        train=train,
        rngs=rngs,
    )

  def encode_image(
      self, params: Any, image: Any, size: Any, extent: Any
  ) -> types.Features:
    """The pyramid, before the encoder, which looks at the prompt."""
    size, extent = jnp.asarray(size), jnp.asarray(extent)
    levels = self.model.apply(
        {'params': params},
        self.config.image.normalize(image, size),
        extent,
        method='encode_image',
    )
    return types.Features(levels, size, extent)

  def loss(
      self, outputs: types.Outputs, batch: types.Batch
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """See `objective.loss`."""
    return objective.loss(
        outputs, batch, self.config.loss, groups=self.config.denoising.groups
    )

  @property
  def thresholds(self) -> dict[str, float]:
    """What decoding is told at each call, where nobody says otherwise."""
    own = self.config.decode
    if own.rule == 'phrases':
      return super().thresholds
    return super().thresholds | dict(text_threshold=own.text_threshold)

  def decode(
      self, outputs: types.Outputs, batch: types.Batch, **thresholds: Any
  ) -> types.Detections:
    """See `decoding.decode`."""
    options = dataclasses.asdict(self.config.decode) | thresholds
    return decoding.decode(outputs, batch, **options)

  def read_weights(
      self, state: Mapping[str, np.ndarray], params: Any
  ) -> Any | None:
    """Parameters of Hugging Face's or mmdetection's arrays, None if of neither.

    Args:
      state: arrays by the names of a file.
      params: parameters of the model, or their shapes.

    Raises:
      WeightsError: lists everything that does not fit.
    """
    if any(key.startswith('model.encoder.layers.') for key in state):
      return hugging_face_weights.from_hugging_face(state, params)
    if mmdet_weights.is_mmdet(state):
      return mmdet_weights.from_mmdet(state, params)
    return None

  def write_weights(self, params: Any) -> dict[str, np.ndarray]:
    """Arrays by Hugging Face's names."""
    return hugging_face_weights.to_hugging_face(params)

  def _grounded(
      self, features: types.Features, text: types.Text
  ) -> tuple[Any, ...]:
    """What `ground` of the model takes."""
    return features.levels, text, features.size, features.extent

  def _inputs(self, batch: types.Batch) -> tuple[Any, ...]:
    """What the model takes of a batch."""
    return (
        self.config.image.normalize(batch.image, batch.size),
        jnp.asarray(batch.size),
        jnp.asarray(batch.extent),
        jnp.asarray(batch.prompt.ids),
        jnp.asarray(batch.prompt.mask),
    )


def build(config: config_lib.Config | Mapping[str, Any]) -> GroundingDino:
  """Composes a detector of its parts.

  Args:
    config: `config.model`.

  Raises:
    UserError: a name or size that no model can have.
  """
  config = fields.from_dict(config_lib.Config, config, 'config.model')
  return GroundingDino(
      config, model.GroundingDino(config, jnp.dtype(config.dtype))
  )
