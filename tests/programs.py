"""Starts train.py and eval.py as a user does, but on the tiny config.

All programs of a test session share one folder of compiled code. They compile
almost without optimisation: that takes a quarter of the time.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = '--config=tests/tiny_config.py'
_XLA_FLAGS = (
    '--xla_backend_optimization_level=0'
    ' --xla_llvm_disable_expensive_passes=true'
)


def start(
    *arguments: object, cache: pathlib.Path, devices: int = 1
) -> subprocess.Popen:
  """Starts a Python program in the project's folder.

  Args:
    *arguments: path of the program, and its arguments.
    cache: folder for compiled code.
    devices: number of simulated devices.
  """
  count = f'--xla_force_host_platform_device_count={devices}'
  settings = {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': f'{count} {_XLA_FLAGS}',
      'JAX_COMPILATION_CACHE_DIR': str(cache),
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
  output, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  return output
