"""Values and rows of batches travel between the processes of a run."""

import os
import socket
import subprocess
import sys

from glip_jax.training import processes

PROGRAM = """
import pathlib
import sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from glip_jax import errors
from glip_jax.training import processes
mine = {'who': jax.process_index(), 'long': 'x' * 1000 * jax.process_index()}
got = processes.gather(mine)
assert [v['who'] for v in got] == [0, 1], got
assert [len(v['long']) for v in got] == [0, 1000], got
# In chunks that are shorter than the values, of which one is empty.
processes._CHUNK = 64
for mine in ({'who': 0, 'long': 'x' * 1000}, None, 'y' * 49):
  other = 'z' * 200 if jax.process_index() else mine
  assert processes.gather(other) == [mine, 'z' * 200], mine
# What the first computes, all get; what it raises, all raise.
calls = []
def compute():
  calls.append(jax.process_index())
  return {'from': jax.process_index()}
assert processes.on_first(compute) == {'from': 0}
assert calls == ([] if jax.process_index() else [0])
class Odd(Exception):
  def __init__(self, a, b):
    super().__init__(f'{a} {b}')
def refuse(error):
  raise error
for error, seen in (
    (errors.UserError('no such step'), errors.UserError),
    (Odd('odd', 'one'), Exception),
):
  try:
    processes.on_first(lambda: refuse(error))
  except seen as raised:
    assert str(error) in str(raised), raised
  else:
    raise AssertionError('went on')
# Which step to start from is what the first finds, though another finds less.
import time
from glip_jax.training import checkpointing
shared = pathlib.Path(sys.argv[3])
own = shared / str(jax.process_index())
for step in (2, 4)[: 2 - jax.process_index()]:
  (own / 'checkpoints' / str(step)).mkdir(parents=True)
assert checkpointing.latest_step(own) == 4
# Nobody goes on before the first has removed what a kill left.
remove = checkpointing._remove_unfinished
def slow(folder):
  time.sleep(1)
  remove(folder)
checkpointing._remove_unfinished = slow
checkpointing._open_manager = lambda folder, keep: None
assert (shared / 'checkpoints' / LEFT).exists()
checkpointing.Checkpointer(shared)
assert not (shared / 'checkpoints' / LEFT).exists()
# A run that breaks names the records of all, on all.
from glip_jax.training import watching
class Checkpoints:
  folder = pathlib.Path('run')
  def wait(self):
    return 5
told = []
watch = watching.Watch(Checkpoints(), lambda *step: told.append(step[0]))
names = ('loss', 'grad_norm', 'param_norm')
watch.add(6, dict.fromkeys(names, 1.0), [jax.process_index()])
watch.add(7, dict.fromkeys(names, float('nan')), [8 + jax.process_index()])
assert told == [6]
try:
  watch.read()
except errors.UserError as error:
  assert str(error).startswith('step 7: loss=nan, '), error
  assert 'records [8, 9]; run/5 is the last good' in str(error), error
else:
  raise AssertionError('went on')
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


def test_two_processes_get_each_others_values_and_their_own_rows(tmp_path):
  left = '6.orbax-checkpoint-tmp-123'
  (tmp_path / 'checkpoints' / left).mkdir(parents=True)
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  runs = [
      subprocess.Popen(
          [
              sys.executable,
              '-c',
              f'LEFT = {left!r}' + PROGRAM,
              address,
              str(i),
              tmp_path,
          ],
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
  try:
    outputs = [run.communicate(timeout=120)[0] for run in runs]
  finally:
    for run in runs:
      run.kill()
  assert all('gathered' in text for text in outputs), outputs
