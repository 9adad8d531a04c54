"""What may be the splits of one TFDS set, and what they may be called."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import tensorflow_datasets as tfds

from glip_jax.data import packed_row
from glip_jax.data.sources import protocol
from glip_jax.data.sources.protocol import Source
from glip_jax.errors import UserError

_NAME = re.compile('[a-z][a-z0-9_]*')
_SPLIT = re.compile(r'[\w-]+')


def check(name: str, splits: Mapping[str, Source]) -> None:
  """Refuses what TFDS could not read as it was written.

  Args:
    name: of the set.
    splits: the sources by the name of their split.

  Raises:
    UserError: a name cannot be one, `packed_row.check` refuses a source, or
      they are of two kinds or have other classes.
  """
  _check_names(name, splits)
  for source in splits.values():
    packed_row.check(source)
    _check_classes(source)
  first, *others = splits.values()
  if any(_kind(other) != _kind(first) for other in others):
    raise UserError(
        f'{", ".join(splits)} are of different kinds or classes, so no splits'
        ' of one set: write each under a name of its own'
    )


def _check_names(name: str, splits: Collection[str]) -> None:
  """Refuses what TFDS could not read by its name."""
  if not _NAME.fullmatch(name):
    raise UserError(
        f'name={name!r} cannot be that of a TFDS set: use small letters,'
        ' digits and underscores, such as my_set'
    )
  if name in tfds.list_builders(with_community_datasets=False):
    raise UserError(
        f'name={name!r} is a set of the catalogue of TFDS, whose own code would'
        f' be looked for: use another, such as my_{name}'
    )
  for split in splits:
    if not _SPLIT.fullmatch(split) or split == 'all':
      raise UserError(
          f'{split!r} cannot be the name of a TFDS split: call the source'
          ' otherwise in the config, by letters, digits, - and _, and not all'
      )


def _check_classes(source: Source) -> None:
  """Refuses classes that TFDS, whose list has a line for each, would change."""
  for name in source.names if protocol.is_detection(source) else ():
    if name != name.strip() or len(re.split('[\r\n]', name)) > 1:
      raise UserError(
          f'class {name!r} has a line break, or a space at an end, which TFDS'
          ' does not keep: rename it by class_map='
      )


def _kind(source: Source) -> tuple[Any, ...]:
  """What the splits of a set have in common."""
  names = source.names if protocol.is_detection(source) else None
  return names, protocol.is_federated(source)
