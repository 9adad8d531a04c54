"""Runs command lines one after the other, as if each had a new interpreter.

Every program is forked from this one, which has imported what they import and
has the tokenizer, but has not touched a device: that saves seconds for each.

  python many_programs.py COMMANDS.json OUTPUT.json

COMMANDS holds lists of arguments, the first being the path of the program;
OUTPUT gets a list of [status, standard error].
"""

import ast
import contextlib
import gc
import importlib
import json
import os
import pathlib
import runpy
import sys
import tempfile
import warnings

from glip_jax.text import tokenizer


def import_for(program):
  """Imports what the file of a program imports."""
  for node in ast.parse(pathlib.Path(program).read_text()).body:
    names = [alias.name for alias in getattr(node, 'names', ())]
    if isinstance(node, ast.Import):
      for name in names:
        importlib.import_module(name)
    elif isinstance(node, ast.ImportFrom):
      importlib.import_module(node.module)
      for name in names:
        with contextlib.suppress(ModuleNotFoundError):  # What is no module.
          importlib.import_module(f'{node.module}.{name}')


def run(arguments):
  """Status and standard error of one program."""
  with tempfile.TemporaryFile() as file:
    with warnings.catch_warnings(action='ignore'):
      child = os.fork()  # JAX warns: it has no threads yet.
    if child == 0:
      os.dup2(file.fileno(), sys.stderr.fileno())
      sys.argv = list(arguments)
      runpy.run_path(arguments[0], run_name='__main__')
      sys.exit(0)
    _, status = os.waitpid(child, 0)
    file.seek(0)
    return os.waitstatus_to_exitcode(status), file.read().decode()


def main():
  source, output = map(pathlib.Path, sys.argv[1:])
  commands = json.loads(source.read_text())
  for program in {command[0] for command in commands}:
    import_for(program)
  tokenizer.load_tokenizer(tokenizer.SHAPES)
  gc.freeze()  # Else each child visits every object once more as it ends.
  output.write_text(json.dumps([run(command) for command in commands]))


if __name__ == '__main__':
  main()
