"""Configs from the command line and from a workdir, and errors of one line.

A program calls `run(main)`; its flag `--config=configs/x.py:arg` is an
ml_collections file, overridden by `--config.key.subkey=value`. `save` writes
what was trained to the workdir, `load` reads it back.
"""

import dataclasses
import difflib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from absl import app, flags
from etils import epath
from ml_collections import config_dict

from glip_jax import errors

CONFIG_FILE = 'config.json'

T = TypeVar('T')


def run(main: Callable[[Sequence[str]], Any]) -> NoReturn:
  """`app.run` that prints a user's error as one line and exits with 1."""

  def guarded(argv: Sequence[str]):
    try:
      main(argv)
    except errors.UserError as error:
      _fail(error)

  app.run(guarded, flags_parser=_parse)


def fill(cls: type[T], config: Mapping[str, Any] | None, what: str) -> T:
  """Fills a dataclass from a config, refusing keys that it does not have.

  Args:
    cls: a dataclass.
    config: a dict or ConfigDict of its fields; None is empty.
    what: name of the config, for the message.

  Returns:
    An instance of `cls`.

  Raises:
    UserError: naming the unknown key and the closest known ones, or the
      required key that is missing.
  """
  values = {key: config[key] for key in config} if config else {}
  fields = dataclasses.fields(cls)
  known = [field.name for field in fields]
  for key in values:
    if key not in known:
      raise errors.UserError(_unknown_key(what, key, known))
  try:
    return cls(**values)
  except TypeError as error:
    raise errors.UserError(f'{what}: {error}; it takes {known}') from error


def save(config: config_dict.ConfigDict, workdir: str | os.PathLike):
  """Writes the config to the workdir, whole or not at all."""
  path = epath.Path(workdir) / CONFIG_FILE
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(CONFIG_FILE + '.partial')
  partial.write_text(to_json(config))
  partial.replace(path)


def load(workdir: str | os.PathLike) -> config_dict.ConfigDict:
  """Reads the config that a training run left in its workdir.

  Raises:
    UserError: if there is none.
  """
  path = epath.Path(workdir) / CONFIG_FILE
  if not path.exists():
    raise errors.UserError(
        f'{path} does not exist: give the --workdir of a training run, or the'
        ' --config that it was trained with'
    )
  values = _tuples(json.loads(path.read_text()))
  return config_dict.ConfigDict(values)


def to_json(config: config_dict.ConfigDict) -> str:
  """The config as readable JSON; tuples become lists."""
  return json.dumps(config.to_dict(), indent=2) + '\n'


def _tuples(value: Any) -> Any:
  """Lists back to tuples: configs hold tuples, JSON has only lists."""
  if isinstance(value, list):
    return tuple(_tuples(item) for item in value)
  if isinstance(value, dict):
    return {key: _tuples(item) for key, item in value.items()}
  return value


def _fail(error: Exception) -> NoReturn:
  print('error: ' + ' '.join(str(error).split()), file=sys.stderr)
  sys.exit(1)


def _parse(argv: Sequence[str]) -> list[str]:
  """Parses the flags; what is wrong with them is one line and exit 1."""
  try:
    rest = flags.FLAGS(list(argv))
    _check_config_file()
    return rest
  except errors.UserError as error:
    _fail(error)
  except flags.Error as error:
    _fail(error)
  except (AttributeError, KeyError):
    message = _mistyped_override(argv)
    if message is None:
      raise
    _fail(errors.UserError(message))


def _check_config_file():
  """Raises what went wrong in loading the config file, if anything did.

  ml_collections keeps the exception until the config is first used.
  """
  if 'config' not in flags.FLAGS or flags.FLAGS.config is None:
    return
  try:
    flags.FLAGS.config.to_dict()
  except FileNotFoundError as error:
    raise errors.UserError(
        f'--config: {error.filename or error} does not exist; the configs of'
        ' this project are in configs/'
    ) from error


def _mistyped_override(argv: Sequence[str]) -> str | None:
  """The message for the first override whose key the config lacks."""
  config = flags.FLAGS['config'].value if 'config' in flags.FLAGS else None
  for argument in argv[1:]:
    name = argument.lstrip('-').split('=')[0]
    if config is None or not name.startswith('config.'):
      continue
    value, seen = config, 'config'
    for key in name.split('.')[1:]:
      if not isinstance(value, config_dict.ConfigDict):
        break
      if key not in value:
        return f'{argument}: ' + _unknown_key(seen, key, list(value))
      value, seen = value[key], f'{seen}.{key}'
  return None


def _unknown_key(what: str, key: str, known: Sequence[str]) -> str:
  near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
  remedy = f'did you mean {" or ".join(map(repr, near))}?' if near else ''
  listing = f'it has {", ".join(map(repr, known))}'
  return f'{what} has no key {key!r}; {remedy or listing}'
