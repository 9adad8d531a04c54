"""Signals end a run between two steps, and a second one at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from glip_jax import errors
from glip_jax.training import stopping

# Says when it can be stopped, and never asks whether it should.
_DEAF = """
import time
from glip_jax.training import stopping
with stopping.Stop():
  print('ready', flush=True)
  time.sleep(100)
"""


def _wait(stop):
  until = time.monotonic() + 10
  while not stop.is_asked() and time.monotonic() < until:
    time.sleep(0.01)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_raises_nothing(number, capfd):
  before = signal.getsignal(number)
  with stopping.Stop() as stop:
    assert not stop.is_asked()
    os.kill(os.getpid(), number)
    _wait(stop)
    assert stop.is_asked()
    assert stop.is_asked(together=False)
    error = stop.error('saved')
  assert (str(error), error.status) == ('saved', 128 + number)
  assert not isinstance(error, errors.UserError)
  assert signal.getsignal(number) is before
  assert f'{number.name}: this step is finished' in capfd.readouterr().err


def test_a_second_signal_ends_a_process_that_does_not_ask():
  process = subprocess.Popen(
      [sys.executable, '-c', _DEAF],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )
  assert process.stdout.readline() == 'ready\n'
  process.send_signal(signal.SIGINT)
  assert process.stderr.readline() == '\n'
  assert process.stderr.readline().startswith('SIGINT: this step')
  assert process.poll() is None
  process.send_signal(signal.SIGINT)
  _, rest = process.communicate(timeout=30)
  assert (process.returncode, rest) == (130, '')


def test_a_thread_that_may_have_no_handlers_trains_without():
  before = signal.getsignal(signal.SIGTERM)
  asked = []

  def run():
    with stopping.Stop() as stop:
      asked.append(stop.is_asked())

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert asked == [False]
  assert signal.getsignal(signal.SIGTERM) is before
