"""Names that are encoded before a detector is exported."""

import dataclasses
from typing import Any

import jax
import numpy as np

from glip_jax import predicting, prompting, types
from glip_jax.data import settings
from glip_jax.detectors import class_tokens
from glip_jax.text import prompts


def encode(
    predictor: predicting.Predictor, whole: prompts.TextPrompt, size: int
) -> dict[str, Any]:
  """Encodes names in one prompt or in several, each of as many.

  Args:
    predictor: the model.
    whole: the list of all names.
    size: names of each of several prompts at most; 0 for as many as have room.

  Returns:
    Of n prompts 'encoded', the attributes of `types.Text`, and 'prompt', those
    of `types.Prompt`, each with axes 'n 1 ...'; and 'first', int32[n], the
    label of their first phrases.

  Raises:
    UserError: names cannot be read, are the same to the model, or too long.
  """
  data = settings.read_data(predictor.data)
  data = dataclasses.replace(data, chunk_names=size)
  asked = prompting.read(data, whole)
  rows = [
      _row(predictor, first, prompt)
      for first, prompt in asked.encoded(data, data.num_tokens)
  ]
  return jax.tree.map(lambda *x: np.stack(x), *rows)


def _row(predictor: Any, first: int, prompt: Any) -> dict[str, Any]:
  """One prompt encoded, as arrays by name."""
  text = predictor.detector.encode_text(prompt)
  if isinstance(prompt, types.ClassCaptions):
    prompt = class_tokens.as_prompt(prompt)
  return dict(
      encoded=_attributes(text),
      prompt=_attributes(prompt),
      first=np.int32(first),
  )


def _attributes(struct: Any) -> dict[str, np.ndarray]:
  """The arrays of a struct that it has, by name."""
  own = {each.name: getattr(struct, each.name)
         for each in dataclasses.fields(struct)}  # fmt: skip
  return {name: np.asarray(x) for name, x in own.items() if x is not None}
