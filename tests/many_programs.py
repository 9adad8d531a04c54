"""Runs command lines one after the other, as if each had a new interpreter.

Every program is forked from this one, which has imported the library but not
touched a device: that saves seconds for each.

  python many_programs.py COMMANDS.json OUTPUT.json

COMMANDS holds lists of arguments, the first being the path of the program;
OUTPUT gets a list of [status, standard error].
"""

import json
import os
import pathlib
import runpy
import sys
import tempfile
import warnings

# Everything that the programs import.
import glip_jax.evaluators.evaluation
import glip_jax.training.checkpointing  # noqa: F401


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
  commands, output = map(pathlib.Path, sys.argv[1:])
  results = [run(command) for command in json.loads(commands.read_text())]
  output.write_text(json.dumps(results))


if __name__ == '__main__':
  main()
