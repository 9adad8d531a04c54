"""A tiny query model, and images of noise with boxes and prompts for it."""

import abstract_models
import jax
import numpy as np

from glip_jax import types

CHANGES = {
    'backbone.depths': (1, 1),
    'backbone.width': 4,
    'language.vocab_size': 50,
    'language.width': 16,
    'language.depth': 1,
    'language.num_heads': 2,
    'language.mlp_width': 16,
    'width': 16,
    'num_queries': 6,
    'encoder.depth': 1,
    'encoder.num_heads': 2,
    'encoder.mlp_width': 16,
    'decoder.depth': 2,
    'decoder.num_heads': 2,
    'decoder.mlp_width': 16,
    # The encoder norms first, the decoder last.
    'decoder.norm_first': False,
    'objectness': 'head',
}
# (height, width) of images, which are multiples of nothing.
SIZES = ((37, 51), (64, 33), (17, 64))
NUM_TOKENS, NUM_PHRASES, NUM_BOXES = 12, 4, 4


def recipe(**changes):
  """The tiny model."""
  return abstract_models.build('query_shapes', CHANGES | changes)


def element(i: int, canvas: tuple[int, int], num_tokens: int) -> types.Batch:
  """Image i in a canvas, without a batch axis; drawn from i alone."""
  rng = np.random.default_rng(i)
  size = np.array(SIZES[i], np.int32)
  image = np.zeros((*canvas, 3), np.uint8)
  image[: size[0], : size[1]] = rng.integers(0, 256, (*size, 3), np.uint8)
  length, count = 7 + 2 * i, i + 1
  ids = np.zeros(num_tokens, np.int32)
  ids[:length] = rng.integers(1, 50, length)
  spans = np.zeros((NUM_PHRASES, num_tokens), bool)
  spans[0, 1:3] = spans[1, 4] = True
  if i:
    spans[2, 5:7] = True
  corners = np.sort(rng.uniform(0, 1, (NUM_BOXES, 2, 2)), axis=1)
  boxes = (corners * size[::-1]).reshape(-1, 4).astype(np.float32)
  return types.Batch(
      image=image,
      size=size,
      extent=size,
      scale=np.ones(2, np.float32),
      id=np.int32(i),
      prompt=types.Prompt(ids, np.arange(num_tokens) < length, spans),
      targets=types.Targets(
          boxes=boxes,
          phrase=rng.integers(0, 2, NUM_BOXES).astype(np.int32),
          tokens=np.zeros((NUM_BOXES, num_tokens), bool),
          valid=np.arange(NUM_BOXES) < count,
          crowd=np.zeros(NUM_BOXES, bool),
      ),
  )


def batch(
    images, canvas: tuple[int, int] = (64, 64), num_tokens: int = NUM_TOKENS
) -> types.Batch:
  """These images in one canvas."""
  rows = [element(i, canvas, num_tokens) for i in images]
  return jax.tree.map(lambda *x: np.stack(x), *rows)
