"""What a user asks for, read as the names that training reads.

One rule for both: a prompt is a list of names, which are cleaned and joined by
`prompts.from_names`, as the names of a data set are.
"""

import re
from collections.abc import Sequence

from glip_jax import errors
from glip_jax.text import prompts

# A full stop between two digits is a decimal point, and one behind a title or
# the like is a part of the name.
_SEPARATOR = re.compile(
    r'(?<!\bst)(?<!\bmt)(?<!\bdr)(?<!\bmr)(?<!\bmrs)'
    r'(?:(?<!\d)\.|\.(?!\d))|[;\n]',
    re.IGNORECASE,
)
# That of a number, as in '1,000', lists nothing.
_COMMA = re.compile(r',(?!\d)')


def read_prompt(prompt: str | Sequence[str]) -> prompts.TextPrompt:
  """Reads what to look for.

  Args:
    prompt: one text, split into names at full stops (but not those between two
      digits or behind 'st', 'mt', 'dr', 'mr' or 'mrs'), semicolons and line
      ends; or several texts, each of them one name as it stands.

  Raises:
    UserError: there is no name, or one holds no words or half of a character.
  """
  if isinstance(prompt, str):
    names = split(prompt)
  else:
    names = [name.strip().rstrip('.;').rstrip() for name in prompt]
  for name in names or ['']:
    if not prompts.has_word(name):
      raise errors.UserError(
          f'prompt {prompts.shorten(str(prompt))!r} holds no words, or a part'
          " of it: write what to look for, e.g. 'a red car' or 'cat. dog'"
      )
  return prompts.from_names(names)


def split(text: str) -> list[str]:
  """The names of a text; pieces of white space and punctuation are none."""
  pieces = (piece.strip() for piece in _SEPARATOR.split(text))
  return [piece for piece in pieces if prompts.has_word(piece)]


def notes(text: prompts.TextPrompt) -> list[str]:
  """What to know of phrases that look like several and are read as one."""
  found = []
  for phrase in text.phrases:
    listed = [piece.strip() for piece in _COMMA.split(phrase)]
    listed = list(filter(None, listed))
    if len(listed) > 1:
      found.append(
          f'{prompts.shorten(phrase)!r} is one phrase, as commas separate'
          ' nothing: for several names write'
          f' {prompts.shorten(". ".join(listed))!r}'
      )
    if len(split(phrase)) > 1:
      found.append(
          f'{prompts.shorten(phrase)!r} is one phrase, as each of several'
          ' prompts is: for several names give each a prompt of its own, or'
          ' all of them one'
      )
  return found
