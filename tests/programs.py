"""Starts train.py and eval.py as a user does, but on the tiny config.

Programs that are given the same folder share compiled code.
"""

import os
import pathlib
import subprocess
import sys

import compiling

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = '--config=tests/tiny_config.py'


def start(
    *arguments: object,
    cache: pathlib.Path,
    devices: int = 1,
    optimized: bool = False,
) -> subprocess.Popen:
  """Starts a Python program in the project's folder.

  Args:
    *arguments: path of the program, and its arguments.
    cache: folder for compiled code.
    devices: number of simulated devices.
    optimized: True compiles for speed, False quickly.
  """
  flags = f'--xla_force_host_platform_device_count={devices}'
  if not optimized:
    flags += f' {compiling.FLAGS}'
  settings = {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': flags,
      'JAX_COMPILATION_CACHE_DIR': str(cache),
      'XDG_CACHE_HOME': str(cache),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
      'PYTHONPATH': str(ROOT),
  }
  return subprocess.Popen(
      [sys.executable, *map(str, arguments)],
      cwd=ROOT,
      env=os.environ | settings,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )


def finish(process: subprocess.Popen) -> str:
  """Waits for a program that must succeed; what it printed."""
  output, errors = process.communicate(timeout=900)
  assert process.returncode == 0, errors
  return output
