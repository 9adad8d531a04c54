"""The noun phrases of a caption, found offline.

The rule: words are split at punctuation and at words of closed classes. A
phrase is a run of other words, with a determiner, number or possessive in front
of it. Words that end a run are prepositions, conjunctions, pronouns,
auxiliaries, adverbs of place and manner, common verbs of captions in all their
forms, and what looks like a verb: a word in -ing or -ed, unless it stands
between a determiner and a noun ('a sleeping dog', 'the parked car') or, in -ed,
between two nouns ('a snow covered hill'). Where spaCy is installed with a model
of English, `find` takes its noun chunks instead, without those that are
pronouns.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from glip_jax import errors
from glip_jax.text import prompts

_SPACY_MODEL = 'en_core_web_sm'
_TOKEN = re.compile(r"\w+(?:[-'\u2019]\w+)*|[^\w\s]")

_DETERMINERS = frozenset(
    'a an the this that these those some any each every another other both all'
    ' several many few no his her its their my your our one two three four five'
    ' six seven eight nine ten'.split()
)
# Of these a phrase is no phrase by itself.
_PRONOUNS = frozenset(
    'i you he she it we they me him them us who whom whose which what himself'
    ' herself itself themselves there someone something anyone anything'
    ' everyone everything nobody nothing each one another other others'.split()
)
_FUNCTION = frozenset(
    # Prepositions and particles.
    'of in on at by for with without from to into onto over under above below'
    ' beneath behind beside besides between among across along around through'
    ' throughout toward towards against near next inside outside within off out'
    ' up down upon past during after before until while as than like via per'
    ' amid atop alongside about'
    # Conjunctions and words of clauses.
    ' and or nor but so yet if because when where why how that whether although'
    ' though'
    # Auxiliaries.
    ' is are was were be been being am has have had having do does did doing'
    ' can could will would shall should may might must'
    # Adverbs.
    ' not also just only then now here there away together apart again'
    ' still already almost nearly ahead back forward'.split()
)
# Verbs of captions that are seldom nouns; their forms are made below.
_VERBS = (
    'sit stand lie lay lean hold carry wear eat drink look watch chase catch'
    ' throw kick hit grab pull push play walk run jump fly swim climb ride'
    ' drive sleep rest smile laugh talk speak sing read write cook cut pour'
    ' serve feed pet pose point wait face hang cover fill surround contain show'
    ' appear seem get take give make put go come bring follow lead cross enter'
    ' leave move turn travel perform prepare try use reach float graze perch'
    ' kneel crouch gather'
).split()
_IRREGULAR = frozenset(
    'sat stood lay lain held wore worn ate eaten drank caught thrown threw ran'
    ' flew flown swam rode ridden drove driven slept spoke sang wrote written'
    ' fed hung shown shows got took taken gave given made went gone came'
    ' brought led left knelt'.split()
)
# In -ing and -ed, and no verbs.
_NOUNS = frozenset(
    'building ceiling painting railing awning clothing ring king wing string'
    ' thing morning evening wedding bed shed red sled seed weed reed bleed'
    ' hundred kindred sibling pudding dumpling earring duckling wedding opening'
    ' lighting crossing landing parking dressing sling swing bowling'.split()
)
# Part of a phrase behind its determiner alone: 'a very tall tower'.
_DEGREES = frozenset('very too quite rather most more less'.split())


def prompt(caption: str) -> prompts.TextPrompt:
  """A caption whose phrases are its noun phrases.

  Args:
    caption: a sentence.

  Raises:
    UserError: it holds no words, or no noun phrase is found.
  """
  spans = find(caption) if prompts.has_word(caption) else []
  if prompts.has_word(caption) and not spans:
    raise errors.UserError(
        f'caption {prompts.shorten(caption)!r} has no noun phrase that is'
        ' found: give the spans of its phrases, or a list of names'
    )
  return prompts.from_caption(caption, [[span] for span in spans])


def find(caption: str) -> list[tuple[int, int]]:
  """Spans [start, end) in characters of the noun phrases of a caption.

  Determiners belong to a phrase, as in the captions of Flickr30k Entities.

  Args:
    caption: a sentence.
  """
  model = _spacy()
  if model is not None:
    return [
        (chunk.start_char, chunk.end_char)
        for chunk in model(caption).noun_chunks
        if chunk.root.pos_ != 'PRON'
    ]
  return by_rule(caption)


def by_rule(caption: str) -> list[tuple[int, int]]:
  """As `find`, by the rule of this module whatever is installed.

  Args:
    caption: a sentence.
  """
  found = []
  for run in _runs(caption):
    words = [word.group().lower() for word in run]
    while words and words[-1] in _DETERMINERS | _DEGREES:
      run, words = run[:-1], words[:-1]
    if words and not (len(words) == 1 and words[0] in _PRONOUNS):
      found.append((run[0].start(), run[-1].end()))
  return found


def _runs(caption: str) -> Iterator[Sequence[re.Match[str]]]:
  """Words that may be a phrase together."""
  words = list(_TOKEN.finditer(caption))
  run: list[re.Match[str]] = []
  for i, word in enumerate(words):
    text = word.group().lower()
    begins = text in _DETERMINERS and not _is_counted(run)
    if begins and run:
      yield run
      run = []
    if _ends(text, run, words[i + 1 :]):
      if run:
        yield run
      run = []
    else:
      run.append(word)
  if run:
    yield run


def _is_counted(run: Sequence[re.Match[str]]) -> bool:
  """Whether all words so far are determiners: 'the two', 'all his'."""
  return all(word.group().lower() in _DETERMINERS for word in run)


def _ends(
    text: str, run: Sequence[re.Match[str]], rest: Sequence[re.Match[str]]
) -> bool:
  """Whether a word is none of a phrase."""
  if not text[0].isalnum():
    return True
  if text in _DETERMINERS:
    return False
  if text in _FUNCTION or text in _PRONOUNS:
    return True
  if text in _NOUNS:
    return False
  # Between a determiner and a noun it says of what kind that is.
  after_determiner = bool(run) and _is_counted(run)
  if text in _DEGREES:
    return not after_determiner
  follows = rest[0].group().lower() if rest else '.'
  others = _FUNCTION | _DETERMINERS | _PRONOUNS
  is_followed = follows[0].isalnum() and follows not in others
  if text.endswith('ed') and run and is_followed:
    return False  # 'a snow covered hill'.
  if text in _verb_forms():
    # A word that is a noun as often: 'the play', 'his look'.
    return not (after_determiner and (is_followed or not text.endswith('ing')))
  looks_so = len(text) > 4 and text.endswith(('ing', 'ed', 'ly'))
  return looks_so and not (is_followed and (after_determiner or not run))


@functools.cache
def _verb_forms() -> frozenset[str]:
  """All forms of the common verbs."""
  forms = set(_IRREGULAR)
  for verb in _VERBS:
    stem = verb[:-1] if verb.endswith('e') else verb
    doubled = stem + stem[-1]
    third = verb + ('es' if verb.endswith(('s', 'ch', 'sh', 'x')) else 's')
    if verb.endswith('y') and verb[-2] not in 'aeiou':
      third, stem_ed = verb[:-1] + 'ies', verb[:-1] + 'ied'
    else:
      stem_ed = stem + 'ed'
    forms |= {third, stem + 'ing', stem_ed, doubled + 'ing', doubled + 'ed'}
    forms.add('lying' if verb == 'lie' else third)
  return frozenset(forms | {verb for verb in _VERBS if verb not in _AS_NOUNS})


# Verbs whose bare form names a thing in captions.
_AS_NOUNS = frozenset(
    'drink watch catch throw kick hit play walk run jump fly ride drive rest'
    ' smile laugh talk cut feed pet point face cover show turn use float move'
    ' cross lead cook reach lay'.split()
)


@functools.cache
def _spacy() -> Any:
  """spaCy's small model of English, or None where it is not installed."""
  try:
    import spacy

    return spacy.load(_SPACY_MODEL)
  except (ImportError, OSError):
    return None
