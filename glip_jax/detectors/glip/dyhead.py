"""Dynamic head tower: fusion, text layer and DyConv, block after block.

Each block lets image and text attend to each other (BiAttention), refines the
text with a BERT layer, and runs the dynamic head's convolution (arXiv
2106.08322) on the image. Blocks are stacked under one scan, so parameters of
all blocks stand in one array with the block first.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax.detectors.glip import dyconv
from glip_jax.models import bert
from glip_jax.ops import anchors, extents

Levels = tuple[Float[Array, 'b _ _ d'], ...]


class DyHead(nn.Module):
  """The tower between the two encoders and the detection head.

  Attributes:
    width: channels of every level.
    depth: number of blocks.
    num_groups: of every GroupNorm.
    fusion: makes the fusion module of a block (called with its name), or None
      for late fusion (variant A), where blocks have no text layer either.
    text_num_heads: attention heads of the text layers.
    text_mlp_width: hidden width of their MLPs.
    text_dropout_rate: their dropout in training.
    remat: True recomputes blocks in the backward pass: less memory.
    strides: of the levels in pixels.
    unroll: blocks that one iteration of the scan holds; more compile time,
      less overhead for small models.
    dtype: of the matrix products.
  """

  width: int = 256
  depth: int = 6
  num_groups: int = 16
  fusion: Callable[..., nn.Module] | None = None
  text_num_heads: int = 12
  text_mlp_width: int = 3072
  text_dropout_rate: float = 0.1
  remat: bool = True
  strides: tuple[int, ...] = anchors.STRIDES
  unroll: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      levels: Levels,
      text: Float[Array, 'b t e'] | None,
      mask: Bool[Array, 'b t'] | None,
      extent: Int[Array, 'b 2'],
      *,
      train: bool = False,
  ) -> tuple[Levels, Float[Array, 'b t e'] | None]:
    """Runs all blocks.

    Args:
      levels: pyramid, finest first.
      text: token features; None for late fusion, which never looks at them.
      mask: False at padding tokens; None where there is no text.
      extent: (h, w) in pixels that each image spans, multiples of 32.
      train: True switches dropout on.

    Returns:
      Levels and text of the same shapes; levels are meaningless outside the
      extent.
    """
    cells = tuple(extents.own_cells(extent, s) for s in self.strides)
    block = nn.remat(Block, static_argnums=(4,)) if self.remat else Block
    blocks = nn.scan(
        block,
        variable_axes={'params': 0, 'intermediates': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=(nn.broadcast, nn.broadcast, nn.broadcast),
        length=self.depth,
        unroll=self.unroll,
    )(
        width=self.width,
        num_groups=self.num_groups,
        fusion=self.fusion,
        text_num_heads=self.text_num_heads,
        text_mlp_width=self.text_mlp_width,
        text_dropout_rate=self.text_dropout_rate,
        dtype=self.dtype,
        name='blocks',
    )
    (levels, text), _ = blocks((levels, text), mask, cells, train)
    return levels, text


class Block(nn.Module):
  """One block, in the form that nn.scan wants."""

  width: int
  num_groups: int
  fusion: Callable[..., nn.Module] | None
  text_num_heads: int
  text_mlp_width: int
  text_dropout_rate: float
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self,
      carry: tuple[Levels, Any],
      mask: Bool[Array, 'b t'] | None,
      cells: dyconv.Cells,
      train: bool,
  ) -> tuple[tuple[Levels, Any], None]:
    levels, text = carry
    if self.fusion is not None:
      levels, text = self._fuse(levels, text, mask, cells, train)
      text = bert.BertLayer(
          self.text_num_heads,
          self.text_mlp_width,
          self.text_dropout_rate,
          clamp=50_000.0,
          dtype=self.dtype,
          name='text',
      )(text, mask, train=train)
      self.sow('intermediates', 'lang_text', text)
    levels = dyconv.DyConv(
        self.width, self.num_groups, dtype=self.dtype, name='dyconv'
    )(levels, cells)
    for i, x in enumerate(levels, start=3):
      self.sow('intermediates', f'dyconv_p{i}', x)
    return (levels, text), None

  def _fuse(self, levels: Levels, text, mask, cells, train):
    flat = flatten_levels(levels)
    sizes = [x.shape[1:3] for x in levels]
    inside = [
        extents.inside(own, size).reshape(flat.shape[0], -1)
        for own, size in zip(cells, sizes, strict=True)
    ]
    flat, text = self.fusion(name='fusion')(
        flat, text, jnp.concatenate(inside, axis=1), mask, train=train
    )
    levels = split_levels(flat, sizes)
    for i, x in enumerate(levels, start=3):
      self.sow('intermediates', f'fuse_p{i}', x)
    self.sow('intermediates', 'fuse_text', text)
    return levels, text


def flatten_levels(levels: Levels) -> Float[Array, 'b n d']:
  """All positions of a pyramid in one axis: levels in order, rows first."""
  return jnp.concatenate(
      [x.reshape(x.shape[0], -1, x.shape[-1]) for x in levels], axis=1
  )


def split_levels(
    flat: Float[Array, 'b n d'], sizes: list[tuple[int, int]]
) -> Levels:
  """Undoes `flatten_levels`; `sizes` are the (h, w) of the levels."""
  counts = [h * w for h, w in sizes]
  ends = [sum(counts[: i + 1]) for i in range(len(counts) - 1)]
  parts = jnp.split(flat, ends, axis=1)
  return tuple(
      x.reshape(x.shape[0], h, w, x.shape[-1])
      for x, (h, w) in zip(parts, sizes, strict=True)
  )
