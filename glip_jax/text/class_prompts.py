"""Prompts of classes: each name among words that say more of it.

A file of JSON has them by class; docs/prompts.md describes it:

  {"stingray": {"suffix": " which is flat and round"},
   "package": [{"prefix": "there is a ", "suffix": " on the porch"}, "parcel"]}

Of several prompts of a class the scores are averaged: all stand in one text,
and the score of a phrase is the mean over all tokens that name it.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from glip_jax import errors
from glip_jax.text import lists, prompts

_SCORED = ('name', 'all')
_EXAMPLE = '{"stingray": {"suffix": " which is flat and round"}}'


@dataclasses.dataclass(frozen=True)
class Wording:
  """One prompt of a class: its name, and the words around it.

  Attributes:
    prefix: in front of the name.
    name: what is scored; empty for that of the class.
    suffix: behind the name.
    description: behind all of it, after a colon.
    scored: 'name' scores the tokens of the name alone, 'all' those of all
      words.
  """

  prefix: str = ''
  name: str = ''
  suffix: str = ''
  description: str = ''
  scored: str = 'name'

  def piece(self, class_name: str) -> lists.Piece:
    """The words, with a space wherever two would melt into one.

    Args:
      class_name: cleaned.
    """
    name = prompts.clean_name(self.name) if self.name else class_name
    words = _spaced(self.prefix, name)
    start = len(words) - len(name)
    end = len(words)
    words = _spaced(words, self.suffix)
    if self.description.strip():
      words += f': {self.description.strip()}'
    span = (start, end) if self.scored == 'name' else (0, len(words))
    return lists.Piece(class_name, words, (span,))


Wordings = Mapping[str, tuple[Wording, ...]]


def read(
    path: str | os.PathLike[str], field: str = 'class_prompts'
) -> Wordings:
  """Reads a file of prompts by class.

  Args:
    path: of the file.
    field: what names it, for messages.

  Raises:
    UserError: there is no such file, it is no JSON, or `parse` refuses it.
  """
  errors.check_no_url(field, os.fspath(path))
  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise errors.UserError(
        f"{field}='{path}' is not a file: give a JSON file of prompts by class,"
        f' {_EXAMPLE}'
    )
  try:
    content = json.loads(path.read_bytes(), object_pairs_hook=_once)
  except (OSError, ValueError, RecursionError) as error:
    raise errors.UserError(
        f"{field}='{path}' cannot be read ({error!s:.200}): write it as JSON,"
        f' {_EXAMPLE}'
    ) from error
  return parse(content, f"{field}='{path}'")


def parse(content: Any, what: str = 'class_prompts') -> Wordings:
  """Checks prompts by class, as a file has them.

  Args:
    content: by class a text (in place of its name), a mapping with fields of a
      `Wording` or one itself, or a list of these.
    what: where it comes from, for messages.

  Raises:
    UserError: something is of another type, empty or unknown, or the words hold
      half of a character.
  """
  if not isinstance(content, Mapping) or not content:
    raise errors.UserError(
        f'{what} holds {_kind(content)}: give prompts by class, {_EXAMPLE}'
    )
  found = {}
  for name, value in content.items():
    where = f'{what}: {prompts.shorten(str(name))!r}'
    if not isinstance(name, str) or not _has_word(name):
      raise errors.UserError(f'{where} holds no words: name a class')
    several = value if isinstance(value, (list, tuple)) else [value]
    if not several:
      raise errors.UserError(
          f'{where} has an empty list: give a prompt, or leave the class out'
      )
    found[name] = tuple(_wording(each, where) for each in several)
  return found


def prompt(
    names: Sequence[str], wordings: Wordings, separator: str = '. '
) -> prompts.TextPrompt:
  """The prompt of some classes; those without words of their own keep a name.

  The prompts of a class follow each other and are never parted.

  Args:
    names: of the classes, in label order.
    wordings: by names that are among them.
    separator: what stands between two prompts.

  Raises:
    UserError: a name holds no words.
  """
  cleaned = prompts.from_names(names, separator).phrases
  pieces = []
  for name, own in zip(names, cleaned, strict=True):
    several = [each.piece(own) for each in wordings.get(name, (Wording(),))]
    whole = lists.joined(several, separator)
    spans = tuple(span for spans in whole.spans for span in spans)
    pieces.append(lists.Piece(own, whole.caption, spans))
  return lists.joined(pieces, separator)


def _wording(value: Any, where: str) -> Wording:
  """One prompt of a class, as a file has it."""
  if isinstance(value, Wording):
    return value
  if isinstance(value, str):
    value = {'name': value}
  if not isinstance(value, Mapping):
    raise errors.UserError(
        f'{where} has {_kind(value)} for a prompt: give a text, or fields such'
        ' as {"suffix": " which is flat and round"}'
    )
  known = [field.name for field in dataclasses.fields(Wording)]
  for key, text in value.items():
    if key not in known:
      close = difflib.get_close_matches(str(key), known, n=1) or known
      raise errors.UserError(
          f'{where} has a field {prompts.shorten(str(key))!r}, which there is'
          f' not: did you mean {", ".join(close)}?'
      )
    if not isinstance(text, str) or not prompts.is_whole(text):
      raise errors.UserError(
          f'{where}: {key} is {_kind(text)}: give text, in UTF-8'
      )
  made = Wording(**value)
  if 'name' in value and not _has_word(made.name):
    raise errors.UserError(
        f'{where}: name={made.name!r:.80} holds no words: leave it out to keep'
        ' that of the class'
    )
  if made.scored not in _SCORED:
    raise errors.UserError(
        f"{where}: scored={made.scored!r:.80} is neither 'name' nor 'all':"
        " 'name' scores the tokens of the name, 'all' those of all words"
    )
  return made


def _has_word(text: str) -> bool:
  return prompts.is_whole(text) and prompts.has_word(prompts.clean_name(text))


def _kind(value: Any) -> str:
  """What a value of another type is called."""
  if isinstance(value, str):
    return 'half of a character' if value else 'an empty text'
  names = {dict: 'an object', list: 'a list', bool: 'a truth value'}
  shown = names.get(type(value), f'{value!r:.40}')
  return f'{shown} with nothing in it' if value in ({}, []) else shown


def _spaced(left: str, right: str) -> str:
  """Two texts, with a space where a letter or digit would follow another."""
  melts = bool(left and right) and left[-1].isalnum() and right[0].isalnum()
  return f'{left} {right}' if melts else left + right


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
  """What a JSON object holds; a ValueError where a key stands twice."""
  values = dict(pairs)
  if len(values) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f'{twice!r:.100} stands twice')
  return values
