"""Names that are encoded before a detector is exported."""

import dataclasses
from typing import Any

import jax
import numpy as np

from glip_jax import errors, predicting, types
from glip_jax.data import class_captions, settings, vocabularies
from glip_jax.detectors import class_tokens
from glip_jax.text import chunks, prompts, vocabulary
from glip_jax.text import tokenizer as tokenizers


def encode(
    predictor: predicting.Predictor, whole: prompts.TextPrompt, size: int
) -> dict[str, Any]:
  """Encodes names in one prompt or in several, each of as many.

  Args:
    predictor: the model.
    whole: the list of all names.
    size: names of each of several prompts; 0 for one prompt of all.

  Returns:
    Of n prompts 'encoded', the attributes of `types.Text`, and 'prompt', those
    of `types.Prompt`, each with axes 'n 1 ...'; and 'first', int32[n], the
    label of their first phrases.

  Raises:
    UserError: names cannot be read, are the same to the model, or too long.
  """
  data = settings.read_data(predictor.data)
  own = _chunks(data, whole, size)
  longest = max(len(chunk.text.phrases) for chunk in own)
  if data.class_captions:
    element = class_captions.to_captions(whole, data, longest)
  else:
    element = dataclasses.replace(
        settings.to_element(data), num_phrases=longest
    )
  rows = [_row(predictor, chunk, element.encode(chunk.text)) for chunk in own]
  return jax.tree.map(lambda *x: np.stack(x), *rows)


def _row(predictor, chunk: chunks.Chunk, prompt: Any) -> dict[str, Any]:
  """One prompt encoded, as arrays by name."""
  if not isinstance(prompt, types.ClassCaptions):
    prompt = jax.tree.map(lambda x: x[None], prompt)
  text = predictor.detector.encode_text(prompt)
  if isinstance(prompt, types.ClassCaptions):
    prompt = class_tokens.as_prompt(prompt)
  return dict(
      encoded=_attributes(text),
      prompt=_attributes(prompt),
      first=np.int32(chunk.first),
  )


def _attributes(struct: Any) -> dict[str, np.ndarray]:
  """The arrays of a struct that it has, by name."""
  own = {each.name: getattr(struct, each.name)
         for each in dataclasses.fields(struct)}  # fmt: skip
  return {name: np.asarray(x) for name, x in own.items() if x is not None}


def _chunks(
    data: settings.Data, whole: prompts.TextPrompt, size: int
) -> list[chunks.Chunk]:
  """The prompts of a list of names."""
  if not size:
    predicting.check_prompt(data, whole)
    return [chunks.Chunk(0, whole)]
  data = dataclasses.replace(
      data, chunk_names=size, num_phrases=len(whole.phrases)
  )
  loaded = tokenizers.load_tokenizer(data.tokenizer)
  read = vocabulary.Vocabulary(whole.phrases, loaded, whole)
  if groups := read.same():
    raise errors.UserError(
        f'{groups} are the same tokens, so the model cannot tell them apart:'
        ' leave one out, or call it by other words'
    )
  return vocabularies.split_vocabulary(whole, read, data)
