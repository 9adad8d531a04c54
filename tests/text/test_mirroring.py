"""Left and right exchanged, with the spans of the phrases."""

import pytest

from glip_jax.text import mirroring, prompts


@pytest.mark.parametrize(
    'caption, wanted',
    [
        ('the circle left of the star', 'the circle right of the star'),
        ('Left of it, RIGHT there', 'Right of it, LEFT there'),
        ('the rightmost star, leftwards', 'the leftmost star, rightwards'),
        ('a bright star on leftovers', 'a bright star on leftovers'),
        ('left', 'right'),
        ('right left right', 'left right left'),
    ],
)
def test_words_are_exchanged_and_back(caption, wanted):
  text = prompts.from_caption(caption, ())
  assert mirroring.names_sides(text) == (caption != wanted)
  swapped = mirroring.exchanged(text)
  assert swapped.caption == wanted
  assert mirroring.exchanged(swapped).caption == caption


def test_spans_stay_on_their_words():
  caption = 'the left star right of the circle'
  words = ['the left star', 'right of', 'circle', 'left']
  spans = [[(caption.index(w), caption.index(w) + len(w))] for w in words]
  spans.append([spans[0][0], spans[2][0]])
  swapped = mirroring.exchanged(prompts.from_caption(caption, spans))
  assert swapped.caption == 'the right star left of the circle'
  assert swapped.phrases == (
      'the right star',
      'left of',
      'circle',
      'right',
      'the right star circle',
  )


def test_a_span_within_a_word_never_loses_it():
  text = prompts.from_caption('on the right', [[(7, 9)]])
  assert mirroring.exchanged(text).phrases == ('left',)
