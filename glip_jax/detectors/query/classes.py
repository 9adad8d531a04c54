"""The class of a query: a softmax over the phrases and 'none of these'.

A phrase's logit is the mean of its tokens' logits; a phrase without tokens is
padding and has no probability.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glip_jax.ops import phrases, precision
from glip_jax.types import Outputs


def log_probabilities(
    outputs: Outputs, spans: Bool[Array, 'b c t']
) -> Float[Array, 'b r k']:
  """Logarithms of each query's probabilities, k = c + 1: phrases, then none.

  Args:
    outputs: of the model; `logits` and `quality` are read.
    spans: True at the tokens that name phrase c.

  Returns:
    The lowest float, or close to it, for phrases without tokens.

  Raises:
    ValueError: outputs.quality is None.
  """
  if outputs.quality is None:
    raise ValueError('outputs.quality=None: queries need the logit of none')
  logits = precision.widen(outputs.logits)
  logits = phrases.phrase_scores(logits, spans, mode='mean')
  named = jnp.any(spans, axis=-1)[:, None]
  logits = jnp.where(named, logits, jnp.finfo(logits.dtype).min)
  none = precision.widen(outputs.quality)[..., None]
  return jax.nn.log_softmax(jnp.concatenate([logits, none], axis=-1))
