"""Workdirs that are addresses: gs://, in a bucket of this process."""

import json

import bucket
import jax
import numpy as np
import pytest
import toy_training

from glip_jax import configuring, loading, storage
from glip_jax.errors import UserError
from glip_jax.training import (
    checkpoint_files,
    checkpointing,
    metrics,
    metrics_file,
)

WORKDIR = 'gs://bucket/runs/toy'


@pytest.fixture
def objects(monkeypatch):
  with bucket.serving(monkeypatch) as store:
    yield store


@pytest.fixture(scope='module')
def run():
  return toy_training.prepare(devices=jax.devices()[:1])


def _train(workdir, run):
  """What it started from, and the state it ended with."""
  run.init = jax.tree.map(jax.numpy.copy, run.init)
  first = jax.tree.map(jax.numpy.copy, run.init)
  data = toy_training.dataset(num_workers=0)
  _, final, start, _ = toy_training.train(workdir, data=data, run=run)
  run.init = first
  return start, jax.device_get(final)


@pytest.mark.slow
def test_a_run_in_a_bucket_is_that_in_a_folder(objects, run, tmp_path):
  """It is continued from the last whole checkpoint, and evaluated."""
  _, there = _train(WORKDIR, run)
  _, here = _train(tmp_path, run)
  jax.tree.map(np.testing.assert_array_equal, there, here)
  assert checkpointing.latest_step(WORKDIR) == 8
  assert checkpoint_files.best(WORKDIR) == (2, 0.5)
  # A kill while the last one was written leaves it without this object.
  del objects['/bucket/runs/toy/checkpoints/8/commit_success.txt']
  assert checkpointing.latest_step(WORKDIR) == 6
  start, again = _train(WORKDIR, run)
  assert start == 6
  jax.tree.map(np.testing.assert_array_equal, again, here)
  folder = checkpoint_files.find(WORKDIR)
  assert str(folder) == f'{WORKDIR}/checkpoints/8'
  params = checkpoint_files.restore_params(folder, here.params)
  jax.tree.map(np.testing.assert_array_equal, params, here.ema)


@pytest.mark.slow
def test_nothing_of_a_run_in_a_bucket_is_left_in_a_folder(
    objects, run, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  _train(WORKDIR, run)
  config = {'steps': 8, 'model': {'family': 'toy'}}
  configuring.save(config, WORKDIR)
  with metrics.MetricWriter(WORKDIR) as writer:
    writer.write(1, {'loss': 1})
  assert not list(tmp_path.iterdir())
  assert configuring.load(WORKDIR) == config
  assert '/bucket/runs/toy/metrics.jsonl' in objects


def test_metrics_in_a_bucket_are_written_whole(objects, monkeypatch, capsys):
  """Though nothing can be appended there."""
  now = [0.0]
  monkeypatch.setattr(metrics_file.time, 'monotonic', lambda: now[0])
  path = f'{WORKDIR}/{metrics.FILE}'

  def steps():
    return [record['step'] for record in metrics.read_metrics(path)]

  with metrics.MetricWriter(WORKDIR) as writer:
    assert 'no tensorboard/ in gs://bucket/runs/toy' in capsys.readouterr().err
    writer.write(1, {'loss': 3})
    assert steps() == []
    writer.flush()
    assert steps() == [1]
    writer.write(1, {'AP': 0.5})
    now[0] = 61.0
    writer.write(2, {'loss': float('nan')})
    assert steps() == [1, 2]
    writer.write(3, {'loss': 1})
    writer.write(4, {'loss': 1})
  assert metrics.read_metrics(path)[:2] == [
      {'step': 1, 'loss': 3.0, 'AP': 0.5},
      {'step': 2, 'loss': None},
  ]
  # Continued from step 2, the later ones are forgotten.
  with metrics.MetricWriter(WORKDIR, step=2) as writer:
    assert steps() == [1, 2]
    writer.write(2, {'AP': 0.75})
    writer.write(3, {'loss': 5})
  text = bytes(objects['/bucket/runs/toy/metrics.jsonl'].getbuffer())
  assert json.loads(text.splitlines()[1])['AP'] == 0.75
  assert steps() == [1, 2, 3]


def test_an_address_that_is_of_no_bucket_is_refused():
  with pytest.raises(UserError, match="workdir='ftp://host/run' is no address"):
    storage.check_address('workdir', 'ftp://host/run')


@pytest.mark.parametrize(
    'error, message',
    [
        (ImportError('no gcsfs'), r'needs a package .*no gcsfs.*pip install'),
        (PermissionError('401'), r'cannot be reached \(401\): log in'),
    ],
)
@pytest.mark.parametrize(
    'read',
    [
        lambda x: storage.check_address('workdir', x),
        checkpoint_files.find,
        loading.load_workdir,
        lambda x: storage.check_out('workdir', x),
    ],
    ids=['train', 'eval', 'predict', 'out'],
)
def test_a_bucket_that_cannot_be_reached_is_refused(
    monkeypatch, error, message, read
):
  def refuse(_):
    raise error

  address = metrics.epath.Path('gs://bucket/run')
  monkeypatch.setattr(type(address), 'exists', refuse)
  with pytest.raises(UserError, match=f"workdir='gs://bucket/run' {message}"):
    read('gs://bucket/run')
