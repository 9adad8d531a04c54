"""Configs from the command line and from a workdir, and errors of one line.

A program calls `run(main)`; its flag `--config=configs/x.py:arg` is an
ml_collections file, overridden by `--config.key.subkey=value`. `save` writes
what was trained to the workdir, `load` reads it back.
"""

import dataclasses
import difflib
import errno
import json
import os
import pathlib
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from absl import app, flags, logging
from etils import epath
from ml_collections import config_dict

from glip_jax import errors

CONFIG_FILE = 'config.json'

# Least values of fields of a training config.
_LEAST = dict(
    steps=1,
    batch_size=1,
    log_every=0,
    eval_every=0,
    checkpoint_every=0,
    keep_checkpoints=1,
)

T = TypeVar('T')


def run(main: Callable[[Sequence[str]], Any]) -> NoReturn:
  """`app.run` that prints a user's error as one line and exits with 1."""

  def guarded(argv: Sequence[str]):
    try:
      main(argv)
    except errors.UserError as error:
      _fail(error)
    except KeyboardInterrupt:
      print('stopped', file=sys.stderr)
      sys.exit(130)

  # grain leaves batches that were read ahead to Python's resource tracker; it
  # frees them but warns, in a process that takes its options from here.
  sys.warnoptions.append('ignore:resource_tracker:UserWarning')
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
  try:
    values = json.loads(path.read_text())
  except ValueError as error:
    raise errors.UserError(
        f'{path} is damaged ({error}): give the --config that the run was'
        ' trained with'
    ) from error
  return config_dict.ConfigDict(_tuples(values))


def check_run(config: Mapping[str, Any]) -> None:
  """Refuses lengths and seeds that no run can have.

  Raises:
    UserError: naming the field.
  """
  for key, least in _LEAST.items():
    if config.get(key, least) < least:
      raise errors.UserError(
          f'config.{key}={config[key]} must be {least} or more'
      )
  if not 0 <= config['seed'] < 2**32:
    raise errors.UserError(
        f'config.seed={config["seed"]} must be from 0 to 2**32 - 1'
    )


def check_folder(name: str, path: str | os.PathLike) -> None:
  """Refuses a folder that could not be written to; makes nothing.

  Args:
    name: the flag, for the message.
    path: a folder that may not be there yet.

  Raises:
    UserError: it is, or lies in, something that is no folder or not writable.
  """
  if '://' in os.fspath(path):
    return
  nearest = pathlib.Path(path).absolute()
  try:
    nearest.lstat()
  except OSError as error:
    if error.errno == errno.ENAMETOOLONG:
      raise errors.UserError(f'{name}: {error}: take a shorter one') from error
  while not nearest.exists():
    nearest = nearest.parent
  if not nearest.is_dir() or not os.access(nearest, os.W_OK):
    fault = 'cannot be written to' if nearest.is_dir() else 'is no folder'
    raise errors.UserError(
        f'{name}={os.fspath(path)!r}: {nearest} {fault}; give another'
    )


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
    _check_config_file(argv)
    rest = flags.FLAGS(list(argv))
  except (errors.UserError, flags.Error) as error:
    _fail(_innermost(error))
  except (AttributeError, KeyError):
    # ml_collections raises these for an override of a key that is not there.
    message = _mistyped_override(argv)
    if message is None:
      raise
    _fail(errors.UserError(message))
  if len(rest) > 1:
    # `--name False` sets a flag of yes or no, and leaves the word over.
    _fail(
        errors.UserError(
            f'{rest[1]!r} belongs to no flag: write --name=value, and --noname'
            ' for no'
        )
    )
  if flags.FLAGS['verbosity'].using_default_value:
    logging.set_verbosity(logging.WARNING)
  return rest


def _innermost(error: BaseException) -> BaseException:
  """The UserError of a config file, which others wrap, or `error` itself."""
  found, inner = error, error
  while inner is not None:
    found = inner if isinstance(inner, errors.UserError) else found
    inner = inner.__cause__ or inner.__context__
  return found


def _config_file(argv: Sequence[str]) -> tuple[str, str] | None:
  """Path and argument of `--config=path:argument`, if given."""
  for number, argument in enumerate(argv):
    name, _, value = argument.lstrip('-').partition('=')
    if name == 'config' and argument.startswith('-'):
      value = value or ''.join(argv[number + 1 : number + 2])
      path, _, text = value.partition(':')
      return path, text
  return None


def _check_config_file(argv: Sequence[str]):
  """Raises a UserError if the config file does not exist."""
  given = _config_file(argv)
  if not given:
    if stray := [a for a in argv[1:] if a.lstrip('-').startswith('config.')]:
      raise errors.UserError(
          f'{stray[0]} needs a --config that it changes, for example'
          ' --config=configs/shapes.py'
      )
    return
  path = pathlib.Path(given[0])
  fault = ''
  if not path.is_file():
    fault = 'is no file' if path.exists() else 'does not exist'
  elif b'def get_config(' not in path.read_bytes():
    fault = 'has no function get_config'
  if fault:
    raise errors.UserError(
        f'--config={given[0]!r} {fault}: give a file such as those in configs/'
    )


def _mistyped_override(argv: Sequence[str]) -> str | None:
  """The message for the first override whose key the config lacks."""
  given = _config_file(argv)
  if given is None:
    return None
  path, text = given
  get_config = runpy.run_path(path)['get_config']
  config = get_config(text) if text else get_config()
  for argument in argv[1:]:
    name = argument.lstrip('-').split('=')[0]
    if argument[:1] != '-' or not name.startswith('config.'):
      continue
    value, seen = config, 'config'
    for key in name.split('.')[1:]:
      if not isinstance(value, config_dict.ConfigDict):
        return (
            f'{argument}: {seen} is a value, without fields: leave .{key} out'
        )
      if key not in value:
        return f'{argument}: ' + _unknown_key(seen, key, list(value))
      value, seen = value[key], f'{seen}.{key}'
  return None


def _unknown_key(what: str, key: str, known: Sequence[str]) -> str:
  near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
  remedy = f'did you mean {" or ".join(map(repr, near))}?' if near else ''
  listing = f'it has {", ".join(map(repr, known))}'
  return f'{what} has no key {key!r}; {remedy or listing}'
