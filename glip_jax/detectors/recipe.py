"""What every family of detectors offers, and the table of families.

Nothing but this table and a family's own folder names a family: programs,
training, evaluation and prediction hold a `Recipe`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from glip_jax import errors, fields, types
from glip_jax.detectors.glip import config as glip_config
from glip_jax.detectors.glip import recipe as glip_recipe
from glip_jax.detectors.grounding_dino import config as grounding_dino_config
from glip_jax.detectors.grounding_dino import recipe as grounding_dino_recipe
from glip_jax.detectors.query import config as query_config
from glip_jax.detectors.query import recipe as query_recipe


@runtime_checkable
class Recipe(Protocol):
  """A model with all that it is trained, decoded and stored with.

  Every function that takes `params` is pure and may be jitted.

  Attributes:
    config: the dataclass that it was built from.
    model: the Linen module; its `__call__` is `ground` of both encoders.
    thresholds: what `decode` takes at each call by name, traced, with the
      values of the config.
    show_threshold: detections of a lower score are not worth a look, where
      nobody says otherwise.
  """

  config: Any
  model: Any

  @property
  def thresholds(self) -> dict[str, float]:
    """See the attributes."""

  @property
  def show_threshold(self) -> float:
    """See the attributes."""

  def init(self, rng: jax.Array, batch: types.Batch) -> Any:
    """Parameters for batches like this one; only its shapes matter."""

  def forward(
      self,
      params: Any,
      batch: types.Batch,
      *,
      train: bool = False,
      rngs: Mapping[str, jax.Array] | None = None,
  ) -> types.Outputs:
    """Both encoders and `ground` in one: what training applies."""

  def encode_image(
      self, params: Any, image: Any, size: Any, extent: Any
  ) -> types.Features:
    """Images as the grounding of any prompt needs them; sees no prompt.

    Args:
      params: parameters.
      image: uint8[b h w 3].
      size: int[b 2], as in `types.Batch`.
      extent: int[b 2], as in `types.Batch`.
    """

  def encode_text(self, params: Any, prompt: types.Prompt) -> types.Text:
    """Prompts as the grounding in any image needs them; sees no image."""

  def ground(
      self, params: Any, features: types.Features, text: types.Text
  ) -> types.Outputs:
    """Regions of each image scored against the tokens of its prompt."""

  def embed(
      self, params: Any, features: types.Features, text: types.Text
  ) -> types.Embeddings:
    """As `ground`, with what its logits are products of."""

  def loss(
      self, outputs: types.Outputs, batch: types.Batch
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The total to minimise, and scalars to log."""

  def decode(
      self, outputs: types.Outputs, batch: types.Batch, **thresholds: Any
  ) -> types.Detections:
    """Detections of each image, of a fixed number.

    Args:
      outputs: of `forward` or `ground`.
      batch: its `size`, `scale` and `prompt.spans` are read.
      **thresholds: those of `self.thresholds` that differ; may be traced.
    """

  def lowest(self, threshold: float) -> dict[str, float]:
    """Thresholds for `decode` under which no detection of a score is lost."""

  def check_prompts(self, *, num_tokens: int, vocab_size: int) -> None:
    """Raises a UserError if the text encoder cannot read such prompts."""

  def read_weights(
      self, state: Mapping[str, np.ndarray], params: Any
  ) -> Any | None:
    """Parameters of a file's arrays; None if they have none of its names.

    Args:
      state: arrays by the names of a file that others wrote.
      params: parameters of the model, or their shapes.

    Raises:
      WeightsError: lists every array that does not fit.
    """

  def write_weights(self, params: Any) -> dict[str, np.ndarray]:
    """Arrays by the names that the family's reference code has for them.

    Raises:
      WeightsError: that code has no such model.
    """


@dataclasses.dataclass(frozen=True)
class Family:
  """A row of the table.

  Attributes:
    config: dataclass of `config.model`, with a field `family`.
    variants: configs of known models by name.
    build: a checked config -> Recipe.
    data: fields of `config.data` that its models were tested with: how images
      and prompts come to them.
    class_tokens: whether a token of a text may be a whole class, see
      `class_tokens`.
  """

  config: type
  variants: Mapping[str, Any]
  build: Callable[[Any], Recipe]
  data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  class_tokens: bool = False


# What published test settings share; the canvas holds any image resized so.
_BERT_AND_800 = dict(
    tokenizer='bert-base-uncased',
    num_tokens=256,
    resize=(800, 1333),
    image_size=(1344, 1344),
    # On coco128 they leave 6 % of padding, where the square leaves a half.
    buckets=tuple(
        (height, width, 256)
        for height, width in (
            (800, 1088),
            (800, 1216),
            (800, 1344),
            (1088, 800),
            (1344, 800),
        )
    ),
)

FAMILIES: dict[str, Family] = {
    'glip': Family(
        glip_config.Config,
        glip_config.VARIANTS,
        glip_recipe.build,
        dict(_BERT_AND_800, extent_multiple=32),
        class_tokens=True,
    ),
    'grounding_dino': Family(
        grounding_dino_config.Config,
        grounding_dino_config.VARIANTS,
        grounding_dino_recipe.build,
        dict(_BERT_AND_800, extent_multiple=1, prompt_end='.'),
    ),
    'query': Family(
        query_config.Config,
        query_config.VARIANTS,
        query_recipe.build,
        dict(_BERT_AND_800, extent_multiple=1),
    ),
}


def read_config(model: Any) -> Any:
  """`config.model`, checked, as the dataclass of its family.

  Args:
    model: a mapping with a field `family` and fields of that family, or its
      dataclass.

  Raises:
    UserError: the family or a field is unknown, or a value cannot be.
  """
  return fields.from_dict(family_of(model).config, model, 'config.model')


def build(model: Any) -> Recipe:
  """The recipe that `config.model` describes.

  Args:
    model: as for `read_config`.

  Raises:
    UserError: as `read_config`.
  """
  return family_of(model).build(read_config(model))


def variant(name: str) -> Any:
  """The config of a known model of any family.

  Args:
    name: a key of the `variants` of a family.

  Raises:
    UserError: there is none of that name; the message lists them all.
  """
  found = {}
  for family in FAMILIES.values():
    found |= family.variants
  if name not in found:
    raise errors.UserError(
        f'variant {name!r} is unknown: choose one of {sorted(found)}'
    )
  return found[name]


def check_class_tokens(model: Any) -> None:
  """Refuses a model whose texts cannot have a class for a token.

  Args:
    model: as for `read_config`.

  Raises:
    UserError: it is of such a family.
  """
  if not family_of(model).class_tokens:
    able = [name for name, row in FAMILIES.items() if row.class_tokens]
    raise errors.UserError(
        'config.data.class_captions makes one token of each class, which models'
        f" of family {read_config(model).family!r} cannot read: set it to '',"
        f' or take one of {", ".join(able)}'
    )


def family_of(model: Any) -> Family:
  """The row of the table that `config.model` names.

  Raises:
    UserError: it names none.
  """
  name = getattr(model, 'family', None)
  if isinstance(model, Mapping):
    name = model.get('family')
  if not isinstance(name, str) or name not in FAMILIES:
    raise errors.UserError(
        f'config.model.family={name!r:.200} is unknown: choose one of'
        f' {sorted(FAMILIES)}'
    )
  return FAMILIES[name]
