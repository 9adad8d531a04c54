"""What the file system refuses is one line, and what was good stays."""

import contextlib
import errno
import logging
import os
import pathlib
import resource
import subprocess
import sys
import threading

import grain
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_config
from PIL import Image

import train
from glip_jax import errors, loading, predict, predicting, storage
from glip_jax.evaluators import written
from glip_jax.training import (
    checkpoint_files,
    checkpointing,
    metrics,
    state,
)
from glip_jax.weights import formats

ROOT = pathlib.Path(__file__).parents[1]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), '/disk/file')


@contextlib.contextmanager
def _small_files(size):
  """No file can become larger, whoever writes it: stands for a full disk."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _state(step):
  params = {'kernel': jnp.arange(5000.0) * step}
  return state.TrainState(step=jnp.int32(step), params=params, opt_state=())


@pytest.mark.parametrize(
    'number', ['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO', 'EROFS', 'EACCES']
)
def test_what_the_system_refuses_is_named_with_a_remedy(number):
  number = getattr(errno, number)
  error = OSError(number, 'x', '/disk/file')
  said = storage.fault(error)
  assert said.startswith(f'{os.strerror(number)}: /disk/file; ')
  assert said.endswith(('another place', 'another one', '(ulimit -f)'))


def test_what_it_came_from_is_looked_at_and_a_defect_is_none():
  try:
    try:
      raise FULL
    except OSError:
      raise RuntimeError('the writer has died')  # noqa: B904
  except RuntimeError as error:
    assert storage.fault(error).startswith('No space left on device: /disk')
  tensorstore = ValueError(
      'RESOURCE_EXHAUSTED: Error writing local file "/disk/d/ab": No space left'
      " on device [os_error_code='28']"
  )
  assert storage.fault(tensorstore).startswith(
      'No space left on device: /disk/d/ab; make room'
  )
  rust = Exception('Error while serializing: I/O error: x (os error 28)')
  assert storage.fault(rust) == (
      'No space left on device; make room, or write to another place'
  )
  for error in (FileNotFoundError(2, 'x'), ValueError('28'), None):
    assert storage.fault(error) == ''


@pytest.mark.parametrize(
    'out, fault',
    [
        ('folder', 'is a folder: give the file to write'),
        ('file/a.png', '/file is no folder; give another'),
        ('file/new/a.png', '/file is no folder; give another'),
        ('nothing/a.png', '/nothing is a link to nothing; give another'),
        ('loop/a.png', 'Too many levels of symbolic links; give another'),
        ('pipe', 'is a pipe \\(FIFO\\): give the path of a file'),
        ('n' * 256, 'File name too long; give another'),
        ('n' * 256 + '/a.png', 'File name too long; give another'),
        ('a\0.png', 'embedded null byte; give another'),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(tmp_path, out, fault):
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'file').touch()
  (tmp_path / 'nothing').symlink_to('gone')
  (tmp_path / 'loop').symlink_to('loop')
  os.mkfifo(tmp_path / 'pipe')
  before = sorted(tmp_path.iterdir())
  with pytest.raises(errors.UserError, match=f'^out=.*{fault}'):
    storage.check_out('out', f'{tmp_path}/{out}')
  assert sorted(tmp_path.iterdir()) == before


def test_a_folder_without_rights_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'access', lambda *_: False)  # root may all.
  fault = f'{tmp_path} cannot be written to; give another'
  with pytest.raises(errors.UserError, match=fault):
    storage.check_out('out', tmp_path / 'new' / 'a.png')

  def stat(path, **_):
    raise PermissionError(13, 'Permission denied', path)

  monkeypatch.setattr(os, 'stat', stat)
  with pytest.raises(errors.UserError, match='Permission denied; give another'):
    storage.check_folder('out', tmp_path / 'new')


def test_a_file_that_can_be_written_is_let_pass(tmp_path):
  (tmp_path / 'old').touch()
  (tmp_path / 'nothing').symlink_to('gone')
  for name in ('old', 'new/deep/a.png', 'nothing'):
    storage.check_out('out', tmp_path / name)


@pytest.mark.parametrize(
    'read',
    [
        checkpoint_files.find,
        lambda x: checkpoint_files.first_whole(x, 'latest', print),
        loading.load_workdir,
    ],
    ids=['find', 'first_whole', 'predict'],
)
def test_a_workdir_that_cannot_be_read_is_refused(tmp_path, monkeypatch, read):
  for name, target in (('nothing', 'gone'), ('loop', 'loop')):
    (tmp_path / name).symlink_to(target)
  (tmp_path / 'file').touch()
  for name, fault in (
      ('nothing', 'nothing.* is a link to nothing'),
      ('loop', 'loop.*: Too many levels of symbolic links'),
      ('n' * 256, ': File name too long'),
      ('file', 'is a file, not the folder of a run'),
      ('file/x', 'no checkpoint in'),
  ):
    with pytest.raises(errors.UserError, match=fault):
      read(tmp_path / name)
  monkeypatch.setattr(os, 'access', lambda *_: False)  # root may all.
  with pytest.raises(errors.UserError, match='cannot be read; give another'):
    read(tmp_path)

  def stat(path, **_):
    raise PermissionError(13, 'Permission denied', path)

  monkeypatch.setattr(os, 'stat', stat)
  with pytest.raises(errors.UserError, match='Permission denied; give another'):
    read(tmp_path / 'x')


def test_a_checkpoint_that_has_no_room_leaves_the_one_before(
    tmp_path, monkeypatch, caplog, capfd
):
  handler = logging.StreamHandler(sys.stderr)
  monkeypatch.setattr(threading, 'excepthook', threading.excepthook)
  monkeypatch.setattr(logging.getLogger('absl'), 'handlers', [handler])
  monkeypatch.setattr(logging.getLogger('absl'), 'propagate', False)
  storage.quiet(handler)
  checkpointer = checkpointing.Checkpointer(tmp_path)
  iterator = iter(grain.MapDataset.range(1).to_iter_dataset())
  checkpointer.save(1, _state(1), iterator, meta={})
  assert checkpointer.wait() == 1
  with pytest.raises(errors.UserError) as caught:
    with storage.told(lambda: checkpoint_files.left(tmp_path)):
      with _small_files(5000):
        checkpointer.save(2, _state(2), iterator, meta={})
        checkpointer.wait()
  assert str(caught.value).startswith('File too large: ')
  assert (
      f'; {tmp_path}/checkpoints/1 is the last good checkpoint, the same'
      ' command goes on from it'
  ) in str(caught.value)
  assert capfd.readouterr().err == ''
  shapes = {'kernel': np.zeros(5000, np.float32)}
  read = checkpoint_files.restore_params(tmp_path, shapes)
  np.testing.assert_array_equal(read['kernel'], np.arange(5000.0))


def test_training_says_what_is_left(tmp_path, monkeypatch):
  def fail(*_):
    raise FULL

  monkeypatch.setattr(train, '_train', fail)
  with pytest.raises(errors.UserError) as caught:
    train.train(tiny_config.get_config(), str(tmp_path / 'run'))
  assert str(caught.value) == (
      'No space left on device: /disk/file; make room, or write to another'
      f' place; {tmp_path}/run has no checkpoint yet'
  )


def test_what_says_already_what_it_is_about_stays_as_it_is():
  with pytest.raises(errors.UserError, match='^annotations cannot be read$'):
    with storage.told(lambda: 'nothing'):
      try:
        raise PermissionError(errno.EACCES, 'Permission denied', 'a.json')
      except OSError as error:
        raise errors.UserError('annotations cannot be read') from error


def test_metrics_that_have_no_room_end_in_one_error(tmp_path):
  with pytest.raises(OSError, match='too large') as caught:
    with metrics.MetricWriter(tmp_path) as writer, _small_files(300):
      for step in range(1, 99):
        writer.write(step, {'loss': 0.5})
  assert storage.fault(caught.value)
  records = metrics.read_metrics(tmp_path / metrics.FILE)
  assert [x['step'] for x in records] == list(range(1, len(records) + 1))
  assert records


def test_results_that_have_no_room_leave_those_before(tmp_path):
  path = tmp_path / 'predictions.json'
  written.write_predictions(path, [{'score': 1}])
  with pytest.raises(OSError, match='too large'), _small_files(100):
    written.write_predictions(path, [{'score': 2}] * 99)
  assert path.read_text() == '[\n{"score": 1}\n]\n'
  assert list(tmp_path.iterdir()) == [path]


def test_weights_that_have_no_room_leave_nothing(tmp_path):
  for ending in ('.pth', '.safetensors'):
    with pytest.raises(errors.UserError, match='cannot be written'):
      with _small_files(100):
        formats.write(tmp_path / f'x{ending}', {'a': np.ones(99)})
  assert not list(tmp_path.iterdir())


def test_a_drawing_that_has_no_room_leaves_the_one_before(tmp_path):
  none = np.zeros((0, 4), np.float32)
  find = lambda pixels, text: predicting.Found(none, none[:, 0], ())
  image, out = Image.effect_noise((64, 64), 99), tmp_path / 'out.png'
  out.write_text('before')
  with pytest.raises(OSError, match='too large'), _small_files(100):
    predict.write_image(find, image.convert('RGB'), 'dog', out)
  assert out.read_text() == 'before'
  assert list(tmp_path.iterdir()) == [out]


def test_output_that_has_no_room_is_one_line():
  code = 'from glip_jax import configuring; configuring.run(lambda _: print(1))'
  with open('/dev/full', 'w') as full:
    done = subprocess.run(
        [sys.executable, '-c', code],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        stdout=full,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
  assert done.stderr == (
      'error: No space left on device; make room, or write to another place\n'
  )
  assert done.returncode == 1
