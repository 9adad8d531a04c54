"""Tables of (regex, value) over parameter paths, the way a model is tuned.

A path is the '/'-joined keys of a leaf, `head/blocks/fusion/image_query/bias`.
A regex is searched in it (anchor with ^ and $ where that matters), and the
first row that matches decides.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax

from glip_jax import errors

Table = Sequence[tuple[str, Any]]


def path_name(path: Sequence[Any]) -> str:
  """The '/'-joined name of a jax key path."""
  return jax.tree_util.keystr(tuple(path), simple=True, separator='/')


def named_leaves(tree: Any) -> dict[str, Any]:
  """The leaves of a tree by their path names, in the tree's order."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {path_name(path): leaf for path, leaf in leaves}


def lookup(table: Table, name: str, default: Any) -> Any:
  """The value of the first row whose regex is found in `name`."""
  for regex, value in table:
    if re.search(regex, name):
      return value
  return default


def map_table(table: Table, tree: Any, default: Any) -> Any:
  """A tree like `tree` whose leaves are the values of the table."""
  return jax.tree_util.tree_map_with_path(
      lambda path, _: lookup(table, path_name(path), default), tree
  )


def check_matches(what: str, regexes: Iterable[str], names: Sequence[str]):
  """Refuses a regex that matches no parameter: it is a typing error.

  Args:
    what: name of the table in the config, for the message.
    regexes: first column of the table.
    names: paths of all parameters.

  Raises:
    UserError: if a regex is malformed or matches none of `names`.
  """
  for regex in regexes:
    try:
      matched = any(re.search(regex, name) for name in names)
    except re.error as error:
      raise errors.UserError(
          f'{what}: {regex!r} is not a regular expression ({error})'
      ) from error
    if not matched:
      near = difflib.get_close_matches(regex, names, n=1, cutoff=0.0)
      example = f', such as {near[0]!r}' if near else ''
      raise errors.UserError(
          f'{what}: {regex!r} matches none of the {len(names)} parameters;'
          f' write a regex that is found in a path{example}'
      )
