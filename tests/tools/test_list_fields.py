"""docs/config.md says what the code checks."""

import pathlib

from glip_jax.tools import list_fields

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'config.md'


def test_the_page_of_fields_is_that_of_the_code():
  assert (
      PAGE.read_text() == list_fields.page()
  ), 'python -m glip_jax.tools.list_fields > docs/config.md'
