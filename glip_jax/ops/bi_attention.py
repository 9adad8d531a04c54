"""Bidirectional attention between image positions and tokens, in one pass.

One matrix of logits S between n positions and t tokens serves both directions:
its softmax over tokens weighs what each position hears, its softmax over
positions what each token hears (GLIP, arXiv 2112.03857, equations 4-6).

Two changes of form leave the numbers as they are. The projections of the image
are absorbed into the text side: with heads of 256 channels, an image of as many
and as many tokens, S = image @ (W_query K^T) and the messages need no matrix of
n x heads x channels, which halves the arithmetic. And positions are visited in
chunks: a position's softmax over tokens is complete within its chunk; a
token's softmax over positions is kept as a running maximum, sum and weighted
sum. So S is never stored, forward or backward.

And tokens at the end that are padding in all prompts of a batch are left out
when the program runs (`token_lengths`).
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glip_jax.ops import blocks, forms, precision, token_lengths

# The reference's bound on logits, which half precision needs.
_CLAMP = 50_000.0
# Below every logit: what the softmax over positions starts from.
_LOWEST = -2 * _CLAMP
# The logits of positions outside, the reference's own of what is not attended
# to: finite, so that gradients are, and its exponential is zero beside any
# other, _LOWEST included.
_PADDING = -9e15
# Added to logits of padding tokens; nothing is left of the logit in the sum.
_NEVER = -1e30


class Affine(NamedTuple):
  """x @ kernel + bias."""

  kernel: Float[Array, 'i o']
  bias: Float[Array, 'o']

  def __call__(self, x: Float[Array, '*n i']) -> Float[Array, '*n o']:
    """Applies it in the type of `x`."""
    return x @ self.kernel.astype(x.dtype) + self.bias.astype(x.dtype)


class Projections(NamedTuple):
  """The six projections: image of width d, text of width e, heads of width w.

  Attributes:
    image_query: d -> w.
    text_key: e -> w.
    image_value: d -> w, what tokens hear.
    text_value: e -> w, what positions hear.
    image_out: w -> d.
    text_out: w -> e.
  """

  image_query: Affine
  text_key: Affine
  image_value: Affine
  text_value: Affine
  image_out: Affine
  text_out: Affine


class _Dropout(NamedTuple):
  """Drops attention weights with a key for each chunk; None drops nothing."""

  rate: float
  key: Array | None

  def __call__(self, weights: Array, chunk: Array | int, side: int) -> Array:
    if self.key is None:
      return weights
    keep = dropout_keep(self.key, chunk, side, weights.shape, self.rate)
    return jnp.where(keep, weights / (1 - self.rate), 0)


class _Tokens(NamedTuple):
  """The text side with the image's projections absorbed.

  Attributes:
    query: position -> logits of every head and token.
    bias: of those logits.
    value: what a position hears from a token of full weight.
    mask: False at padding tokens.
  """

  query: Float[Array, 'b d h t']
  bias: Float[Array, 'b h t']
  value: Float[Array, 'b h t d']
  mask: Bool[Array, 'b t']


class _Running(NamedTuple):
  """Softmax over the positions visited so far, and what it weighs.

  Attributes:
    peak: largest logit.
    total: sum of exp(logit - peak).
    kept: the same sum after dropout.
    context: the dropped weights' sum of positions.
  """

  peak: Float[Array, 'b h t']
  total: Float[Array, 'b h t']
  kept: Float[Array, 'b h t']
  context: Float[Array, 'b d h t']


def bi_attention(
    image: Float[Array, 'b n d'],
    text: Float[Array, 'b t e'],
    inside: Bool[Array, 'b n'],
    mask: Bool[Array, 'b t'],
    projections: Projections,
    *,
    num_heads: int,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
    chunk: int = 768,
) -> tuple[Float[Array, 'b n d'], Float[Array, 'b t e']]:
  """What image positions and tokens tell each other.

  Args:
    image: normalised features of positions; computed on in their own dtype,
      softmax and sums in float32.
    text: normalised features of tokens.
    inside: False at positions outside the image, which no token attends to,
      and which attend to all tokens evenly.
    mask: False at padding tokens, which no position attends to; a prompt of
      padding alone is attended to evenly.
    projections: the learned weights.
    num_heads: divides the width of the heads.
    dropout_rate: of both attention matrices.
    dropout_key: None for no dropout.
    chunk: positions that are visited at a time, at most; a third less where
      that fills up less. Changes speed and memory, and with dropout the draw.

  Returns:
    The messages to positions and to tokens; those to padding tokens are
    meaningless, and zero where the tokens are left out.
  """
  attend = functools.partial(
      _attend,
      image,
      inside=inside,
      projections=projections,
      num_heads=num_heads,
      dropout=_Dropout(dropout_rate, dropout_key if dropout_rate else None),
      chunk=chunk,
  )
  # A small image is not worth branches.
  if image.shape[1] <= chunk:
    return attend(text, mask)
  return token_lengths.without_padding(attend, text, mask)


def _attend(
    image, text, mask, *, inside, projections, num_heads, dropout, chunk
):
  """The messages, of all tokens that are given."""
  tokens = _absorb(text, mask, projections, num_heads)
  visit = functools.partial(_visit, tokens=tokens, dropout=dropout)
  b, n, d = image.shape
  running = _start((b, num_heads, text.shape[1]), d, image.dtype, inside)
  if n <= chunk or not forms.is_on('fusion_chunks'):
    running, heard = visit(running, (image, inside, 0))
  else:
    layout = blocks.Blocks.between((n,), -(-chunk * 2 // 3), chunk)
    split = layout.cut(image, 1), layout.cut(inside, 1)
    again = jax.checkpoint(visit) if forms.is_on('fusion_remat') else visit
    running, heard = jax.lax.scan(
        again, running, (*split, jnp.arange(len(split[0])))
    )
    heard = layout.join(heard, 1)
  heard += projections.image_out.bias.astype(heard.dtype)
  return heard, _to_text(running, projections, image.dtype)


def dropout_keep(
    key: Array, chunk: Array | int, side: int, shape: tuple, rate: float
) -> Bool[Array, 'b n h t']:
  """What dropout keeps of a chunk's attention.

  Args:
    key: of the whole call.
    chunk: number of the chunk.
    side: 0 for what positions hear, 1 for what tokens hear.
    shape: of the result.
    rate: share that is dropped.
  """
  key = jax.random.fold_in(jax.random.fold_in(key, chunk), side)
  return jax.random.bernoulli(key, 1 - rate, shape)


def _absorb(
    text: Float[Array, 'b t e'],
    mask: Bool[Array, 'b t'],
    projections: Projections,
    num_heads: int,
) -> _Tokens:
  """The text side of all products with positions."""
  heads = lambda x: x.reshape(*x.shape[:-1], num_heads, -1)
  key = heads(projections.text_key(text))
  key *= key.shape[-1] ** -0.5
  # Tokens of an empty prompt are attended to evenly, whatever they are.
  key = jnp.where(mask.any(axis=1)[:, None, None, None], key, 0)
  query = projections.image_query
  out = projections.image_out.kernel.astype(text.dtype)
  out = out.reshape(num_heads, -1, out.shape[-1])
  return _Tokens(
      query=jnp.einsum(
          'dhc,bthc->bdht', heads(query.kernel.astype(text.dtype)), key
      ),
      bias=jnp.einsum(
          'hc,bthc->bht', heads(query.bias.astype(text.dtype)), key
      ),
      value=jnp.einsum(
          'bthc,hcd->bhtd', heads(projections.text_value(text)), out
      ),
      mask=mask,
  )


def _start(
    shape: tuple[Any, int, int],
    width: int,
    dtype: Any,
    inside: Bool[Array, 'b n'],
) -> _Running:
  """No position visited."""
  # Made from an input, so that under `shard_map` they vary with the device as
  # what is added does.
  zero = inside[0, 0].astype(precision.widened(dtype)) * 0
  zeros = jnp.zeros(shape, zero.dtype) + zero
  context = jnp.zeros((shape[0], width, *shape[1:]), zero.dtype) + zero
  return _Running(zeros + _LOWEST, zeros, zeros, context)


def _visit(running: _Running, positions, *, tokens: _Tokens, dropout: _Dropout):
  """Adds a chunk of positions; returns what they hear."""
  image, inside, chunk = positions
  logits = jnp.einsum(
      'bnd,bdht->bnht',
      image,
      tokens.query,
      preferred_element_type=precision.widened(image.dtype),
  )
  logits = jnp.clip(logits + tokens.bias[:, None], -_CLAMP, _CLAMP)
  # One masked matrix serves both directions: tokens are masked by a sum, which
  # takes no pass.
  logits = jnp.where(inside[:, :, None, None], logits, _PADDING)
  never = jnp.where(tokens.mask, 0, jnp.asarray(_NEVER, logits.dtype))
  to_tokens = jax.nn.softmax(logits + never[:, None, None], axis=-1)
  heard = jnp.einsum(
      'bnht,bhtd->bnd',
      dropout(to_tokens, chunk, 0).astype(image.dtype),
      tokens.value,
  )
  peak = jnp.maximum(running.peak, jax.lax.stop_gradient(logits.max(axis=1)))
  weights = jnp.exp(logits - peak[:, None])
  kept = dropout(weights, chunk, 1)
  fade = jnp.exp(running.peak - peak)
  # Tokens last: XLA's CPU product takes half as long as with tokens first.
  # Heads and tokens in one axis: of bfloat16 it knows no other.
  context = jnp.einsum(
      'bnd,bnk->bdk',
      image,
      kept.astype(image.dtype).reshape(*image.shape[:2], -1),
      preferred_element_type=logits.dtype,
  ).reshape(running.context.shape)
  running = _Running(
      peak=peak,
      total=running.total * fade + weights.sum(axis=1),
      kept=running.kept * fade + kept.sum(axis=1),
      context=running.context * fade[:, None] + context,
  )
  return running, heard


def _to_text(
    running: _Running, projections: Projections, dtype
) -> Float[Array, 'b t e']:
  """What tokens hear: the projected mean of positions."""
  # An image without positions tells nothing.
  total = jnp.where(running.total > 0, running.total, 1)
  context = (running.context / total[:, None]).astype(dtype)
  num_heads = context.shape[2]
  kernel, bias = (x.astype(dtype) for x in projections.image_value)
  heard = jnp.einsum(
      'bdht,dhc->bthc',
      context,
      kernel.reshape(kernel.shape[0], num_heads, -1),
  )
  # After dropout the weights of a token no longer sum to one.
  share = (running.kept / total).astype(dtype).swapaxes(1, 2)
  heard += share[..., None] * bias.reshape(num_heads, -1)
  return projections.text_out(heard.reshape(*heard.shape[:2], -1))
