"""Two runs never share a workdir, and a dead one does not hold it."""

import os
import signal
import subprocess
import sys

import pytest

from glip_jax import errors
from glip_jax.training import workdir_lock

_HOLD = """
import sys, time
from glip_jax.training import workdir_lock
with workdir_lock.hold(sys.argv[1]):
  print('held', flush=True)
  time.sleep(100)
"""


def test_a_workdir_is_held_by_one_run_until_that_ends(tmp_path):
  workdir = tmp_path / 'new' / 'run'
  who = f'process {os.getpid()} on '
  with workdir_lock.hold(workdir):
    with pytest.raises(errors.UserError, match=f'in use by {who}'):
      with workdir_lock.hold(workdir):
        pass
    with workdir_lock.hold(tmp_path / 'other'):
      pass
  with workdir_lock.hold(workdir):
    pass


def test_a_killed_run_holds_nothing(tmp_path):
  process = subprocess.Popen(
      [sys.executable, '-c', _HOLD, tmp_path], stdout=subprocess.PIPE, text=True
  )
  assert process.stdout.readline() == 'held\n'
  with pytest.raises(errors.UserError, match=f'process {process.pid} on'):
    with workdir_lock.hold(tmp_path):
      pass
  process.send_signal(signal.SIGKILL)
  process.wait(30)
  process.stdout.close()
  with workdir_lock.hold(tmp_path):
    pass
