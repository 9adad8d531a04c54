"""Records survive a kill, and the progress line tells the truth."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from glip_jax.training import metrics


def _steps(folder):
  return [r['step'] for r in metrics.read_metrics(folder / 'metrics.jsonl')]


class _Clock:
  now = 0.0

  def __call__(self):
    return self.now


class _Terminal(io.StringIO):

  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  clock = _Clock()
  monkeypatch.setattr(time, 'time', clock)
  monkeypatch.setattr('tqdm.std.time', clock)
  return clock


def _progress(stream, **options):
  options = {'batch_size': 4, 'interval': 0.0} | options
  return metrics.Progress(100, stream=stream, **options)


def test_every_record_is_readable_as_soon_as_it_is_written(tmp_path):
  with metrics.MetricWriter(tmp_path / 'run') as writer:
    writer.write(1, {'loss': jnp.float32(0.5), 'lr': np.float64(0.25)})
    assert (tmp_path / 'run' / 'metrics.jsonl').read_text() == (
        '{"step": 1, "loss": 0.5, "lr": 0.25}\n'
    )


def test_a_second_write_of_a_step_adds_to_its_record(tmp_path):
  with metrics.MetricWriter(tmp_path) as writer:
    writer.write(1, {'loss': 3})
    writer.write(2, {'loss': 0.123456})
    writer.write(2, {'AP': 0.5, 'loss': 2})
    writer.write(3, {'loss': 1})
  assert metrics.read_metrics(tmp_path / 'metrics.jsonl') == [
      {'step': 1, 'loss': 3.0},
      {'step': 2, 'loss': 2.0, 'AP': 0.5},
      {'step': 3, 'loss': 1.0},
  ]


def test_resuming_drops_later_steps_and_the_cut_line(tmp_path):
  with metrics.MetricWriter(tmp_path) as writer:
    for step in range(1, 8):
      writer.write(step, {'loss': step})
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 8, "lo')
  with metrics.MetricWriter(tmp_path, step=5) as writer:
    assert _steps(tmp_path) == [1, 2, 3, 4, 5]
    writer.write(6, {'loss': 60})
  records = metrics.read_metrics(tmp_path / 'metrics.jsonl')
  assert [r['step'] for r in records] == [1, 2, 3, 4, 5, 6]
  assert records[-1]['loss'] == 60


@pytest.mark.parametrize(
    'cut', [b'{"step": 3', b'\xff\x00', b'3\n', b'{"step": 3, "loss": 1.0}']
)
def test_a_broken_last_line_is_dropped(tmp_path, cut):
  whole = b'{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 1.0}\n'
  (tmp_path / 'metrics.jsonl').write_bytes(whole + cut)
  with metrics.MetricWriter(tmp_path, step=9) as writer:
    writer.write(10, {'loss': 1})
  assert _steps(tmp_path) == [1, 2, 10]


def test_resuming_at_a_recorded_step_adds_to_its_record(tmp_path):
  with metrics.MetricWriter(tmp_path) as writer:
    writer.write(5, {'loss': 1})
  with metrics.MetricWriter(tmp_path, step=5) as writer:
    writer.write(5, {'AP': 0.5})
  assert metrics.read_metrics(tmp_path / 'metrics.jsonl') == [
      {'step': 5, 'loss': 1.0, 'AP': 0.5}
  ]


def test_a_fresh_start_in_an_old_folder_forgets_the_old_run(tmp_path):
  with metrics.MetricWriter(tmp_path) as writer:
    writer.write(5, {'loss': 1})
  with metrics.MetricWriter(tmp_path) as writer:
    writer.write(1, {'loss': 2})
  assert _steps(tmp_path) == [1]


def test_records_survive_sigkill(tmp_path):
  program = (
      'import os, signal, sys\n'
      'from glip_jax.training import metrics\n'
      'writer = metrics.MetricWriter(sys.argv[1])\n'
      'for step in range(1, 4): writer.write(step, {"loss": step})\n'
      'os.kill(os.getpid(), signal.SIGKILL)\n'
  )
  done = subprocess.run(
      [sys.executable, '-c', program, str(tmp_path)],
      env=os.environ | {'JAX_PLATFORMS': 'cpu'},
  )
  assert done.returncode == -signal.SIGKILL
  assert _steps(tmp_path) == [1, 2, 3]


def test_steps_cannot_go_back(tmp_path):
  with metrics.MetricWriter(tmp_path) as writer:
    writer.write(2, {'loss': 1})
    with pytest.raises(ValueError, match='step=1 is before step 2'):
      writer.write(1, {'loss': 1})


def test_values_that_are_not_finite_stay_valid_json(tmp_path):
  with metrics.MetricWriter(tmp_path) as writer:
    writer.write(1, {'loss': float('nan'), 'norm': float('inf')})
  text = (tmp_path / 'metrics.jsonl').read_text()
  assert json.loads(text, parse_constant=pytest.fail) == {
      'step': 1,
      'loss': None,
      'norm': None,
  }


def test_only_the_first_process_writes(tmp_path, monkeypatch):
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  with metrics.MetricWriter(tmp_path / 'run') as writer:
    writer.write(1, {'loss': 1})
  stream = io.StringIO()
  progress = _progress(stream)
  progress.update(1, loss=1)
  with progress.pause():
    progress.update(2)
  progress.close()
  assert progress.images_per_second is None
  assert not (tmp_path / 'run').exists()
  assert stream.getvalue() == ''


def test_speed_leaves_out_compilation_and_pauses(clock):
  progress = _progress(io.StringIO())
  clock.now += 500.0
  progress.update(1)
  assert progress.images_per_second is None
  for step in range(2, 6):
    clock.now += 0.5
    progress.update(step)
  with progress.pause():
    clock.now += 1000
  clock.now += 0.5
  progress.update(6)
  assert progress.images_per_second == pytest.approx(8)


def test_line_shows_step_time_left_speed_loss_and_ap(clock):
  stream = io.StringIO()
  progress = _progress(stream)
  progress.update(10, loss=2.0, ap=0.125)
  clock.now += 10
  progress.update(20, loss=1.0)
  with progress.pause():
    clock.now += 1000
  progress.update(20, ap=0.25)
  assert stream.getvalue().splitlines() == [
      '  0/100  ETA ?',
      ' 10/100  ETA ?  loss 2  AP 12.5',
      ' 20/100  ETA 01:20  4 images/s  loss 1.9  AP 12.5',
      ' 20/100  ETA 01:20  4 images/s  loss 1.9  AP 25.0',
  ]


def test_a_resumed_run_tells_the_speed_of_its_own_steps(clock):
  stream = io.StringIO()
  progress = _progress(stream, start=60)
  for step in (61, 71):
    clock.now += 10
    progress.update(step)
  assert stream.getvalue().splitlines() == [
      ' 60/100  ETA ?',
      ' 61/100  ETA ?',
      ' 71/100  ETA 00:29  4 images/s',
  ]


def test_a_loss_that_was_nan_once_recovers():
  stream = io.StringIO()
  progress = _progress(stream)
  progress.update(1, loss=float('nan'))
  assert stream.getvalue().endswith('loss nan\n')
  progress.update(2, loss=2.0)
  assert stream.getvalue().endswith('loss 2\n')


def test_a_log_file_gets_a_line_now_and_then_and_the_last(clock):
  stream = io.StringIO()
  progress = _progress(stream, interval=10.0)
  for step in range(1, 101):
    clock.now += 1
    progress.update(step)
  with progress.pause():
    clock.now += 1000
  progress.close()
  lines = stream.getvalue().splitlines()
  assert [line.split('/')[0].strip() for line in lines] == [
      '0',
      *(str(s) for s in range(1, 100, 10)),
      '100',
  ]
  assert '\r' not in stream.getvalue()


def test_a_terminal_gets_one_line_that_is_rewritten(monkeypatch, clock):
  monkeypatch.setenv('COLUMNS', '80')
  stream = _Terminal()
  progress = _progress(stream)
  for step in (1, 50, 100):
    clock.now += 1
    progress.update(step, loss=1.0)
  with progress.pause():
    clock.now += 1000
  progress.close()
  shown = stream.getvalue()
  assert shown.count('\n') == 1 and shown.endswith('\n')
  lines = shown.split('\r')[1:]
  assert all(len(line.strip('\n')) < 80 for line in lines)
  assert lines[0].startswith('  0%|') and lines[2].startswith(' 50%|')
  assert lines[-1].startswith('100%|')
  assert (
      lines[-1].strip().endswith('| 100/100  ETA 00:00  198 images/s  loss 1')
  )


def test_a_narrow_terminal_cuts_the_line(monkeypatch):
  monkeypatch.setenv('COLUMNS', '30')
  stream = _Terminal()
  progress = _progress(stream)
  progress.update(1, loss=1.0, ap=0.5)
  monkeypatch.setenv('COLUMNS', '20')
  progress.update(100)
  progress.close()
  first, *_, last = stream.getvalue().strip('\r\n').split('\r')
  assert len(first) == 29 and len(last.rstrip()) < 20


def test_tensorboard_holds_every_scalar_and_the_purge(tmp_path):
  with metrics.MetricWriter(tmp_path) as writer:
    writer.write(1, {'loss': 0.5})
  with metrics.MetricWriter(tmp_path, step=1) as writer:
    writer.write(2, {'loss': 0.25})
  scalars, purges = [], []
  for path in sorted((tmp_path / 'tensorboard').iterdir()):
    for event in _events(path.read_bytes()):
      scalars += [
          (event.step, v.tag, v.simple_value) for v in event.summary.value
      ]
      purges += [event.step] * event.HasField('session_log')
  assert sorted(scalars) == [(1, 'loss', 0.5), (2, 'loss', 0.25)]
  assert 2 in purges


def _events(data):
  """TFRecord: u64 length, u32 checksum, the event, u32 checksum."""
  while data:
    length = int.from_bytes(data[:8], 'little')
    yield event_pb2.Event.FromString(data[12 : 12 + length])
    data = data[16 + length :]
