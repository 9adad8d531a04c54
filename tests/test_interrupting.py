"""Signals end a program in one line: in imports, in its work and at its end."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PROGRAMS = (
    ['train.py'],
    ['eval.py'],
    ['-m', 'glip_jax.predict'],
    ['-m', 'glip_jax.tools.convert'],
)
# Whoever imports or calls this says something of its own of an exception.
_CODE = """
import gc, os, sys, time
from glip_jax import configuring

def wait():
  print('ready', flush=True)
  time.sleep(100)

def importing():
  try:
    wait()
  except BaseException:
    raise ImportError('initialization failed')

class Collected:
  def __del__(self):
    wait()

def losing():
  Collected()
  time.sleep(100)

configuring.run(lambda _: globals()[os.environ['KIND']]())
"""


def _start(arguments, **variables):
  return subprocess.Popen(
      [sys.executable, *arguments],
      cwd=ROOT,
      env=os.environ | {'PYTHONPATH': str(ROOT)} | variables,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )


@pytest.mark.parametrize('program', PROGRAMS, ids=lambda p: p[-1])
def test_a_signal_during_imports_is_one_line(program):
  process = _start(['-X', 'importtime', *program])
  # They tell each import when it is done.
  for line in process.stderr:
    if line.endswith(' glip_jax.interrupting\n'):
      break
  process.stderr.readline()  # Of the next, before which signals are heard.
  process.send_signal(signal.SIGINT)
  _, said = process.communicate(timeout=60)
  assert process.returncode == 130
  assert [x for x in said.splitlines() if 'import time' not in x] == ['stopped']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('kind', ['wait', 'importing', 'losing'])
def test_a_signal_during_the_work_is_one_line(kind, number):
  process = _start(['-c', _CODE], KIND=kind)
  assert process.stdout.readline() == 'ready\n'
  process.send_signal(number)
  _, said = process.communicate(timeout=60)
  assert (process.returncode, said) == (128 + number, 'stopped\n')


def test_a_signal_that_is_ignored_stays_so():
  code = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from glip_jax import interrupting
interrupting.end_at_once()
signal.raise_signal(signal.SIGINT)
interrupting.end_by_exception()
signal.raise_signal(signal.SIGINT)
print('lives')
"""
  said, _ = _start(['-c', code]).communicate(timeout=60)
  assert said == 'lives\n'
