"""Values and rows of batches travel between the processes of a run."""

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
# Devices of the two processes take turns along the mesh.
import numpy as np
from glip_jax.training import sharding
devices = np.array(jax.devices()).reshape(2, 2).T
mesh = jax.sharding.Mesh(devices.reshape(4, 1), sharding.AXES)
assert [d.process_index for d in mesh.devices.flat] == [0, 1, 0, 1]
rows = np.arange(8.0).reshape(4, 2) + 100 * jax.process_index()
whole = sharding.put_batch({'x': rows}, mesh)
assert whole['x'].shape == (8, 2)
np.testing.assert_array_equal(sharding.local_rows(whole)['x'], rows)
print('gathered')
"""


def test_a_single_process_gets_its_own_value_back():
  value = {'a': [1]}
  assert processes.gather(value) == [value]


def test_two_processes_get_each_others_values_and_their_own_rows():
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  runs = [
      subprocess.Popen(
          [sys.executable, '-c', PROGRAM, address, str(i)],
          env=os.environ
          | {
              'JAX_PLATFORMS': 'cpu',
              'XLA_FLAGS': '--xla_force_host_platform_device_count=2',
          },
          stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT,
          text=True,
      )
      for i in range(2)
  ]
  outputs = [run.communicate(timeout=120)[0] for run in runs]
  assert all('gathered' in text for text in outputs), outputs
