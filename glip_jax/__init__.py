"""Grounded language-image pre-training in JAX and Flax.

import glip_jax
find = glip_jax.load('glip_t')
print(find.in_image('photo.jpg', 'a red car. dog').table())
"""

import typing

if typing.TYPE_CHECKING:
  from glip_jax.predicting import Predictor


def load(source: str, **options: typing.Any) -> 'Predictor':
  """A predictor with released weights or those of a file.

  Args:
    source: a released name ('glip_t', 'grounding_dino_t', 'llmdet_l' and so
      on: docs/weights.md), whose file is fetched once and kept; or the path
      of a file of weights.
    **options: see `loading.load`.

  Raises:
    UserError: the name is unknown, or the file cannot be had or read.
  """
  # JAX and all that follows take seconds: only for who asks.
  from glip_jax import loading

  return loading.load(source, **options)
