"""What a model can read of the phrases of an encoded prompt.

A model sees tokens: phrases that differ on paper may be the same to it, and
words of a script that the tokenizer lacks are all one token, [UNK].
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glip_jax import errors, types
from glip_jax.text import prompts

if TYPE_CHECKING:
  import transformers

_QUOTED = 5


def check_known(
    text: prompts.TextPrompt,
    prompt: types.Prompt,
    tokenizer: 'transformers.PreTrainedTokenizerFast',
) -> list[str]:
  """Refuses phrases of which a model can read nothing.

  Args:
    text: what was encoded.
    prompt: of it, without a batch axis.
    tokenizer: what encoded it.

  Returns:
    The phrases of which it can read a part only.

  Raises:
    UserError: all tokens of a phrase are [UNK].
  """
  unknown = prompt.mask & (prompt.ids == tokenizer.unk_token_id)
  if not unknown.any():
    return []
  spans = prompt.spans[: len(text.phrases)]
  touched = (spans & unknown).any(axis=1)
  known = (spans & ~unknown).any(axis=1)
  if nothing := [text.phrases[i] for i in (touched & ~known).nonzero()[0]]:
    raise errors.UserError(unreadable(nothing))
  return [text.phrases[i] for i in touched.nonzero()[0]]


def unreadable(phrases: Sequence[str]) -> str:
  """What is wrong with phrases of which no token is known, and the remedy."""
  return (
      f'the tokenizer knows no word of {quote(phrases)}, which would be read'
      ' as [UNK], like any other of its kind: write it in words that'
      ' it knows, or give a tokenizer that knows these'
  )


def check_distinct(text: prompts.TextPrompt, prompt: types.Prompt) -> None:
  """Refuses a list of names in which two are the same to a model.

  Phrases of a sentence may repeat: what stands around them tells them apart.

  Args:
    text: what was encoded.
    prompt: of it, without a batch axis.

  Raises:
    UserError: two names have the same tokens.
  """
  if is_list(text):
    check_groups(same_tokens(prompt, text.phrases))


def check_groups(groups: Sequence[Sequence[str]]) -> None:
  """Refuses names that are the same to a model.

  Args:
    groups: of two names and more, from `same_tokens`; none passes.

  Raises:
    UserError: there is one.
  """
  if groups:
    raise errors.UserError(
        f'{"; ".join(map(quote, groups))} are the same tokens, so the model'
        ' cannot tell them apart (text in parentheses is not read, and mostly'
        ' neither are capitals and accents): leave one out, or call it by other'
        ' words'
    )


def same_tokens(
    prompt: types.Prompt, names: Sequence[str]
) -> list[tuple[str, ...]]:
  """The names that are the same to a model, in groups of two and more.

  Args:
    prompt: without a batch axis.
    names: of its phrases, in order.
  """
  groups: dict[bytes, list[str]] = {}
  for name, span in zip(names, prompt.spans, strict=False):
    groups.setdefault(prompt.ids[span].tobytes(), []).append(name)
  return [tuple(group) for group in groups.values() if len(group) > 1]


def is_list(text: prompts.TextPrompt) -> bool:
  """Whether no word stands outside the phrases."""
  others = list(text.caption)
  for start, end in (span for spans in text.spans for span in spans):
    others[start:end] = ' ' * (end - start)
  return not prompts.has_word(''.join(others))


def quote(names: Sequence[str]) -> str:
  """Names as a message lists them, of many the first ones."""
  quoted = [repr(prompts.shorten(name.strip())) for name in names[:_QUOTED]]
  if len(names) > _QUOTED:
    quoted.append(f'{len(names) - _QUOTED} more')
  return ' and '.join(filter(None, [', '.join(quoted[:-1]), quoted[-1]]))
