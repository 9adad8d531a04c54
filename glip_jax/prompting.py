"""What a caller asks for, as the prompts that a model reads.

A list of more names than one prompt holds becomes several, whose phrases are
numbered through.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from glip_jax import errors, types
from glip_jax.data import class_captions, settings, vocabularies
from glip_jax.evaluators import chunked
from glip_jax.text import chunks, class_prompts, legible, parsing, prompts
from glip_jax.text import tokenizer as tokenizers
from glip_jax.text.vocabulary import Vocabulary

Text = prompts.TextPrompt | str | Sequence[str] | Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Asked:
  """A prompt as a model of some `config.data` reads it.

  Attributes:
    text: all that is looked for.
    chunks: the prompts that it is asked in, one or several.
    num_tokens: that each has room for at least.
  """

  text: prompts.TextPrompt
  chunks: tuple[chunks.Chunk, ...]
  num_tokens: int

  def encoded(
      self, data: settings.Data, num_tokens: int
  ) -> list[tuple[int, types.Prompt | types.ClassCaptions]]:
    """Label of the first phrase of each chunk, and its prompt of one row.

    Args:
      data: `config.data`.
      num_tokens: length of the prompts; there is room for half as many phrases,
        more than any list of names has, and for all of a caption.
    """
    if data.class_captions:
      most = max(data.num_phrases, *(len(c.text.phrases) for c in self.chunks))
      encoder = class_captions.to_captions(self.text, data, most)
    else:
      longest = max(len(chunk.text.phrases) for chunk in self.chunks)
      encoder = dataclasses.replace(
          settings.to_element(data),
          num_tokens=num_tokens,
          num_phrases=max(num_tokens // 2, longest),
      )
    return [
        (chunk.first, chunked.row(encoder.encode(chunk.text)))
        for chunk in self.chunks
    ]


def as_prompt(text: Text) -> prompts.TextPrompt:
  """The prompt that a caller means by a text, names, or a prompt.

  Raises:
    UserError: it is none of these, or holds no words.
  """
  if isinstance(text, prompts.TextPrompt):
    return text
  if isinstance(text, Mapping):
    wordings = class_prompts.parse(text, 'prompt')
    return class_prompts.prompt(tuple(wordings), wordings)
  is_list = isinstance(text, (list, tuple))
  if isinstance(text, str) or (
      is_list and all(isinstance(name, str) for name in text)
  ):
    return parsing.read_prompt(text)
  raise errors.UserError(
      f'a prompt of type {type(text).__name__} is none: give a text such as'
      " 'cat. dog', a list of names, or names with their prompts"
  )


def is_one_each(text: Any) -> bool:
  """Whether it is a list of prompts, one for each image.

  A list of texts is one list of names; prompts of one text each are written
  `[['cat'], ['dog']]`.

  Args:
    text: what a caller gives.
  """
  return isinstance(text, (list, tuple)) and any(
      isinstance(each, (list, tuple, Mapping, prompts.TextPrompt))
      for each in text
  )


def read(data: settings.Config, text: Text) -> Asked:
  """Makes prompts of what a caller asks for, and refuses what cannot be read.

  Args:
    data: `config.data` of the model: its tokenizer and tokens.
    text: what `parsing.read_prompt` reads, names with their prompts as
      `class_prompts.parse` takes them, or a prompt, such as one with spans of
      `prompts.from_caption`.

  Raises:
    UserError: it is no prompt or holds no words; the tokenizer knows no word of
      a name, or two names of a list have the same tokens.
    PromptTooLong: one name, or a caption, has more tokens than the model reads.
  """
  data, text = settings.read_data(data), as_prompt(text)
  if data.class_captions:
    size = data.chunk_names or max(data.num_phrases, len(text.phrases))
    class_captions.to_captions(text, data, size)  # Refuses what is too long.
    return Asked(text, tuple(chunks.split(text, size)), data.num_tokens)
  element = dataclasses.replace(
      settings.to_element(data), num_phrases=max(len(text.phrases), 1)
  )
  is_list = bool(text.pieces) or legible.is_list(text)
  try:
    prompt = element.encode_and_tell(text)
  except prompts.PromptTooLong:
    if not is_list or len(text.phrases) == 1:
      raise
    return _in_chunks(data, text)
  legible.check_distinct(text, prompt)
  if is_list and 0 < data.chunk_names < len(text.phrases):
    return _in_chunks(data, text)
  return Asked(text, (chunks.Chunk(0, text),), int(prompt.mask.sum()))


def _in_chunks(data: settings.Data, text: prompts.TextPrompt) -> Asked:
  """A list of names, as many in each prompt as have room."""
  tokenizer = tokenizers.load_tokenizer(data.tokenizer)
  vocabulary = Vocabulary(text.phrases, tokenizer, text)
  legible.check_groups(vocabulary.same())
  # There is room for the phrases of any list.
  own = dataclasses.replace(data, num_phrases=len(text.phrases))
  several = vocabularies.split_vocabulary(text, vocabulary, own)
  return Asked(text, tuple(several), data.num_tokens)
