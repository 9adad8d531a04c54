"""The query model as a recipe, with what it is trained and decoded with."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import errors, fields, types
from glip_jax.detectors import base, parts
from glip_jax.detectors.query import config as config_lib
from glip_jax.detectors.query import decoding, model, objective, transformer


@dataclasses.dataclass(frozen=True)
class Query(base.Base):
  """A detector of queries, as `detectors.recipe.Recipe` describes them.

  Attributes:
    config: what it was built from.
    model: image, size, extent, ids, mask -> Outputs.
    show_threshold: from here on a query has one phrase that is more likely
      than all else together.
  """

  config: config_lib.Config
  show_threshold: float = 0.5

  def encode_image(
      self, params: Any, image: Any, size: Any, extent: Any
  ) -> types.Features:
    """The encoder's map: up to there no prompt is seen."""
    size, extent = jnp.asarray(size), jnp.asarray(extent)
    memory = self.model.apply(
        {'params': params},
        self.config.image.normalize(image, size),
        size,
        extent,
        method='encode_image',
    )
    return types.Features((memory,), size, extent)

  def loss(
      self, outputs: types.Outputs, batch: types.Batch
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """See `objective.loss`."""
    num_groups = outputs.boxes.shape[1] // self.config.num_queries
    return objective.loss(
        outputs,
        batch,
        num_groups=num_groups,
        **dataclasses.asdict(self.config.loss),
    )

  def decode(
      self, outputs: types.Outputs, batch: types.Batch, **thresholds: Any
  ) -> types.Detections:
    """See `decoding.decode`."""
    options = dataclasses.asdict(self.config.decode) | thresholds
    return decoding.decode(outputs, batch, **options)

  def read_weights(
      self, state: Mapping[str, np.ndarray], params: Any
  ) -> Any | None:
    """None: nobody else has such a model.

    Args:
      state: arrays by the names of a file.
      params: parameters of the model, or their shapes.
    """
    del state, params

  def write_weights(self, params: Any) -> dict[str, np.ndarray]:
    """Refuses, as nobody else has such a model.

    Raises:
      UserError: always.
    """
    del params
    raise errors.UserError(
        "family 'query' has no reference code whose names a file could have:"
        ' write it under our own names'
    )

  def _grounded(
      self, features: types.Features, text: types.Text
  ) -> tuple[Any, ...]:
    """What `ground` of the model takes."""
    return features.levels[0], text, features.size

  def _inputs(self, batch: types.Batch) -> tuple[Any, ...]:
    """What the model takes of a batch."""
    return (
        self.config.image.normalize(batch.image, batch.size),
        batch.size,
        batch.extent,
        batch.prompt.ids,
        batch.prompt.mask,
    )


def build(config: config_lib.Config | Mapping[str, Any]) -> Query:
  """Composes a detector of its parts.

  Args:
    config: `config.model`.

  Raises:
    UserError: a name or size that no model can have.
  """
  config = fields.from_dict(config_lib.Config, config, 'config.model')
  dtype = jnp.dtype(config.dtype)
  options = {}
  if isinstance(config.backbone, parts.Swin):
    options['normed'] = (config.stage,)  # A ResNet's maps need no norm.
  stack = lambda cls, sizes: cls(**dataclasses.asdict(sizes), dtype=dtype)
  return Query(
      config,
      model.QueryDetector(
          backbone=config.backbone.build(dtype, **options),
          language=config.language.build(dtype, pooler=True),
          encoder=stack(transformer.Encoder, config.encoder),
          decoder=stack(transformer.Decoder, config.decoder),
          stage=config.stage,
          width=config.width,
          num_queries=config.num_queries,
          num_groups=config.num_groups,
          objectness=config.objectness == 'head',
          cycles=config.position_cycles,
          dtype=dtype,
      ),
  )
