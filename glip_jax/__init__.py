"""Grounded language-image pre-training in JAX and Flax.

import glip_jax
detector = glip_jax.load('glip_t')
print(detector('photo.jpg', ['red car', 'dog']).table())

docs/predict.md has all that a detector takes and gives.
"""

import typing

if typing.TYPE_CHECKING:
  from glip_jax.predicting import Predictor
  from glip_jax.text.prompts import TextPrompt


def load(source: str, **options: typing.Any) -> 'Predictor':
  """A detector with released weights, those of a file or of a training run.

  Args:
    source: a released name ('glip_t', 'grounding_dino_t', 'llmdet_l' and so
      on: docs/weights.md), whose file is fetched once and kept; the path of a
      file of weights; or the workdir of a run.
    **options: see `loading.load`.

  Raises:
    UserError: the name is unknown, or the file cannot be had or read.
  """
  # JAX and all that follows take seconds: only for who asks.
  from glip_jax import loading

  return loading.load(source, **options)


def caption(
    text: str,
    spans: typing.Sequence[typing.Sequence[typing.Sequence[int]]] | None = None,
) -> 'TextPrompt':
  """A caption as a prompt for a detector, which finds what its phrases name.

  Args:
    text: a sentence.
    spans: of each phrase its [start, end) spans in characters of `text`; None
      for its noun phrases (see `noun_phrases.find`).

  Raises:
    UserError: the text holds no words, a span is none, or there is no noun
      phrase.
  """
  from glip_jax.text import noun_phrases, prompts

  if spans is None:
    return noun_phrases.prompt(text)
  return prompts.from_caption(text, spans)
