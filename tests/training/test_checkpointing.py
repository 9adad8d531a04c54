"""Checkpoints: killed runs, other device counts, other models.

The toy run is killed on eight simulated devices, and what it left is read here
on one.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
import toy_training
from absl import flags

from glip_jax.errors import UserError
from glip_jax.training import (
    checkpoint_files,
    checkpointing,
    initial_params,
    sharding,
    state,
)

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass
class Runs:
  """Folders and reports of the toy runs on eight devices."""

  straight: pathlib.Path
  killed: pathlib.Path
  left: list[str]
  workers_ended: bool
  reports: dict[str, dict]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """One run straight through, and one that is killed while it saves."""
  folder = tmp_path_factory.mktemp('runs')
  straight = _start(folder / 'straight', f'--report={folder}/straight.json')
  killed = _start(folder / 'killed', '--kill_at=6')
  assert killed.wait(120) == -signal.SIGKILL
  workers_ended = _is_closed(killed.stdout)
  straight.communicate(timeout=120)
  assert straight.returncode == 0
  left = sorted(p.name for p in (folder / 'killed' / 'checkpoints').iterdir())
  resumed = _start(folder / 'killed', f'--report={folder}/killed.json')
  resumed.communicate(timeout=120)
  assert resumed.returncode == 0
  reports = {
      name: json.loads((folder / f'{name}.json').read_text())
      for name in ('straight', 'killed')
  }
  return Runs(
      folder / 'straight', folder / 'killed', left, workers_ended, reports
  )


def _start(*arguments):
  program = pathlib.Path(__file__).parent / 'toy_training.py'
  settings = {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
      'PYTHONPATH': str(ROOT),
  }
  return subprocess.Popen(
      [sys.executable, program, *map(str, arguments)],
      env=os.environ | settings,
      stdout=subprocess.PIPE,
  )


def _is_closed(pipe, seconds=20):
  """True if all processes that could write to a pipe end soon."""
  reader = threading.Thread(target=pipe.read, daemon=True)
  reader.start()
  reader.join(seconds)
  return not reader.is_alive()


@pytest.fixture(scope='module')
def one_device():
  """The toy run on one device, nothing trained."""
  return toy_training.prepare(devices=jax.devices()[:1])


@pytest.fixture
def iterator():
  flags.FLAGS.mark_as_parsed()
  stream = iter(toy_training.dataset(num_workers=1))
  yield stream
  stream.close()


def test_a_killed_run_resumes_to_the_same_parameters(runs):
  straight, killed = runs.reports['straight'], runs.reports['killed']
  # It was killed at step 6, while the checkpoint of step 6 was being written.
  assert killed['start'] in (4, 6)
  assert killed['losses'] == straight['losses'][killed['start'] :]
  assert killed['kernel'] == straight['kernel']
  assert killed['ema'] == straight['ema']


def test_the_workers_of_a_killed_run_end_with_it(runs):
  assert runs.workers_ended


def test_what_a_kill_leaves_unfinished_is_removed(runs):
  assert '4' in runs.left
  names = {p.name for p in (runs.killed / 'checkpoints').iterdir()}
  assert names == {'2', '6', '8'}


def test_the_last_checkpoints_and_the_best_are_kept(runs):
  checkpointer = checkpointing.Checkpointer(runs.straight)
  assert checkpointer.wait() == 8
  assert checkpoint_files.latest_step(runs.straight) == 8
  checkpointer.close()
  assert checkpoint_files.best(runs.straight) == (2, 0.5)
  assert checkpoint_files.find(runs.straight).name == '8'
  assert checkpoint_files.find(runs.straight, 'best').name == '2'
  assert checkpoint_files.find(runs.straight, '6').name == '6'


def test_what_the_config_names_decides_before_ap(
    one_device, iterator, tmp_path
):
  checkpointer = checkpointing.Checkpointer(tmp_path, keep=1)
  for step, measure in enumerate((0.2, 0.7, 0.4)):
    metrics = {'best': measure}
    checkpointer.save(step, one_device.init, iterator, meta={}, metrics=metrics)
  checkpointer.close()
  assert checkpoint_files.best(tmp_path) == (1, 0.7)
  assert checkpoint_files.find(tmp_path, 'best').name == '1'
  assert checkpoint_files.decisive({'AP': 0.9, 'best': 0.1}) == 0.1
  assert checkpoint_files.decisive({}) == -np.inf


def test_eight_devices_compute_what_one_computes(runs, one_device):
  """Also: the stream is the same without workers."""
  report = runs.reports['straight']
  assert report['devices'] == 8
  assert report['specs']['params/body/kernel'] == "P('fsdp',)"
  moment = 'opt_state/inner_states/trained/inner_state/1/mu/body/kernel'
  assert report['specs'][moment] == "P('fsdp',)"
  current, losses = one_device.init, []
  current = jax.tree.map(jax.numpy.copy, current)
  stream = iter(toy_training.dataset(num_workers=0))
  for _ in range(toy_training.STEPS):
    batch = sharding.put_batch(next(stream), one_device.mesh)
    current, metrics = one_device.step(current, batch)
    losses.append(float(metrics['loss']))
  np.testing.assert_allclose(losses, report['losses'], rtol=2e-5)
  kernel = current.params['body']['kernel']
  np.testing.assert_allclose(kernel, report['kernel'], atol=2e-5)


def test_eight_devices_are_restored_on_one_with_the_data_position(
    runs, one_device, iterator
):
  checkpointer = checkpointing.Checkpointer(runs.straight)
  restored = checkpointer.restore(8, one_device.abstract, iterator)
  checkpointer.close()
  assert restored.step == 8
  assert len(restored.params['body']['kernel'].sharding.device_set) == 1
  np.testing.assert_array_equal(
      restored.params['body']['kernel'], runs.reports['straight']['kernel']
  )
  stream = iter(toy_training.dataset(num_workers=0))
  rows = [next(stream) for _ in range(9)]
  np.testing.assert_array_equal(next(iterator).image, rows[8].image)


def test_the_average_is_what_evaluation_restores(runs, one_device):
  abstract = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
      one_device.init.params,
  )
  for path in (runs.straight, runs.straight / 'checkpoints' / '8'):
    params = checkpoint_files.restore_params(path, abstract)
    np.testing.assert_array_equal(
        params['body']['kernel'], runs.reports['straight']['ema']
    )


def test_a_position_of_an_earlier_version_is_refused(
    runs, one_device, iterator, tmp_path
):
  shutil.copytree(runs.straight / 'checkpoints', tmp_path / 'checkpoints')
  (tmp_path / 'checkpoints/8/data/process_0-of-1.json').write_text('{}')
  checkpointer = checkpointing.Checkpointer(tmp_path)
  with pytest.raises(UserError, match='position in the data by process.*init'):
    checkpointer.restore(8, one_device.abstract, iterator)
  checkpointer.close()


@pytest.mark.parametrize('lost', ['data', 'state/manifest.ocdbt', 'meta'])
def test_a_damaged_checkpoint_is_named(
    runs, one_device, iterator, tmp_path, lost
):
  shutil.copytree(runs.straight / 'checkpoints', tmp_path / 'checkpoints')
  path = tmp_path / 'checkpoints' / '8' / lost
  shutil.rmtree(path) if path.is_dir() else path.unlink()
  checkpointer = checkpointing.Checkpointer(tmp_path)
  with pytest.raises(UserError, match='checkpoints/8 is damaged.*remove it'):
    checkpointer.restore(8, one_device.abstract, iterator)
  checkpointer.close()


def _damage(checkpoint, what):
  """Removes a part of a checkpoint, or changes bits in its arrays."""
  path = checkpoint / what
  if what == 'sums':  # As if any bit of each array had been another one.
    file = checkpoint / 'meta' / 'metadata'
    meta = json.loads(file.read_text())
    sums = {n: x ^ 1 for n, x in meta['checksums'].items()}
    file.write_text(json.dumps(meta | {'checksums': sums}))
    return
  if what != 'bits':
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return
  files = [p for p in (checkpoint / 'state').rglob('d/*') if p.is_file()]
  path = max(files, key=lambda p: p.stat().st_size)
  data = bytearray(path.read_bytes())
  for i in range(len(data) // 4, len(data) * 3 // 4, 16):
    data[i] ^= 0x40
  path.write_bytes(data)


@pytest.mark.parametrize('lost', ['bits', 'state/_METADATA', 'data'])
def test_a_run_goes_on_from_the_last_whole_checkpoint(
    runs, one_device, iterator, tmp_path, lost, caplog
):
  shutil.copytree(runs.straight / 'checkpoints', tmp_path / 'checkpoints')
  last = tmp_path / 'checkpoints' / '8'
  _damage(last, lost)
  checkpointer = checkpointing.Checkpointer(tmp_path)
  step, now = checkpointer.restore_last(one_device.abstract, iterator)
  assert step == now.step == 6
  assert 'checkpoints/8 is damaged' in caplog.text
  assert 'checkpoints/6 is read instead' in caplog.text
  assert (tmp_path / 'checkpoints' / 'damaged_8').exists()
  checkpointer.save(8, now, iterator, meta={})
  assert checkpointer.wait() == 8
  checkpointer.close()


@pytest.mark.parametrize('lost', ['sums', 'state/_METADATA', 'meta'])
def test_readers_of_parameters_take_the_last_whole_checkpoint(
    runs, one_device, tmp_path, lost, caplog
):
  shutil.copytree(runs.straight / 'checkpoints', tmp_path / 'checkpoints')
  last = tmp_path / 'checkpoints' / '8'
  _damage(last, lost)
  params = one_device.init.params
  read = checkpoint_files.restore_params(tmp_path, params)
  whole = checkpoint_files.restore_params(tmp_path, params, 6)
  jax.tree.map(np.testing.assert_array_equal, read, whole)
  started, report = initial_params.from_checkpoint(tmp_path, params)
  jax.tree.map(np.testing.assert_array_equal, started, whole)
  assert report.path.endswith('checkpoints/6')
  assert caplog.text.count('checkpoints/8 is damaged') == 2
  # Who names a checkpoint means that one.
  with pytest.raises(checkpoint_files.Damaged, match='8 is damaged'):
    checkpoint_files.restore_params(tmp_path, params, 8)
  assert last.exists()


def test_a_diverged_checkpoint_and_one_without_checksums_are_told(
    one_device, iterator, tmp_path, caplog
):
  checkpointer = checkpointing.Checkpointer(tmp_path)
  params = jax.tree.map(lambda x: x * jax.numpy.nan, one_device.init.params)
  broken = one_device.init.replace(params=params, ema=params)
  checkpointer.save(1, broken, iterator, meta={})
  checkpointer.close()
  with pytest.raises(UserError, match='not finite in .*body/kernel'):
    checkpoint_files.restore_params(tmp_path, params)
  file = tmp_path / 'checkpoints' / '1' / 'meta' / 'metadata'
  file.write_text('{}')
  with pytest.raises(UserError, match='not finite'):
    checkpoint_files.restore_params(tmp_path, params)
  assert 'has no checksums' in caplog.text


@pytest.mark.parametrize('key', ['batch_size', 'seed', 'best'])
def test_settings_that_a_run_goes_by_must_stay(
    one_device, iterator, tmp_path, key
):
  config = {'batch_size': 8, 'seed': 0, 'best': 'val/AP'}
  checkpointer = checkpointing.Checkpointer(tmp_path)
  checkpointer.save(0, one_device.init, iterator, meta={'config': config})
  checkpointer.close()
  checkpointer = checkpointing.Checkpointer(tmp_path)
  checkpointer.restore(0, one_device.abstract, iterator, config)
  with pytest.raises(UserError, match=f'config.{key}=4, but .* trained with'):
    checkpointer.restore(0, one_device.abstract, iterator, config | {key: 4})
  checkpointer.close()


@pytest.fixture(scope='module')
def wider():
  """A model whose body has other shapes and whose head has not."""
  recipe = toy_training.ToyRecipe(toy_training.Toy(width=32))
  return toy_training.prepare(recipe, devices=jax.devices()[:1])


def test_a_checkpoint_of_another_model_is_refused(runs, wider):
  checkpointer = checkpointing.Checkpointer(runs.straight)
  with pytest.raises(UserError) as error:
    checkpointer.restore(8, wider.abstract, None)
  checkpointer.close()
  message = str(error.value)
  assert 'params/body/bias is (16,) there and (32,) here' in message
  assert 'and 9 more' in message
  assert '--config.init' in message
  with pytest.raises(UserError, match=r'body/bias is \(16,\) there'):
    checkpoint_files.restore_params(runs.straight, wider.abstract.params)


def test_what_fits_is_taken_over_and_the_rest_is_listed(runs, wider):
  params, report = initial_params.from_checkpoint(
      runs.straight, wider.init.params | {'new': wider.init.params['head']}
  )
  assert report.loaded == ('head/bias',)
  assert report.different == (
      ('body/bias', (16,), (32,)),
      ('body/kernel', (192, 16), (192, 32)),
      ('head/kernel', (16, 2), (32, 2)),
  )
  assert report.missing == ('new/bias', 'new/kernel')
  assert report.unused == ()
  assert '1 parameters loaded' in str(report)
  assert '2 not in the checkpoint: new/bias, new/kernel' in str(report)
  straight = checkpoint_files.restore_params(
      runs.straight, toy_training.prepare().abstract.params
  )
  np.testing.assert_array_equal(
      params['head']['bias'], straight['head']['bias']
  )
  np.testing.assert_array_equal(
      params['body']['kernel'], wider.init.params['body']['kernel']
  )


def test_a_model_that_shares_nothing_is_refused(runs):
  with pytest.raises(UserError, match='no parameter of .* fits this model'):
    initial_params.from_checkpoint(
        runs.straight, {'x': np.zeros(3, np.float32)}
    )


def test_a_workdir_without_checkpoints_is_refused(tmp_path, one_device):
  for path in (tmp_path, tmp_path / 'nowhere'):
    with pytest.raises(UserError, match='no checkpoint in .*workdir'):
      checkpoint_files.find(path)
  checkpointer = checkpointing.Checkpointer(tmp_path)
  assert checkpointer.wait() is None
  assert checkpoint_files.latest_step(tmp_path) is None
  assert checkpoint_files.best(tmp_path) == (None, None)
  with pytest.raises(UserError, match='no checkpoint in'):
    checkpointer.restore(0, one_device.abstract, None)
  checkpointer.close()


def test_a_step_that_was_not_kept_is_refused(runs):
  with pytest.raises(UserError, match=r"no checkpoint '3'.*\[2, 6, 8\]"):
    checkpoint_files.find(runs.straight, '3')


def test_saved_arrays_are_those_of_the_moment_although_donated(
    tmp_path, one_device
):
  """The copy to the host is done when `save` returns."""
  current = jax.tree.map(jax.numpy.copy, one_device.init)
  stream = iter(toy_training.dataset(num_workers=0))
  checkpointer = checkpointing.Checkpointer(tmp_path, keep=9)
  expected = []
  for done in range(1, 6):
    batch = sharding.put_batch(next(stream), one_device.mesh)
    current, _ = one_device.step(current, batch)
    expected.append(np.array(current.params['body']['kernel']))
    checkpointer.save(done, current, stream, meta={})
  checkpointer.close()
  for done, kernel in enumerate(expected, 1):
    folder = checkpoint_files.find(tmp_path, done)
    params = checkpoint_files.restore_params(folder, current.params)
    assert params['body']['kernel'].shape == kernel.shape
    whole = checkpoint_files.read(folder, 'params', current.params)
    np.testing.assert_array_equal(whole['body']['kernel'], kernel)


def test_abstract_states_carry_their_shardings(one_device):
  leaves = jax.tree.leaves(one_device.abstract)
  assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
  assert all(leaf.sharding.mesh == one_device.mesh for leaf in leaves)
  assert isinstance(one_device.abstract, state.TrainState)
