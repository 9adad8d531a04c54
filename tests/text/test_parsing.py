"""What a user asks for is read as training reads names."""

import numpy as np
import pytest

from glip_jax import errors
from glip_jax.text import parsing, prompts


@pytest.mark.parametrize(
    ('prompt', 'phrases'),
    [
        ('a red circle left of a star', ('a red circle left of a star',)),
        ('cat. dog. white king', ('cat', 'dog', 'white king')),
        ('cat . dog .', ('cat', 'dog')),
        ('cat.dog;king\n two stars', ('cat', 'dog', 'king', 'two stars')),
        ('A man.\r\nA dog.', ('A man', 'A dog')),
        ('a 3.5 km road. car', ('a 3.5 km road', 'car')),
        ('  cat ...  !?. dog', ('cat', 'dog')),
        ('lane 5. car', ('lane 5', 'car')),
        ('red_circle', ('red circle',)),
        ('dog. red_circle. T-Shirt', ('dog', 'red circle', 'T-Shirt')),
        ('st. bernard', ('st. bernard',)),
        ('cat. St. Bernard. dog', ('cat', 'St. Bernard', 'dog')),
        ('forest. dog', ('forest', 'dog')),
        ('dr. king; mrs. king', ('dr. king', 'mrs. king')),
        (['st. bernard', 'u.s. flag'], ('st. bernard', 'u.s. flag')),
        (['u.s. flag'], ('u.s. flag',)),
        ([' cat. ', 'red_circle;'], ('cat', 'red circle')),
        (('cat. dog', 'king'), ('cat. dog', 'king')),
    ],
)
def test_a_prompt_is_read_as_names(prompt, phrases):
  assert parsing.read_prompt(prompt).phrases == phrases


@pytest.mark.parametrize('separator', ['. ', '.', ' . ', ';', '\n', '. \n'])
def test_prompts_are_read_as_training_reads_names(small, separator):
  names = ['red_circle', 'bow_(weapon)', 'white  king', 'T-Shirt']
  text = parsing.read_prompt(separator.join(names))
  assert text == prompts.from_names(names) == parsing.read_prompt(names)
  words = parsing.read_prompt('red circle. bow. white king. t-shirt')
  np.testing.assert_array_equal(
      prompts.encode(text, small).spans.sum(axis=1),
      prompts.encode(words, small).spans.sum(axis=1),
  )


@pytest.mark.parametrize(
    'prompt',
    ['', '   ', '...', ' .\n; ', '?!', '\u0301', [], [''], ['cat', ' . ']],
)
def test_prompts_without_words_are_refused(prompt):
  with pytest.raises(errors.UserError, match='holds no words.*: write what'):
    parsing.read_prompt(prompt)


def test_prompts_that_cannot_be_cleaned_or_encoded_are_refused():
  with pytest.raises(errors.UserError, match='in parentheses is dropped'):
    parsing.read_prompt('cat. (all)')
  with pytest.raises(errors.UserError, match='half of a character'):
    parsing.read_prompt('cat. dog \udcff')


@pytest.mark.parametrize(
    ('prompt', 'note'),
    [
        (
            'the king of hearts, the ace',
            (
                "'the king of hearts, the ace' is one phrase, as commas"
                " separate nothing: for several names write 'the king of"
                " hearts. the ace'"
            ),
        ),
        ('cat,dog , king', "write 'cat. dog. king'"),
        (['u.s. flag', 'dog'], "'u.s. flag' is one phrase, as each of several"),
    ],
)
def test_what_looks_like_several_names_and_is_one_is_told(prompt, note):
  (found,) = parsing.notes(parsing.read_prompt(prompt))
  assert note in found


def test_nothing_is_told_of_a_plain_list():
  text = parsing.read_prompt('1,000 dogs. st. bernard. 3.5 km. cat,')
  assert text.phrases[0] == '1,000 dogs'
  assert not parsing.notes(text)
