"""The noun phrases of captions, by the rule that needs nothing installed."""

import pytest

import glip_jax
from glip_jax.errors import UserError
from glip_jax.text import noun_phrases

_CAPTIONS = [
    ('A dog chases a ball in the park.', ['A dog', 'a ball', 'the park']),
    (
        'Two young men in white shirts are sitting on a red bench, eating hot'
        ' dogs.',
        ['Two young men', 'white shirts', 'a red bench', 'hot dogs'],
    ),
    (
        'a man wearing a hat holds a small brown puppy',
        ['a man', 'a hat', 'a small brown puppy'],
    ),
    (
        'The parked car next to a sleeping dog',
        ['The parked car', 'a sleeping dog'],
    ),
    (
        'a woman rides her horse past an old building',
        ['a woman', 'her horse', 'an old building'],
    ),
    ('red circle left of a blue square', ['red circle', 'a blue square']),
    ('there is a raccoon and it is eating', ['a raccoon']),
    ('A skier on a snow covered hill', ['A skier', 'a snow covered hill']),
    ('A very tall tower', ['A very tall tower']),
    ("The boy's bike leans on a wall", ["The boy's bike", 'a wall']),
    ('a stop sign', ['a stop sign']),
    ('he runs', []),
]  # fmt: skip


@pytest.mark.parametrize('caption, phrases', _CAPTIONS)
def test_captions_are_split_by_the_rule(caption, phrases):
  spans = noun_phrases.by_rule(caption)
  assert [caption[start:end] for start, end in spans] == phrases


def test_a_caption_becomes_a_prompt_and_keeps_its_text(monkeypatch):
  monkeypatch.setattr(noun_phrases, '_spacy', lambda: None)
  text = glip_jax.caption('A dog chases a ball.')
  assert (text.caption, text.phrases) == (
      'A dog chases a ball.',
      ('A dog', 'a ball'),
  )
  assert glip_jax.caption('A dog', [[(2, 5)]]).phrases == ('dog',)


@pytest.mark.parametrize(
    'caption, said', [('he runs', 'has no noun phrase'), ('.', 'no words')]
)
def test_a_caption_of_nothing_is_refused(monkeypatch, caption, said):
  monkeypatch.setattr(noun_phrases, '_spacy', lambda: None)
  with pytest.raises(UserError, match=said):
    glip_jax.caption(caption)


def test_chunks_of_spacy_are_taken_where_it_is_installed(monkeypatch):
  class Chunk:

    def __init__(self, start, end, pos):
      self.start_char, self.end_char = start, end
      self.root = type('Root', (), {'pos_': pos})

  class Doc:
    noun_chunks = [Chunk(0, 2, 'PRON'), Chunk(9, 14, 'NOUN')]

  monkeypatch.setattr(noun_phrases, '_spacy', lambda: lambda caption: Doc)
  assert noun_phrases.find('He walks a dog') == [(9, 14)]
