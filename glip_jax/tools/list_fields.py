"""Writes the pages of docs/ that list every field of a config.

  python -m glip_jax.tools.list_fields docs

`config.md` has the fields of a run, `config_data.md` those of its data, and
`config_X.md` those of `config.model` in family X. They are made of the
dataclasses that check configs; a test holds pages and code together.
"""

import pathlib
import re
import sys
import textwrap
from collections.abc import Collection, Iterator
from typing import Any

from glip_jax import fields, run
from glip_jax.data import settings, specs
from glip_jax.detectors import recipe
from glip_jax.evaluators import runner

_WIDTH, _NAME = 100, 32
_OPENING = """\
# Every field of a config

A config file in `configs/` starts from these defaults and changes some.
Whatever it says, each field can be set on the command line:
`--config.optimizer.lr=3e-4`, `--config.mesh.fsdp=8`,
`--config.data.image_size='(800, 1344)'`. A mistyped field or a value out of its
range is refused in one line before work starts. Fields of `config.data` are in
[config_data.md](config_data.md), those of `config.model` on a page for each
family, such as [config_glip.md](config_glip.md). These pages are written by
`python -m glip_jax.tools.list_fields docs`.
"""
_SIGNS = (
    (r'(\S+) or more', r'>= \1'),
    (r'(\S+) at most', r'<= \1'),
    ('more than', '>'),
    ('less than', '<'),
    ('one of ', ''),
)


def pages() -> dict[str, str]:
  """The text of each page, as Markdown, by file name."""
  made = {
      'config.md': (
          _OPENING
          + _section('`config`: a run', run.Run(), ('model', 'data', 'evals'))
          + _section(
              'An evaluation: `config.evals.NAME`',
              runner.Evaluation(),
              ('data',),
          )
      ),
      'config_data.md': (
          '# Fields of data\n\nHow they are set is in [config.md](config.md),'
          ' what sources do with\nthem in [data.md](data.md).\n'
          + _section('`config.data`', settings.Data(), ('train', 'curriculum'))
          + _section('A source: `config.data.train`, ...', specs.Spec(), ())
      ),
  }
  for name, family in recipe.FAMILIES.items():
    title = f"`config.model` where `family` is '{name}'"
    made[f'config_{name}.md'] = (
        f'# Fields of a model of family {name}\n\nHow they are set is in'
        ' [config.md](config.md).\n'
        + _section(title, family.config(), ())
    )
  return made


def _section(title: str, config: Any, left: Collection[str]) -> str:
  """Every field but those of the parts that have a section of their own."""
  lines = ['', f'## {title}', '', '```']
  for row in fields.rows(config):
    if row.name.split('.')[0] not in left:
      lines += _lines(row)
  return '\n'.join([*lines, '```', ''])


def _lines(row: fields.Row) -> Iterator[str]:
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


def main(folder: str) -> None:
  for name, text in pages().items():
    (pathlib.Path(folder) / name).write_text(text)


if __name__ == '__main__':
  main(*sys.argv[1:])
