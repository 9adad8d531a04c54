"""From token scores to phrase scores."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


def phrase_scores(
    probabilities: Float[Array, 'b r t'],
    spans: Bool[Array, 'b c t'],
    *,
    mode: str = 'mean',
) -> Float[Array, 'b r c']:
  """Scores every region against every phrase.

  The one conversion from tokens to phrases; GLIP's SCORE_AGG.

  Args:
    probabilities: sigmoids of the region-word logits, in [0, 1]; their mean
      may be taken of the logits themselves.
    spans: True at the tokens that name phrase c.
    mode: 'mean' or 'max' over the tokens of the phrase.

  Returns:
    Scores, of probabilities in [0, 1]; 0 for a phrase without tokens.

  Raises:
    ValueError: if `mode` is neither.
  """
  if mode not in MODES:
    raise ValueError(f'mode={mode!r} is not one of {tuple(MODES)}')
  return MODES[mode](probabilities, spans)


def _mean(
    probabilities: Float[Array, 'b r t'], spans: Bool[Array, 'b c t']
) -> Float[Array, 'b r c']:
  count = jnp.maximum(jnp.sum(spans, axis=-1), 1)
  # Accelerators would otherwise round the probabilities to bfloat16 or TF32.
  total = jnp.einsum(
      'brt,bct->brc',
      probabilities,
      spans.astype(probabilities.dtype),
      precision=lax.Precision.HIGHEST,
  )
  return total / count[:, None, :]


def _max(
    probabilities: Float[Array, 'b r t'], spans: Bool[Array, 'b c t']
) -> Float[Array, 'b r c']:
  # One phrase at a time: [b r c t] at once would be gigabytes.
  def score(span: Bool[Array, 'b t']) -> Float[Array, 'b r']:
    return jnp.max(probabilities, axis=-1, initial=0.0, where=span[:, None])

  return jnp.moveaxis(lax.map(score, jnp.moveaxis(spans, 1, 0)), 0, -1)


MODES = {'mean': _mean, 'max': _max}
