"""The whole model: two encoders, a transformer on the image, queries, heads."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax import types
from glip_jax.models import linear
from glip_jax.ops import boxes as box_ops
from glip_jax.ops import extents, positions, precision

_TEMPERATURE = 10000.0
# Below it a vector has no direction; torch's `normalize` has it.
_SHORTEST = 1e-12


class QueryDetector(nn.Module):
  """Queries that find boxes in an image and are scored against tokens.

  DETR (arXiv 2005.12872) with a text in its queries. The pooled text,
  projected and of length one, is added to every learnt object query, which is
  a position in the decoder. DETR's queries hold zeros at first; these hold the
  pooled text, so that values carry it from the first layer on. A query's logit
  of a token is the product of their projections over the root of the width.

  Attributes:
    backbone: (image, extent) -> maps of its stages.
    language: (ids, mask) -> token features and the pooled text.
    encoder: (cells, positions, inside) -> cells.
    decoder: (content, queries, memory, positions, inside, together) -> queries
      after each layer.
    stage: which of the maps is used.
    width: of all between the encoders and the heads.
    num_queries: regions of an image.
    num_groups: sets of so many queries that training has, which do not see
      each other. The first alone answers.
    objectness: True adds a head for being an object at all.
    cycles: of the fastest wave of positions, over the image.
    dtype: of the matrix products.
  """

  backbone: nn.Module
  language: nn.Module
  encoder: nn.Module
  decoder: nn.Module
  stage: int = 3
  width: int = 256
  num_queries: int = 100
  num_groups: int = 1
  objectness: bool = False
  cycles: float = 1.0
  dtype: Any = jnp.float32

  def setup(self):
    """Makes projections, queries and heads, as flax has it."""
    dense = lambda width: linear.Dense(width, dtype=self.dtype)
    self.project_image = dense(self.width)
    self.project_pooled = dense(self.width)
    self.queries = self.param(
        'queries',
        nn.initializers.normal(1.0),
        (self.num_groups * self.num_queries, self.width),
    )
    self.query_of_token, self.token = dense(self.width), dense(self.width)
    self.none = dense(1)
    self.box = [dense(self.width), dense(self.width), dense(4)]
    if self.objectness:
      self.object = dense(1)

  def encode_image(
      self,
      image: Float[Array, 'b h w 3'],
      size: Int[Array, 'b 2'],
      extent: Int[Array, 'b 2'],
      *,
      train: bool = False,
  ) -> Float[Array, 'b _ _ d']:
    """The encoder's map of a normalised image; arguments as in `__call__`."""
    x = self.project_image(
        self.backbone(image, extent, train=train)[self.stage]
    )
    where, inside = self._cells(size, x.shape[1:3])
    y = self.encoder(_flat(x), where, inside, train=train)
    return y.reshape(x.shape)

  def encode_text(
      self,
      ids: Int[Array, 'b t'],
      mask: Bool[Array, 'b t'],
      *,
      train: bool = False,
  ) -> types.Text:
    """Token features of a prompt, and the pooled one."""
    tokens, pooled = self.language(ids, mask, train=train)
    return types.Text(tokens, mask, pooled=pooled)

  def ground(
      self,
      memory: Float[Array, 'b h w d'],
      text: types.Text,
      size: Int[Array, 'b 2'],
      *,
      train: bool = False,
  ) -> types.Outputs:
    """Queries of a text in an image.

    Args:
      memory: from `encode_image`.
      text: from `encode_text`.
      size: as in `__call__`.
      train: as in `__call__`.
    """
    where, inside = self._cells(size, memory.shape[1:3])
    pooled = _normalized(self.project_pooled(text.pooled))[:, None]
    num_groups = self.num_groups if train else 1
    queries = self.queries[: num_groups * self.num_queries]
    queries = queries.astype(self.dtype) + pooled
    content = jnp.broadcast_to(pooled, queries.shape)
    together = None
    if num_groups > 1:
      group = jnp.arange(queries.shape[1]) // self.num_queries
      together = (group[:, None] == group)[None]
    held = self.decoder(
        content, queries, _flat(memory), where, inside, together, train=train
    )
    layers = self._heads(held, text, size)
    return layers[-1].replace(auxiliary=layers[:-1])

  def __call__(
      self,
      image: Float[Array, 'b h w 3'],
      size: Int[Array, 'b 2'],
      extent: Int[Array, 'b 2'],
      ids: Int[Array, 'b t'],
      mask: Bool[Array, 'b t'],
      *,
      train: bool = False,
  ) -> types.Outputs:
    """Queries of the prompt in the image.

    Args:
      image: normalised, zero beyond each image.
      size: (h, w) of each image in pixels: boxes are relative to it, and cells
        beyond it are seen by nothing.
      extent: (h, w) that the backbone treats as the image.
      ids: token ids.
      mask: False at padding tokens.
      train: True switches dropout on.

    Returns:
      One region per query, in training per query of all groups: boxes from
      edge to edge in input pixels, `quality` the logit of no phrase,
      `auxiliary` the outputs of the earlier layers.
    """
    size, extent = jnp.asarray(size), jnp.asarray(extent)
    memory = self.encode_image(image, size, extent, train=train)
    text = self.encode_text(ids, mask, train=train)
    return self.ground(memory, text, size, train=train)

  def _cells(
      self, size: Int[Array, 'b 2'], shape: tuple[int, int]
  ) -> tuple[Float[Array, 'b n d'], Bool[Array, 'b n']]:
    """Where the cells of a map are in their image, and which are in it."""
    own = extents.own_cells(size, 4 * 2**self.stage)
    where = positions.sine_grid(
        own,
        shape,
        self.width,
        temperature=_TEMPERATURE,
        cycles=self.cycles,
    )
    return _flat(where).astype(self.dtype), _flat(extents.inside(own, shape))

  def _heads(
      self,
      held: Float[Array, 'l b q d'],
      text: types.Text,
      size: Int[Array, 'b 2'],
  ) -> tuple[types.Outputs, ...]:
    """The outputs of each layer, of heads that all layers share."""
    tokens = jnp.where(text.mask[..., None], self.token(text.tokens), 0)
    regions = self.query_of_token(held) * self.width**-0.5
    self.sow('intermediates', 'region_embeddings', regions[-1])
    self.sow('intermediates', 'word_embeddings', tokens)
    logits = jnp.einsum(
        'lbqd,btd->lbqt',
        regions,
        tokens,
        preferred_element_type=precision.widened(self.dtype),
    )
    x = held
    for dense in self.box[:-1]:
      x = nn.relu(dense(x))
    relative = jax.nn.sigmoid(precision.widen(self.box[-1](x)))
    sides = size[:, None, [1, 0, 1, 0]].astype(relative.dtype)
    boxes = box_ops.from_centre(relative) * sides
    scalar = lambda head: precision.widen(head(held)[..., 0])
    stacked = types.Outputs(
        logits=logits,
        boxes=boxes,
        quality=scalar(self.none),
        anchors=None,
        valid=jnp.ones(boxes.shape[:-1], bool),
        objectness=scalar(self.object) if self.objectness else None,
    )
    return tuple(
        jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
        for i in range(len(held))
    )


def _flat(x: Any) -> Any:
  """[b h w ...] as [b n ...], rows first."""
  return x.reshape(x.shape[0], -1, *x.shape[3:])


def _normalized(x: Float[Array, 'b d']) -> Float[Array, 'b d']:
  """Vectors of length one."""
  wide = precision.widen(x)
  # The square's root has no slope at zero.
  square = jnp.sum(wide * wide, axis=-1, keepdims=True)
  length = jnp.sqrt(jnp.maximum(square, _SHORTEST**2))
  return (wide / length).astype(x.dtype)
