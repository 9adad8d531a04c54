"""Whether the names of a source can be read, and how they become prompts."""

from __future__ import annotations

from collections.abc import Sequence

from absl import logging

from glip_jax.data import class_captions, drawing, settings
from glip_jax.data.element import ToElement
from glip_jax.data.sources.protocol import (
    DetectionSource,
    Source,
    is_detection,
    names_are_published,
    prompt_of,
)
from glip_jax.errors import UserError
from glip_jax.text import chunks, legible, prompts
from glip_jax.text.tokenizer import load_tokenizer
from glip_jax.text.vocabulary import Vocabulary

_SAME = (
    '%s are the same tokens, so the model cannot tell them apart (text in'
    ' parentheses is not read, and mostly neither are capitals and accents)'
)


def of(source: DetectionSource, tokenizer: str) -> Vocabulary:
  """The names of a source, with what stands around them, as a model reads them.

  Args:
    source: what has them.
    tokenizer: name for `load_tokenizer`.

  Raises:
    UserError: a name is unknown to the tokenizer.
  """
  loaded = load_tokenizer(tokenizer)
  return Vocabulary(source.names, loaded, prompt_of(source))


def split(source: DetectionSource, data: settings.Data) -> list[chunks.Chunk]:
  """The prompts that an evaluation asks for the names of a source in.

  One of all names; with `config.data.chunk_names` each has as many of them, in
  label order, or as its tokens and phrases allow.

  Raises:
    UserError: a name is unknown to the tokenizer, or alone too long.
  """
  whole = prompt_of(source)
  if not data.chunk_names:
    return [chunks.Chunk(0, whole)]
  if data.class_captions:  # Of any length together.
    return chunks.split(whole, data.chunk_names)
  return split_vocabulary(whole, of(source, data.tokenizer), data)


def split_vocabulary(
    whole: prompts.TextPrompt, vocabulary: Vocabulary, data: settings.Data
) -> list[chunks.Chunk]:
  """The prompts of `config.data.chunk_names` names of a list, or fewer.

  Args:
    whole: the list of all names.
    vocabulary: the same names.
    data: `config.data`.

  Raises:
    UserError: a name is alone too long.
  """
  room = drawing_of(vocabulary, drawing.Drawn(), data, data.num_tokens).room
  return chunks.split(
      whole,
      min(data.chunk_names, data.num_phrases),
      lengths=vocabulary.lengths,
      room=room,
  )


def captions(
    source: DetectionSource, data: settings.Data
) -> class_captions.ToCaptions:
  """What encodes the prompts of `split` where classes are captions.

  Raises:
    UserError: a caption is too long, or unknown to the tokenizer.
  """
  most = max(len(chunk.text.phrases) for chunk in split(source, data))
  return class_captions.to_captions(prompt_of(source), data, most)


def check_evaluated(source: Source, data: settings.Data) -> None:
  """As `check_prompt`, but for vocabularies that take several prompts.

  Names of the same tokens are told there: they get the same scores. So they are
  of a data set that published results are of with such names.

  Raises:
    UserError: as `check_prompt`, but for its length.
  """
  element = settings.to_element(data)
  if not is_detection(source):
    return
  if data.class_captions:
    captions(source, data)
  if data.class_captions or len(split(source, data)) > 1:
    _told(of(source, data.tokenizer), data)
    return
  _check_length(source, element)
  groups = of(source, data.tokenizer).same()
  if groups and names_are_published(source):
    logging.warning('%s: of one score', _SAME % _listed(groups))
  elif groups:
    raise _refused(groups)


def check_prompt(source: Source, element: ToElement) -> None:
  """Refuses a vocabulary that does not fit a prompt, or no model can learn.

  Args:
    source: any; a grounding source passes.
    element: from `settings.to_element`.

  Raises:
    UserError: the prompt of all classes does not fit, or classes are unknown
      to the tokenizer or have the same tokens.
  """
  if not is_detection(source):
    return
  _check_length(source, element)
  if groups := of(source, element.tokenizer).same():
    raise _refused(groups)


def _check_length(source: DetectionSource, element: ToElement) -> None:
  """Refuses a prompt of all names that does not fit."""
  try:
    element.encode_and_tell(prompt_of(source))
  except UserError as error:
    raise UserError(
        f'the prompt of all {len(source.names)} classes cannot be used'
        f' ({error}); keep fewer by names= or exclude=; or train on names drawn'
        ' for each image by config.data.draw_names.on=True, and evaluate in'
        ' several prompts by config.data.chunk_names=40'
    ) from error


def _refused(groups: Sequence[Sequence[str]]) -> UserError:
  return UserError(
      f'classes {_SAME % _listed(groups)}: give them names of their own, or one'
      ' name, by class_map=, or drop one by exclude='
  )


def _listed(groups: Sequence[Sequence[str]]) -> str:
  return '; '.join(map(legible.quote, groups))


def read(
    source: Source, data: settings.Data, drawn: drawing.Drawn
) -> Vocabulary | None:
  """The names of a source as they are drawn; None of a grounding source.

  Names of which the tokenizer knows a part only, and names that are the same
  to a model, are told once: those are one phrase.

  Raises:
    UserError: a name is unknown to the tokenizer, or alone too long.
  """
  if not is_detection(source):
    return None
  vocabulary = of(source, data.tokenizer)
  drawing_of(vocabulary, drawing.Drawn(), data, data.num_tokens)
  _told(vocabulary, data)
  return with_synonyms(vocabulary, source, data, drawn)


def with_synonyms(
    vocabulary: Vocabulary,
    source: Source,
    data: settings.Data,
    drawn: drawing.Drawn,
) -> Vocabulary:
  """The names of a source with their synonyms, if these are drawn too.

  They fit the shortest prompt of all buckets, so that what is drawn is the same
  when a record is planned and when it is read.
  """
  if not drawn.synonyms:
    return vocabulary
  if vocabulary.has_words:
    raise UserError(
        'draw_names.synonyms=True calls classes by words of the set, and'
        ' class_prompts and published_prompt by their own: give one of the two'
    )
  synonyms = getattr(source, 'synonyms', ())
  if not any(synonyms):
    logging.warning(
        'draw_names.synonyms=True: the source has none, its names are used'
    )
    return vocabulary
  tokenizer = load_tokenizer(data.tokenizer)
  end = len(tokenizer.tokenize(data.prompt_end))
  shortest = min(bucket.num_tokens for bucket in settings.buckets(data))
  return vocabulary.with_synonyms(
      synonyms, tokenizer, longest=vocabulary.room(shortest, end)
  )


def _told(vocabulary: Vocabulary, data: settings.Data) -> None:
  """Tells of names that a model cannot read whole or cannot tell apart."""
  if vocabulary.partly_known:
    logging.warning(
        '%s have words that tokenizer=%r does not know: the model reads them'
        ' as [UNK], like any others',
        legible.quote(vocabulary.partly_known),
        data.tokenizer,
    )
  if groups := vocabulary.same():
    logging.warning(
        '%s: in training they are one phrase, in evaluation of one score',
        _SAME % _listed(groups),
    )


def drawing_of(
    vocabulary: Vocabulary,
    drawn: drawing.Drawn,
    data: settings.Data,
    num_tokens: int,
) -> drawing.Drawing:
  """What draws the prompts of a source.

  Args:
    vocabulary: of the source.
    drawn: how many names.
    data: `config.data`.
    num_tokens: of a prompt, of a bucket for example.
  """
  end = load_tokenizer(data.tokenizer).tokenize(data.prompt_end)
  return drawing.Drawing(
      vocabulary=vocabulary,
      settings=drawn,
      num_tokens=num_tokens,
      room=vocabulary.room(num_tokens, len(end)),
      num_phrases=data.num_phrases,
  )
