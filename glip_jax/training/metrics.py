"""What a run tells about itself: records on disk and a line on the terminal.

`metrics.jsonl` holds one JSON object per step, oldest first, each step once,
also after a run was killed and resumed.
"""

import contextlib
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

import jax
import tensorboardX
from etils import epath

from glip_jax.errors import UserError
from glip_jax.training import metrics_file

FILE = 'metrics.jsonl'
# Weight of the newest value in the smoothed loss and speed.
_SMOOTHING = 0.1


def check_workdir(workdir: str | os.PathLike[str]) -> None:
  """Refuses an address that cannot be reached.

  Raises:
    UserError: it is not in a bucket, or what reads buckets is not installed or
      not let in.
  """
  if not metrics_file.is_address(workdir):
    return
  address = os.fspath(workdir)
  if not address.startswith(('gs://', 's3://')):
    raise UserError(
        f'workdir={address!r} is no address of a bucket: give gs://bucket/run,'
        ' or a local folder'
    )
  try:
    epath.Path(address).exists()
  except ImportError as error:
    raise UserError(
        f'workdir={address!r} needs a package for buckets ({error}): pip'
        ' install gcsfs'
    ) from error
  except Exception as error:  # Each package has errors of its own.
    raise UserError(
        f'workdir={address!r} cannot be reached ({error}): log in, or give'
        ' another'
    ) from error


class MetricWriter:
  """Writes scalars to `<workdir>/metrics.jsonl` and to TensorBoard.

  Only process 0 writes; elsewhere every call does nothing.
  """

  def __init__(self, workdir: str | os.PathLike[str], *, step: int = 0):
    """Opens the files of a run.

    Args:
      workdir: folder, made when missing, or address in a bucket, which gets
        no TensorBoard and records a minute late (`flush`).
      step: the step that training continues from, 0 for a fresh start.
        Records of later steps, and a last line cut short by a kill, are
        removed from the file and hidden from TensorBoard.

    Raises:
      UserError: as `check_workdir`.
    """
    self._file: metrics_file.MetricsFile | None = None
    self._board: tensorboardX.SummaryWriter | None = None
    check_workdir(workdir)
    if jax.process_index() != 0:
      return
    folder = epath.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    self._file = metrics_file.open_file(folder / FILE, step=step)
    if metrics_file.is_address(workdir):
      print(f'no tensorboard/ in {workdir}: it needs a folder', file=sys.stderr)
      return
    self._board = tensorboardX.SummaryWriter(
        str(folder / 'tensorboard'),
        purge_step=step + 1,
        # Its own name stands for one second only: runs must not overwrite.
        filename_suffix=f'.{os.getpid()}.{step}',
    )

  def write(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Records the scalars of a step, readable at once by other programs.

    A second call with the same step adds to its record.

    Args:
      step: not before the last one written.
      metrics: numbers, or 0-d arrays; NaN and infinities become null.

    Raises:
      ValueError: `step` lies before the last one.
    """
    if self._file is None:
      return
    values = {name: float(value) for name, value in metrics.items()}
    last = self._file.last
    if step < last.get('step', -1):
      raise ValueError(
          f'step={step} is before step {last["step"]}, already written'
      )
    record = last if step == last.get('step') else {'step': step}
    self._file.put(record | {k: _finite(v) for k, v in values.items()})
    if self._board is not None:
      for name, value in values.items():
        self._board.add_scalar(name, value, step)
      self._board.flush()

  def flush(self) -> None:
    """Returns when a kill can take no record any more, also in a bucket."""
    if self._file is not None:
      self._file.flush()

  def close(self) -> None:
    """Flushes and closes; writing afterwards is an error."""
    if self._file is not None:
      self._file.close()
    if self._board is not None:
      self._board.close()

  def __enter__(self) -> 'MetricWriter':
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """The records of a `metrics.jsonl`, without a last line cut short."""
  text = epath.Path(path).read_bytes()
  return [record for _, record in metrics_file.parse(text)]


class Progress:
  """One line that says how far training is and how fast.

  On a terminal the line is rewritten in place; in a log file it is printed
  every `interval` seconds. Speed is that of the steady state: the time before
  the first `update` (compilation) and inside `pause` does not count.
  """

  def __init__(
      self,
      total: int,
      *,
      batch_size: int,
      start: int = 0,
      stream: TextIO | None = None,
      interval: float = 30.0,
      clock: Callable[[], float] = time.perf_counter,
  ):
    """Starts the clock.

    Args:
      total: step at which training ends.
      batch_size: images per step, over all devices.
      start: the step that training continues from.
      stream: where the line goes; standard error by default.
      interval: seconds between lines in a log file.
      clock: seconds from any origin; replaced in tests.
    """
    self._total = total
    self._batch_size = batch_size
    self._stream = sys.stderr if stream is None else stream
    self._tty = self._stream.isatty()
    self._interval = 0.1 if self._tty else interval
    self._clock = clock
    self._quiet = jax.process_index() != 0
    self._step = start
    self._loss = self._ap = None
    # Steps and seconds of the steady state, since the first update.
    self._steps, self._seconds = 0, 0.0
    self._since: float | None = None
    self._speed: float | None = None
    self._shown = -math.inf

  @property
  def images_per_second(self) -> float | None:
    """Mean of the steady state; None before the second update."""
    if self._seconds <= 0:
      return None
    return self._steps * self._batch_size / self._seconds

  def update(
      self, step: int, *, loss: float | None = None, ap: float | None = None
  ) -> None:
    """Tells that `step` is done, and shows it when it is time.

    Args:
      step: steps done in all. The loss of a step must have been read, or the
        device be waited for, or the speed is that of enqueueing.
      loss: of this step; smoothed over about ten calls.
      ap: the last evaluation, in [0, 1]; shown until the next.
    """
    now = self._clock()
    if self._since is not None and step > self._step:
      self._measure(step - self._step, now - self._since)
    self._since = now
    self._step = step
    if loss is not None:
      self._loss = _smooth(self._loss, float(loss))
    self._ap = self._ap if ap is None else float(ap)
    if now - self._shown >= self._interval or step >= self._total:
      self._shown = now
      self._show()

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Leaves what happens inside (evaluation, saving) out of the speed."""
    before = self._clock()
    try:
      yield
    finally:
      if self._since is not None:
        self._since += self._clock() - before

  def close(self) -> None:
    """Leaves the last line standing."""
    if not self._quiet and self._tty:
      self._stream.write('\n')
      self._stream.flush()

  def line(self) -> str:
    """The progress line as it stands."""
    parts = [f'{self._step:>{len(str(self._total))}}/{self._total}']
    if self._loss is not None:
      parts.append(f'loss {self._loss:.4g}')
    if self._speed is not None:
      left = max(0, self._total - self._step) * self._batch_size / self._speed
      parts.append(f'{self._speed:.3g} images/s')
      parts.append(f'ETA {_duration(left)}')
    if self._ap is not None:
      parts.append(f'AP {100 * self._ap:.1f}')
    return '  '.join(parts)

  def _measure(self, steps: int, seconds: float) -> None:
    self._steps += steps
    self._seconds += seconds
    if seconds > 0:
      self._speed = _smooth(self._speed, steps * self._batch_size / seconds)

  def _show(self) -> None:
    if self._quiet:
      return
    if not self._tty:
      self._stream.write(self.line() + '\n')
    else:
      width = shutil.get_terminal_size().columns - 1
      text = self.line()
      bar = _bar(self._step / max(self._total, 1), width - len(text) - 1)
      self._stream.write(f'\r{f"{bar} {text}".strip()[:width]}\x1b[K')
    self._stream.flush()


def _finite(value: float) -> float | None:
  return value if math.isfinite(value) else None


def _smooth(old: float | None, new: float) -> float:
  # A NaN is shown at once but must not stay for ever.
  if old is None or not math.isfinite(old) or not math.isfinite(new):
    return new
  return old + _SMOOTHING * (new - old)


def _duration(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{seconds:02}'


def _bar(fraction: float, room: int) -> str:
  """[=====>    ] in at most 40 characters, nothing where there is no room."""
  width = min(room - 2, 38)
  if width < 5:
    return ''
  done = int(min(max(fraction, 0.0), 1.0) * width)
  head = '>' if done < width else ''
  return f'[{"=" * done}{head}'.ljust(width + 1) + ']'
