"""Writes docs/config.md: every field of a config, its default and its meaning.

  python -m glip_jax.tools.list_fields > docs/config.md

The text is made of the dataclasses that check configs; a test holds the page
and the code together.
"""

import re
import textwrap
from collections.abc import Collection, Iterator
from typing import Any

from glip_jax import fields, run
from glip_jax.data import settings
from glip_jax.detectors import recipe
from glip_jax.evaluators import runner

_WIDTH, _NAME = 100, 32
_OPENING = """\
# Every field of a config

A config file in `configs/` starts from these defaults and changes some.
Whatever it says, each field can be set on the command line:
`--config.optimizer.lr=3e-4`, `--config.mesh.fsdp=8`,
`--config.data.image_size='(800, 1344)'`. A mistyped field or a value out of its
range is refused in one line before work starts. The page is written by
`python -m glip_jax.tools.list_fields`.
"""

_SIGNS = (
    (r'(\S+) or more', r'>= \1'),
    (r'(\S+) at most', r'<= \1'),
    ('more than', '>'),
    ('less than', '<'),
    ('one of ', ''),
)


def page() -> str:
  """The page as Markdown."""
  sections = [
      ('`config`: a run', run.Run(), ('model', 'data', 'evals')),
      ('`config.data`', settings.Data(), ('train', 'curriculum')),
      ('A source: `config.data.train` and others', settings.Spec(), ()),
      ('An evaluation: `config.evals.NAME`', runner.Evaluation(), ('data',)),
  ]
  sections += [
      (f"`config.model` where `family` is '{name}'", family.config(), ())
      for name, family in recipe.FAMILIES.items()
  ]
  return _OPENING + ''.join(
      '\n'.join(['', f'## {title}', '```', *_lines(config, left), '```', ''])
      for title, config, left in sections
  )


def _lines(config: Any, left: Collection[str]) -> Iterator[str]:
  """Every field but those of the parts that have a section of their own."""
  for row in fields.rows(config):
    if row.name.split('.')[0] in left:
      continue
    limits = f'; {_short(row.range)}' if row.range else ''
    yield from textwrap.wrap(
        f'{row.name:<{_NAME - 1}} {row.default}: {row.doc}{limits}',
        _WIDTH,
        subsequent_indent=' ' * _NAME,
        break_on_hyphens=False,
    )


def _short(words: str) -> str:
  """A range in signs."""
  for pattern, sign in _SIGNS:
    words = re.sub(pattern, sign, words)
  return words


if __name__ == '__main__':
  print(page(), end='')
