"""A text in which each class is one token, made of a caption of its own.

GLIP's knowledge-augmented models read a class as "name: what it is" and score
regions against one vector of it. So a text has as many tokens as classes, and
no limit on what is said of each.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glip_jax import types
from glip_jax.ops import precision


def encode(
    recipe: Any, params: Any, captions: types.ClassCaptions
) -> types.Text:
  """Encodes each caption alone, and makes a token of each.

  Args:
    recipe: a `recipe.Recipe` of a family that takes such texts.
    params: its parameters.
    captions: of c classes.

  Returns:
    A text of one row and c tokens; those of padding classes are masked.
  """
  prompt = types.Prompt(captions.ids, captions.mask, spans=None)
  text = recipe.encode_text(params, prompt)
  tokens = pool(text.tokens, jnp.asarray(captions.mask), captions.pool)
  return types.Text(tokens[None], jnp.asarray(captions.valid)[None])


def pool(
    tokens: Float[Array, 'c l d'], mask: Bool[Array, 'c l'], how: str
) -> Float[Array, 'c d']:
  """One vector of each caption.

  Args:
    tokens: of the text encoder.
    mask: False at padding tokens.
    how: 'first' or 'mean'.

  Raises:
    ValueError: `how` is neither.
  """
  if how == 'first':
    return tokens[:, 0]
  if how != 'mean':
    raise ValueError(f"pool={how!r} is neither 'first' nor 'mean'")
  wide = jnp.where(mask[..., None], precision.widen(tokens), 0)
  count = jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1)
  return (jnp.sum(wide, axis=1) / count).astype(tokens.dtype)


def as_prompt(captions: types.ClassCaptions | types.Prompt) -> types.Prompt:
  """What decoding reads: a prompt of one row in which phrase c is token c.

  Args:
    captions: of c classes; a prompt stays what it is.
  """
  if isinstance(captions, types.Prompt):
    return captions
  valid = jnp.asarray(captions.valid)
  return types.Prompt(
      ids=jnp.zeros((1, *valid.shape), jnp.int32),
      mask=valid[None],
      spans=(jnp.diag(valid))[None],
  )
