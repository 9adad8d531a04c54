"""The pages of fields say what the code checks."""

import pathlib

import pytest

from glip_jax.tools import list_fields

DOCS = pathlib.Path(__file__).parents[2] / 'docs'


@pytest.mark.parametrize('name', list_fields.pages())
def test_a_page_of_fields_is_that_of_the_code(name):
  assert (DOCS / name).read_text() == list_fields.pages()[
      name
  ], 'python -m glip_jax.tools.list_fields docs'
