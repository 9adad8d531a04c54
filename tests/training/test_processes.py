"""Python values travel between the processes of a run."""

import os
import socket
import subprocess
import sys

from glip_jax.training import processes

PROGRAM = """
import sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from glip_jax.training import processes
mine = {'who': jax.process_index(), 'long': 'x' * 1000 * jax.process_index()}
got = processes.gather(mine)
assert [v['who'] for v in got] == [0, 1], got
assert [len(v['long']) for v in got] == [0, 1000], got
print('gathered')
"""


def test_a_single_process_gets_its_own_value_back():
  value = {'a': [1]}
  assert processes.gather(value) == [value]


def test_two_processes_get_each_others_values():
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  runs = [
      subprocess.Popen(
          [sys.executable, '-c', PROGRAM, address, str(i)],
          env=os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ''},
          stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT,
          text=True,
      )
      for i in range(2)
  ]
  outputs = [run.communicate(timeout=120)[0] for run in runs]
  assert all('gathered' in text for text in outputs), outputs
