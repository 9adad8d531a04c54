"""The decoder: queries look at each other, at the text and at the image.

Each query carries a reference, the box that it has found so far: (cx, cy, w, h)
in [0, 1] of the image. Every layer reads the image there and moves it.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from glip_jax.detectors.grounding_dino.encoder import norm
from glip_jax.detectors.grounding_dino.pyramid import Geometry
from glip_jax.models import attention, deformable_attention
from glip_jax.ops import activations, positions, precision

_TEMPERATURE = 10_000.0
# (x, y, w, h) in the order of the waves: y, x, w, h.
_ORDER = (1, 0, 2, 3)


@struct.dataclass
class Inputs:
  """What every layer of the decoder reads.

  Attributes:
    image: float[b n d] positions of the pyramid.
    geometry: where they lie.
    text: float[b t d] tokens.
    mask: bool[b t] False at padding tokens.
    attend: bool[b q q] False where a query does not see another; None where
      all see all.
  """

  image: Array
  geometry: Geometry
  text: Array
  mask: Array
  attend: Array | None = None


class DecoderLayer(nn.Module):
  """Attention to queries, text and image, and an MLP; post-norm."""

  sizes: Any  # The family's config of the decoder.
  dtype: Any

  @nn.compact
  def __call__(self, carry, heads, inputs: Inputs, place_head, train: bool):
    hidden, entered = carry
    reference = jax.lax.stop_gradient(entered)
    waves = _place_waves(
        reference, inputs.geometry, hidden.shape[-1] // 2
    ).astype(self.dtype)
    place = apply_mlp(place_head, waves).astype(self.dtype)
    self.sow('intermediates', 'query_pos', place)
    hidden = self._look(hidden, place, reference, inputs, train)
    self.sow('intermediates', 'hidden', hidden)
    moved = activations.inverse_sigmoid(reference) + apply_mlp(heads, hidden)
    moved = jax.nn.sigmoid(moved)
    self.sow('intermediates', 'reference', moved)
    return (hidden, moved), (hidden, entered)

  def _look(self, hidden, place, reference, inputs, train):
    own = self.sizes
    drop = nn.Dropout(own.dropout_rate, deterministic=not train)
    add = lambda x, y, name: self._norm(f'{name}_norm', x + drop(y))
    look = lambda name: attention.MultiHeadAttention(
        own.num_heads, own.dropout_rate, self.dtype, name=name
    )
    query = hidden + place
    y = look('queries')(query, query, hidden, inputs.attend, train=train)
    hidden = add(hidden, y, 'queries')
    y = look('text')(
        hidden + place,
        inputs.text,
        inputs.text,
        inputs.mask[:, None],
        train=train,
    )
    hidden = add(hidden, y, 'text')
    valid = inputs.geometry.valid_xy[:, None]
    y = deformable_attention.DeformableAttention(
        own.num_heads, own.num_points, self.dtype, name='image'
    )(
        hidden + place,
        reference[:, :, None, :2] * valid - 0.5,
        reference[:, :, None, 2:] * valid * (0.5 / own.num_points),
        inputs.image,
        inputs.geometry.within(inputs.geometry.valid),
        inputs.geometry.sizes,
    )
    hidden = add(hidden, y, 'image')
    y = attention.FeedForward(
        own.mlp_width, own.dropout_rate, self.dtype, name='mlp'
    )(hidden, train=train)
    return add(hidden, y, 'mlp')

  def _norm(self, name: str, x: Array) -> Array:
    y = norm(dtype=self.dtype, name=name)(x)
    self.sow('intermediates', f'{name}_out', y)
    return y


def _place_waves(
    reference: Float[Array, 'b q 4'], geometry: Geometry, width: int
) -> Float[Array, 'b q d']:
  """Waves of where a query looks, `width` channels for each coordinate."""
  own = geometry.valid[0] / geometry.cells[0]
  ratio = jnp.concatenate([own[:, ::-1]] * 2, axis=-1)[:, None]
  angle = (reference * ratio)[..., jnp.array(_ORDER)] * (2 * jnp.pi)
  waves = positions.sine_points(angle, width, temperature=_TEMPERATURE)
  return waves.reshape(*reference.shape[:2], -1)


class StackedMlp(nn.Module):
  """Weights of MLPs with ReLU between their layers, for `apply_mlp`.

  Attributes:
    count: number of MLPs, for example one for each layer of the decoder.
    widths: of the inputs, the hidden layers and the outputs.
    zero_last: True starts the last layer's kernel at zero.
  """

  count: int
  widths: Sequence[int]
  zero_last: bool = True

  @nn.compact
  def __call__(self) -> tuple[tuple[Array, Array], ...]:
    """(kernel, bias) of each layer, with an axis of MLPs before."""
    weights = []
    last = len(self.widths) - 2
    for i, (n, m) in enumerate(itertools.pairwise(self.widths)):
      init = nn.initializers.xavier_uniform(batch_axis=0)
      if i == last and self.zero_last:
        init = nn.initializers.zeros
      kernel = self.param(f'layer{i}_kernel', init, (self.count, n, m))
      bias = self.param(
          f'layer{i}_bias', nn.initializers.zeros, (self.count, m)
      )
      weights.append((kernel, bias))
    return tuple(weights)


def apply_mlp(
    weights: Sequence[tuple[Array, Array]], x: Float[Array, '*n d']
) -> Float[Array, '*n o']:
  """An MLP with ReLU between its layers; the result in float32 at least.

  Args:
    weights: (kernel, bias) of each layer, both with as many leading axes of
      MLPs as `x` has.
    x: inputs.
  """
  for i, (kernel, bias) in enumerate(weights):
    x = nn.relu(x) if i else x
    lead = (1,) * (x.ndim - kernel.ndim)
    bias = bias.reshape(*bias.shape[:-1], *lead, 1, bias.shape[-1])
    kernel = kernel.reshape(*kernel.shape[:-2], *lead, *kernel.shape[-2:])
    x = x @ kernel.astype(x.dtype) + bias.astype(x.dtype)
  return precision.widen(x)


class Decoder(nn.Module):
  """A stack of decoder layers under one scan, with their heads of boxes.

  Attributes:
    sizes: `config.model.decoder`.
    dtype: of the matrix products.
  """

  sizes: Any
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      content: Float[Array, 'b q d'],
      reference: Float[Array, 'b q 4'],
      inputs: Inputs,
      *,
      train: bool = False,
  ) -> tuple[Float[Array, 'y b q d'], Float[Array, 'y b q 4']]:
    """Refines queries.

    Args:
      content: what they start from.
      reference: the boxes that they start from.
      inputs: what they look at.
      train: True switches dropout on (rng 'dropout').

    Returns:
      Features and boxes (cx, cy, w, h) in [0, 1] after each of y layers.
    """
    own, width = self.sizes, content.shape[-1]
    count = 1 if own.share_heads else own.depth
    heads = StackedMlp(count, (width, width, width, 4), name='boxes')()
    heads = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (own.depth, *x.shape[1:])), heads
    )
    place_head = StackedMlp(
        1, (2 * width, width, width), zero_last=False, name='place'
    )()
    place_head = jax.tree.map(lambda x: x[0], place_head)
    layer = DecoderLayer
    if own.remat:
      layer = nn.remat(layer, static_argnums=(5,), prevent_cse=False)
    layers = nn.scan(
        layer,
        variable_axes={'params': 0, 'intermediates': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
        length=own.depth,
    )
    _, (hidden, entered) = layers(own, self.dtype, name='layers')(
        (content, reference), heads, inputs, place_head, train
    )
    if not own.look_forward_twice:
      entered = jax.lax.stop_gradient(entered)
    hidden = norm(dtype=self.dtype, name='norm')(hidden)
    moved = activations.inverse_sigmoid(entered) + apply_mlp(heads, hidden)
    boxes = jax.nn.sigmoid(moved)
    self.sow('intermediates', 'normed', hidden)
    self.sow('intermediates', 'refined', boxes)
    return hidden, boxes
