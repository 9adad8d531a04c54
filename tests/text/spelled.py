"""Encoded prompts as words, for the text tests."""

from glip_jax.text import prompts


def named_tokens(text, tokenizer, **settings):
  """The tokens of each phrase."""
  prompt = prompts.encode(text, tokenizer, **settings)
  return [
      tokenizer.convert_ids_to_tokens(prompt.ids[row].tolist())
      for row in prompt.spans
  ]
