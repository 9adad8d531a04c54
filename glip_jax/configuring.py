"""Configs on the command line and in a workdir, and errors of one line.

A program calls `run(main)`; its flag `--config=configs/x.py:arg` is an
ml_collections file, overridden by `--config.key.subkey=value`. `save` writes
what was trained to the workdir, `load` reads it back.
"""

import contextlib
import functools
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging
from etils import epath

from glip_jax import errors, interrupting, storage

CONFIG_FILE = 'config.json'
# Of what a config file may be: a whole one has 10 kB and seven levels.
_MAX_BYTES = 1 << 22
_MAX_DEPTH = 30
_NEEDS_CONFIG = (
    ': it needs a --config that it changes, such as --config=configs/shapes.py'
)


def run(
    main: Callable[[Sequence[str]], Any], *, words: bool = False
) -> NoReturn:
  """`app.run` that prints a user's error as one line and exits with 1.

  So does what the file system refuses. What a signal stops is one line too,
  with the status 128 + signal.

  Args:
    main: is given the program's name, and the words that belong to no flag.
    words: whether there may be such.
  """
  # grain leaves batches that were read ahead to Python's resource tracker; it
  # frees them but warns, in a process that takes its options from here.
  sys.warnoptions.append('ignore:resource_tracker:UserWarning')
  storage.quiet(logging.get_absl_handler())
  interrupting.end_by_exception()

  def flushing(argv: Sequence[str]):
    main(argv)
    sys.stdout.flush()  # Later nobody could say what is wrong with it.

  try:
    app.run(flushing, flags_parser=functools.partial(_parse, words=words))
  except SystemExit:
    raise
  except BaseException as error:
    _end(error)
  finally:
    interrupting.end_at_once()


def save(config: Mapping[str, Any], workdir: str | os.PathLike):
  """Writes the fields of a config to the workdir, whole or not at all."""
  path = epath.Path(workdir) / CONFIG_FILE
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(CONFIG_FILE + '.partial')
  partial.write_text(json.dumps(dict(config), indent=2) + '\n')
  partial.replace(path)


def load(workdir: str | os.PathLike) -> dict[str, Any]:
  """Reads the fields of the config that a training run left in its workdir.

  Raises:
    UserError: if there is none.
  """
  path = epath.Path(workdir) / CONFIG_FILE
  if not path.exists():
    raise errors.UserError(
        f'{path} does not exist: give the --workdir of a training run, or the'
        ' --config that it was trained with'
    )
  errors.check_file('config', path)
  try:
    values = _parse_json(path)
  except (OSError, ValueError, RecursionError) as error:
    raise errors.UserError(
        f'{path} is damaged ({error!s:.200}): give the --config that the run'
        ' was trained with'
    ) from error
  model = values.get('model') if isinstance(values, dict) else None
  if not isinstance(model, dict) or 'family' not in model:
    raise errors.UserError(
        f'{path} is not a config of this version: give the --config that the'
        ' run was trained with, or start another run by --config.init'
    )
  return values


def _parse_json(path: epath.Path) -> Any:
  """What a config file holds; a ValueError where `save` did not write it."""
  if path.stat().length > _MAX_BYTES:
    raise ValueError(f'more than {_MAX_BYTES} bytes')
  values = json.loads(
      path.read_text(),
      object_pairs_hook=_without_repeats,
      parse_constant=_no_number,
  )
  level = [values]
  for _ in range(_MAX_DEPTH):
    level = [inner for value in level for inner in _inside(value)]
  if level:
    raise ValueError('nested too deeply')
  return values


def _inside(value: Any) -> Collection[Any]:
  """What a container holds."""
  if isinstance(value, dict):
    return value.values()
  return value if isinstance(value, list) else ()


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
  values = dict(pairs)
  if len(values) < len(pairs):
    names = [name for name, _ in pairs]
    repeated = next(name for name in names if names.count(name) > 1)
    raise ValueError(f'{repeated!r:.100} stands twice')
  return values


def _no_number(name: str) -> NoReturn:
  raise ValueError(f'{name} is no number')


def changes(workdir: str | os.PathLike, config: Mapping[str, Any]) -> str:
  """Which fields differ from the config that a workdir holds.

  Args:
    workdir: folder of a run, which may hold no config.
    config: fields that the run goes on with.

  Returns:
    `optimizer.lr 0.001 -> 0.0001, ...`; `steps` is left out, as raising it is
    what continuing is for. '' where nothing differs.
  """
  try:
    before = dict(_leaves(load(workdir)))
  except errors.UserError:
    return ''
  # As it is read back: tuples are lists.
  after = dict(_leaves(json.loads(json.dumps(dict(config)))))
  names = dict.fromkeys((*before, *after))
  shown = (
      lambda fields, name: json.dumps(fields[name]) if name in fields else '-'
  )
  return ', '.join(
      f'{name} {shown(before, name)} -> {shown(after, name)}'
      for name in names
      if name != 'steps' and shown(before, name) != shown(after, name)
  )


def _leaves(
    fields: Mapping[str, Any], prefix: str = ''
) -> Iterator[tuple[str, Any]]:
  """Path and value of every field in a nest of them."""
  for name, value in fields.items():
    if isinstance(value, Mapping) and value:
      yield from _leaves(value, f'{prefix}{name}.')
    else:
      yield prefix + name, value


def _end(error: BaseException) -> None:
  """Exits with a line on what ended a program; a defect is raised again."""
  if isinstance(error, errors.Stopped):
    print(error, file=sys.stderr)
    sys.exit(error.status)
  if isinstance(error, KeyboardInterrupt) or interrupting.status():
    _stopped()
  refused = storage.fault(error)
  if refused:
    _say_error(error if isinstance(error, errors.UserError) else refused)
    with contextlib.suppress(OSError):
      sys.stdout.flush()
    os._exit(1)  # What is closed at the end would only fail once more.
  if isinstance(error, errors.UserError):
    _fail(error)
  raise error


def _stopped() -> NoReturn:
  print('stopped', file=sys.stderr)
  sys.exit(interrupting.status() or 130)


def _fail(error: object) -> NoReturn:
  if interrupting.status():  # Whatever became of the interruption.
    _stopped()
  _say_error(error)
  sys.exit(1)


def _say_error(error: object) -> None:
  print('error: ' + ' '.join(str(error).split()), file=sys.stderr, flush=True)


def _parse(argv: Sequence[str], *, words: bool) -> list[str]:
  """Parses the flags; what is wrong with them is one line and exit 1."""
  try:
    rest = flags.FLAGS(list(argv))
    for name in flags.FLAGS:
      # A config file that could not be read says so when it is used.
      getattr(flags.FLAGS[name].value, 'to_dict', None)
  except flags.UnrecognizedFlagError as error:
    stray = error.flagname.startswith('config.')
    _fail(f'{error}{_NEEDS_CONFIG if stray else ""}')
  except (SyntaxError, ImportError) as error:
    _fail(f'--config is none: {error}; give a file such as those in configs/')
  except (errors.UserError, flags.Error, OSError) as error:
    _fail(_innermost(error))
  except (AttributeError, KeyError) as error:
    # ml_collections raises these for a field that the config does not have.
    if 'ml_collections' not in traceback.extract_tb(error.__traceback__)[-1][0]:
      raise
    # Told with as many escapes as the field is deep.
    said = re.sub(r'\\*n(?=Did you)|\n', '; ', str(error.args[0]))
    said = re.sub(r'[\\"\']', '', said)
    if 'get_config' in said:
      _fail(f'--config is none: {said}; give a file such as those in configs/')
    _fail(f'--config has no such field: {said} (docs/config.md lists all)')
  if len(rest) > 1 and not words:
    # `--name False` sets a flag of yes or no, and leaves the word over.
    _fail(
        f'{rest[1]!r} belongs to no flag: write --name=value, and --noname for'
        ' no'
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
