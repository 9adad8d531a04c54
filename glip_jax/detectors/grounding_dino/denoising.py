"""Denoising: noised true boxes as further queries, in training alone.

DINO (arXiv 2203.03605, section 3.3): beside the queries that must be matched,
true boxes are shifted a little, as positives that shall find their way back,
and further, as negatives that are nobody's. Where DINO has an embedding for
each class of its list, here a query starts from the mean of the tokens of its
phrase, so that any prompt can be denoised; no parameter is needed.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glip_jax import types
from glip_jax.ops import boxes as box_ops
from glip_jax.ops import phrases

_SMALLEST = 1e-4


class Noised(NamedTuple):
  """Queries of noised true boxes, group by group.

  A group holds a positive for each of m boxes, then a negative for each.

  Attributes:
    content: float[b n d] what they start from, n = groups * 2 * m.
    reference: float[b n 4] noised (cx, cy, w, h) in [0, 1].
    valid: bool[b n] False at padding rows of the truth and at crowds.
    group: int[n] number of each one's group.
  """

  content: Array
  reference: Array
  valid: Array
  group: Array


def noised_truth(
    key: Array, batch: types.Batch, text: Float[Array, 'b t d'], config: Any
) -> Noised:
  """Draws them.

  Args:
    key: of this step.
    batch: its `size`, `prompt` and `targets` are read.
    text: features of the tokens.
    config: `config.model.denoising`.

  Raises:
    ValueError: the batch has no targets.
  """
  if batch.targets is None:
    raise ValueError('batch.targets=None: denoising needs ground truth')
  truth, copies = batch.targets, 2 * config.groups
  boxes = box_ops.to_relative(jnp.asarray(truth.boxes), jnp.asarray(batch.size))
  b, m, _ = boxes.shape
  shift, swap = jax.random.split(key)
  repeat = lambda x: jnp.tile(x, (1, copies) + (1,) * (x.ndim - 2))
  far = jnp.tile(jnp.repeat(jnp.arange(2), m), config.groups)
  phrase = jnp.maximum(jnp.asarray(truth.phrase), 0)
  phrase = _swapped(swap, repeat(phrase), batch, config)
  spans = jnp.asarray(batch.prompt.spans)
  means = phrases.phrase_scores(text.swapaxes(1, 2), spans).swapaxes(1, 2)
  return Noised(
      content=jnp.take_along_axis(means, phrase[..., None], axis=1),
      reference=_shifted(shift, repeat(boxes), far, config.box_noise),
      valid=repeat(_named(truth)),
      group=jnp.repeat(jnp.arange(config.groups), 2 * m),
  )


def attend(noised: Noised, valid: Bool[Array, 'b q']) -> Bool[Array, 'b s s']:
  """Who sees whom: a group sees itself and all queries, these only each other.

  Args:
    noised: from `noised_truth`, which come first.
    valid: of the queries after them.
  """
  count, q = noised.valid.shape[1], valid.shape[1]
  group = jnp.concatenate([noised.group, jnp.full(q, -1)])
  seen = (group[:, None] == group) | (group == -1)
  present = jnp.concatenate([noised.valid, valid], axis=1)
  # A query sees itself, so that none sees nothing.
  return (seen & present[:, None]) | jnp.eye(count + q, dtype=bool)


def targets(
    batch: types.Batch, groups: int
) -> tuple[Int[Array, 'n'], Bool[Array, 'b n']]:
  """What the noised queries shall find.

  Args:
    batch: with m true boxes.
    groups: as in the config.

  Returns:
    The true box of each, and which are positives.
  """
  truth = batch.targets
  m = jnp.asarray(truth.valid).shape[1]
  row = jnp.tile(jnp.arange(m), 2 * groups)
  near = jnp.tile(jnp.repeat(jnp.array([True, False]), m), groups)
  return row, near & _named(truth)[:, row]


def _named(truth: types.Targets) -> Bool[Array, 'b m']:
  """The true boxes that a phrase names: only these have something to hold."""
  valid = jnp.asarray(truth.valid) & ~jnp.asarray(truth.crowd)
  return valid & (jnp.asarray(truth.phrase) >= 0)


def _swapped(key, phrase, batch: types.Batch, config) -> Int[Array, 'b n']:
  """Some phrases replaced by any of the prompt's."""
  named = jnp.any(jnp.asarray(batch.prompt.spans), axis=-1)
  whether, which = jax.random.split(key)
  other = jax.random.categorical(
      which, jnp.where(named, 0.0, -1e9)[:, None], shape=phrase.shape
  )
  swap = jax.random.bernoulli(whether, config.label_noise / 2, phrase.shape)
  return jnp.where(swap, other, phrase)


def _shifted(key, boxes, far, noise) -> Float[Array, 'b n 4']:
  """Edges moved by up to half a side, of negatives by up to a whole one."""
  amount, sign = jax.random.split(key)
  part = jax.random.uniform(amount, boxes.shape) + far[:, None]
  part = jnp.where(jax.random.bernoulli(sign, 0.5, boxes.shape), part, -part)
  half = jnp.tile(boxes[..., 2:] / 2, 2)
  edges = box_ops.from_centre(boxes) + part * half * noise
  edges = jnp.clip(edges, 0.0, 1.0)
  low = jnp.minimum(edges[..., :2], edges[..., 2:])
  high = jnp.maximum(edges[..., :2], edges[..., 2:])
  moved = box_ops.to_centre(jnp.concatenate([low, high], axis=-1))
  return jnp.maximum(moved, _SMALLEST)
