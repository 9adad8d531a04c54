"""Prompts: text with marked phrases, and the tokens that name each phrase.

Spans of text are [start, end) in characters (code points) of the caption;
spans of tokens are boolean rows over the encoded prompt.
"""

import dataclasses
import functools
import operator
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from glip_jax import errors, types

if TYPE_CHECKING:
  import transformers

Spans = tuple[tuple[int, int], ...]

# What an object that no phrase names is called: label -1.
UNKNOWN = 'unknown object'

# Halves of characters, which no encoding has and no tokenizer takes: escapes
# of JSON that were cut in two, or bytes of a command line that are not UTF-8.
_HALF = re.compile('[\ud800-\udfff]')


class PromptTooLong(errors.UserError):
  """A prompt has more tokens than the model reads.

  Attributes:
    phrase: index of the first phrase that does not fit; None if all phrases
      fit and only the rest of the caption does not.
    needed: number of tokens, [CLS] and [SEP] included, of the prompt up to the
      end of that phrase, or of the whole prompt if `phrase` is None.
    limit: the number of tokens there is room for.
  """

  def __init__(self, message: str, phrase: int | None, needed: int, limit: int):
    # All of it in `args`, for data workers send their errors home by pickle.
    super().__init__(message, phrase, needed, limit)
    self.phrase = phrase
    self.needed = needed
    self.limit = limit

  def __str__(self) -> str:
    return self.args[0]


@dataclasses.dataclass(frozen=True)
class TextPrompt:
  """A caption and the phrases in it that boxes can belong to.

  Attributes:
    caption: the text that the language model reads.
    phrases: what each phrase is called; the position is the label.
    spans: spans[c] are the character spans [start, end) of phrase c. Spans may
      overlap, and a phrase may have several.
    pieces: of a list in which names stand among other words the span of each
      phrase with its own words, see `lists`; otherwise empty.

  Raises:
    UserError: phrases and spans differ in number, a phrase has no span, or one
      that is reversed, outside the caption, or of white space only, or the
      caption holds half of a character.
  """

  caption: str
  phrases: tuple[str, ...]
  spans: tuple[Spans, ...]
  pieces: Spans = ()

  def __post_init__(self):
    if not is_whole(self.caption):
      raise errors.UserError(
          f'prompt {shorten(self.caption)!r} holds half of a character (a lone'
          ' surrogate): write it in UTF-8'
      )
    if len(self.phrases) != len(self.spans):
      raise errors.UserError(
          f'{len(self.phrases)} phrases have {len(self.spans)} span lists:'
          ' give one list of [start, end) spans for each phrase'
      )
    for index, spans in enumerate(self.spans):
      _check_spans(index, spans, self.caption)

  def name(self, label: int) -> str:
    """The phrase of a label, or `UNKNOWN` of -1."""
    return UNKNOWN if label < 0 else self.phrases[label]


def clean_name(name: str) -> str:
  """Turns a category name into words, exactly as the original GLIP does.

  The one rule for names of data sets and for those that a user asks for.
  Drops everything from the first '(' to the last ')', and writes underscores
  and double spaces as one space. Case, and a space at the end, stay:
  'bat_(animal)' becomes 'bat '.
  """
  name = '\n'.join(map(_without_parentheses, name.split('\n')))
  return name.replace('_', ' ').replace('  ', ' ')


def is_whole(text: str) -> bool:
  """Whether a text holds no half of a character, as all that can be encoded."""
  return _HALF.search(text) is None


def has_word(text: str) -> bool:
  """True if a character is a letter, digit or symbol."""
  return any(unicodedata.category(char)[0] in 'LNS' for char in text)


def shorten(text: str, length: int = 60) -> str:
  """The beginning of a text, to be quoted in a message."""
  return text if len(text) <= length else f'{text[: length - 3]}...'


def from_names(names: Sequence[str], separator: str = '. ') -> TextPrompt:
  """Joins category names into a prompt, without a separator at the end.

  Args:
    names: category names in label order. Names that are equal once cleaned
      are kept apart by where they stand.
    separator: what stands between two names.

  Raises:
    UserError: there are no names, or one is not text, or holds no letter, digit
      or symbol once cleaned; or the separator is empty.
  """
  if isinstance(names, str) or not len(names):
    raise errors.UserError(
        f"names={names!r} is not a list of names: pass e.g. ('cat', 'dog')"
    )
  if not separator:
    raise errors.UserError(
        "separator='' would melt names into one word: pass e.g. '. '"
    )
  cleaned = [_checked_name(index, name) for index, name in enumerate(names)]
  spans, start = [], 0
  for name in cleaned:
    spans.append(((start, start + len(name)),))
    start += len(name) + len(separator)
  return TextPrompt(separator.join(cleaned), tuple(cleaned), tuple(spans))


def from_caption(
    caption: str, spans: Sequence[Sequence[Sequence[int]]]
) -> TextPrompt:
  """Makes a prompt of a caption as it stands; `parsing` reads those of users.

  Args:
    caption: the text.
    spans: spans[c] lists the [start, end) character spans of phrase c, as in
      the `tokens_positive` of grounding files; may be empty.

  Raises:
    UserError: the caption holds no words, or a span is not valid.
  """
  if not has_word(caption):
    raise errors.UserError(
        f'prompt {shorten(caption)!r} holds no words: write what to look for,'
        " e.g. 'a red car' or 'cat. dog'"
    )
  found = tuple(_as_spans(index, item) for index, item in enumerate(spans))
  phrases = tuple(
      ' '.join(caption[start:end].strip() for start, end in item)
      for item in found
  )
  return TextPrompt(caption, phrases, found)


@functools.lru_cache(maxsize=512)
def ended(text: TextPrompt, end: str) -> TextPrompt:
  """The prompt with `end` behind its caption, where it does not stand already.

  Args:
    text: the caption and its phrases.
    end: for example '.'; empty changes nothing.
  """
  if not end or text.caption.rstrip().endswith(end):
    return text
  return dataclasses.replace(text, caption=text.caption + end)


@functools.lru_cache(maxsize=512)
def encode(
    text: TextPrompt,
    tokenizer: 'transformers.PreTrainedTokenizerFast',
    *,
    num_tokens: int = 256,
    num_phrases: int | None = None,
) -> types.Prompt:
  """Tokenises a prompt; the result is cached, so its arrays are read-only.

  A token belongs to a phrase when it shares a character with one of its spans:
  what the original's char_to_token lookup with its fallback of two characters
  gives at white space, for any amount of white space. Unlike there, '[SEP]'
  and the like in the text are plain text.

  Args:
    text: the caption and its phrases.
    tokenizer: from `load_tokenizer`; any fast tokenizer of the BERT family.
    num_tokens: t, to which ids are padded.
    num_phrases: c, to which phrases are padded; by default their number.

  Returns:
    The prompt without a batch axis: ids int32[t] with [CLS] and [SEP], mask
    bool[t], spans bool[c t].

  Raises:
    PromptTooLong: the prompt has more than `num_tokens` tokens.
    UserError: there are more than `num_phrases` phrases, or a phrase of which
      the tokenizer keeps nothing.
  """
  count = len(text.phrases) if num_phrases is None else num_phrases
  if len(text.phrases) > count:
    raise errors.UserError(
        f'prompt has {len(text.phrases)} phrases, num_phrases={count}: raise'
        ' num_phrases, or split the names over several prompts'
    )
  encoded = tokenizer(
      text.caption,
      return_offsets_mapping=True,
      split_special_tokens=True,
      truncation=False,
      padding=False,
      verbose=False,
  )
  tokens = encoded['input_ids']
  offsets = np.array(encoded['offset_mapping'], np.int32).reshape(-1, 2)
  # First: a table of tokens by phrases has no room for any amount of text.
  if len(tokens) > num_tokens:
    raise _too_long(text, offsets, num_tokens)
  phrases = _token_spans(text, offsets)
  ids = np.full(num_tokens, tokenizer.pad_token_id, np.int32)
  ids[: len(tokens)] = tokens
  spans = np.zeros((count, num_tokens), bool)
  spans[: len(phrases), : len(tokens)] = phrases
  prompt = types.Prompt(
      ids=ids, mask=np.arange(num_tokens) < len(tokens), spans=spans
  )
  for array in (prompt.ids, prompt.mask, prompt.spans):
    array.setflags(write=False)
  return prompt


def stack(prompts: Sequence[types.Prompt]) -> types.Prompt:
  """Stacks encoded prompts of equal shapes along a new batch axis.

  Raises:
    UserError: there are no prompts, or their shapes differ.
  """
  shapes = sorted({prompt.spans.shape for prompt in prompts})
  if len(shapes) != 1:
    raise errors.UserError(
        f'prompts of (phrases, tokens) {shapes} cannot be stacked: encode at'
        ' least one, all with the same num_phrases and num_tokens'
    )
  return types.Prompt(
      ids=np.stack([prompt.ids for prompt in prompts]),
      mask=np.stack([prompt.mask for prompt in prompts]),
      spans=np.stack([prompt.spans for prompt in prompts]),
  )


def _token_spans(
    text: TextPrompt, offsets: Int[np.ndarray, 't 2']
) -> Bool[np.ndarray, 'c t']:
  """Marks the tokens that share a character with each phrase."""
  starts, ends = offsets.T
  rows = np.zeros((len(text.spans), len(offsets)), bool)
  for index, spans in enumerate(text.spans):
    for start, end in spans:
      # [CLS] and [SEP] stand at [0, 0), which meets no span.
      rows[index] |= (starts < end) & (ends > start)
    if not rows[index].any():
      raise errors.UserError(
          f'phrase {index} {shorten(text.phrases[index])!r} has no token: the'
          ' tokenizer drops all its characters; name it in letters or digits'
      )
  return rows


def _too_long(
    text: TextPrompt, offsets: Int[np.ndarray, 't 2'], limit: int
) -> PromptTooLong:
  """Says which phrase is the first that ends behind the limit."""
  total = len(offsets)
  # Tokens but [CLS] and [SEP] stand in the order of the text: those before the
  # end of a phrase are its own and what comes first.
  ends = np.array([max(end for _, end in item) for item in text.spans], int)
  needed = np.searchsorted(offsets[1:-1, 0], ends) + 2
  if not (needed > limit).any():
    message = (
        f'prompt {shorten(text.caption)!r} has {total} tokens, num_tokens='
        f'{limit}: shorten what follows its phrases, or raise num_tokens'
    )
    return PromptTooLong(message, None, total, limit)
  index = int((needed > limit).argmax())
  message = (
      f'phrase {index} {shorten(text.phrases[index])!r} does not fit: up to'
      f' there the prompt needs {needed[index]} tokens, in all {total},'
      f' num_tokens={limit}: split it into several prompts, or raise num_tokens'
  )
  return PromptTooLong(message, index, int(needed[index]), limit)


def _check_spans(index: int, spans: Spans, caption: str) -> None:
  """Refuses a phrase without spans, or with one that marks no text."""
  where = f'in a caption of {len(caption)} characters'
  if not spans:
    raise errors.UserError(
        f'phrase {index} has no spans {where}: give at least one [start, end)'
    )
  for start, end in spans:
    if not 0 <= start < end <= len(caption):
      raise errors.UserError(
          f'phrase {index} has span [{start}, {end}) {where}: a span needs'
          ' 0 <= start < end <= length'
      )
  if not any(caption[start:end].strip() for start, end in spans):
    raise errors.UserError(
        f'phrase {index} has spans {spans} of white space only {where}: mark'
        ' the words that name it'
    )


def _as_spans(index: int, spans: Sequence[Sequence[int]]) -> Spans:
  """Makes the spans of one phrase, as read from a file, tuples of ints."""
  try:
    return tuple(
        (operator.index(start), operator.index(end)) for start, end in spans
    )
  except (TypeError, ValueError) as error:
    raise errors.UserError(
        f'phrase {index} has spans {spans!r}: give a list of [start, end)'
        ' pairs of whole numbers'
    ) from error


def _without_parentheses(line: str) -> str:
  """What the original's pattern `\\(.*\\)` leaves, found in linear time."""
  start, end = line.find('('), line.rfind(')')
  return line[:start] + line[end + 1 :] if -1 < start < end else line


def _checked_name(index: int, name: str) -> str:
  """Cleans a name, and refuses one of which no word is left."""
  if not isinstance(name, str):
    raise errors.UserError(
        f'names[{index}]={name!r} is not text: write it as {str(name)!r}'
    )
  cleaned = clean_name(name)
  if not has_word(cleaned):
    raise errors.UserError(
        f'names[{index}]={shorten(name)!r} holds no words (text in parentheses'
        ' is dropped): rename it, or leave it out'
    )
  return cleaned
