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
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import jax
import tensorboardX
import tqdm
from etils import epath

from glip_jax import storage
from glip_jax.training import metrics_file

FILE = 'metrics.jsonl'
# Weight of the newest value in the smoothed loss.
_SMOOTHING = 0.1


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
      UserError: as `storage.check_address`.
    """
    self._file: metrics_file.MetricsFile | None = None
    self._board: tensorboardX.SummaryWriter | None = None
    storage.check_address('workdir', workdir)
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
        # Without an end: its thread dies of a full disk, and putting waits.
        max_queue=0,
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
  """One line that says how far training is and how fast: a bar of tqdm.

  On a terminal the line is rewritten in place; in a log file it is printed
  every `interval` seconds; only process 0 shows it. Speed is the mean of the
  steady state: the time before the first `update` (compilation) and inside
  `pause` does not count.
  """

  def __init__(
      self,
      total: int,
      *,
      batch_size: int,
      start: int = 0,
      stream: TextIO | None = None,
      interval: float = 30.0,
  ):
    """Starts the clock.

    Args:
      total: step at which training ends.
      batch_size: images per step, over all devices.
      start: the step that training continues from.
      stream: where the line goes; standard error by default.
      interval: seconds between lines in a log file.
    """
    stream = sys.stderr if stream is None else stream
    self._terminal = terminal = stream.isatty()
    line = f'{{n:>{len(str(total))}}}/{{total}}  ETA {{remaining}}{{desc}}'
    self._bar = tqdm.tqdm(
        total=total,
        initial=start,
        file=stream if terminal else _Lines(stream),
        disable=jax.process_index() != 0,
        mininterval=0.1 if terminal else interval,
        miniters=0,
        smoothing=0,  # The mean, as pauses do not count.
        # tqdm shows nothing on a terminal that does not tell its size.
        ncols=self._columns(),
        nrows=24,
        bar_format='{percentage:3.0f}%|{bar}| ' + line if terminal else line,
    )
    self._batch_size = batch_size
    self._loss = self._ap = self._wait = None
    self._is_steady = False

  @property
  def images_per_second(self) -> float | None:
    """Mean of the steady state; None before the second update."""
    if not self._is_steady:
      return None
    seconds = self._bar.format_dict['elapsed']
    images = (self._bar.n - self._bar.initial) * self._batch_size
    return images / seconds if images and seconds else None

  def update(
      self,
      step: int,
      *,
      loss: float | None = None,
      ap: float | None = None,
      wait: float | None = None,
  ) -> None:
    """Tells that `step` is done, and shows it when it is time.

    Args:
      step: steps done in all. The loss of a step must have been read, or the
        device be waited for, or the speed is that of enqueueing.
      loss: of this step; smoothed over about ten calls.
      ap: the last evaluation, in [0, 1]; shown until the next.
      wait: share of the time in which the step waits for data, in [0, 1];
        smoothed too.
    """
    bar = self._bar
    if bar.disable:
      return
    if loss is not None:
      self._loss = _smooth(self._loss, float(loss))
    self._ap = self._ap if ap is None else float(ap)
    if wait is not None:
      self._wait = _smooth(self._wait, wait)
    if not self._is_steady:
      bar.initial, bar.n, self._is_steady = step, step, True
      bar.start_t = bar.last_print_t = time.time()
    bar.n, bar.ncols = step, self._columns()
    bar.set_description_str(self._told(), refresh=step == bar.initial)
    bar.update(0)

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Leaves what happens inside (evaluation, saving) out of the speed."""
    before = time.time()
    try:
      yield
    finally:
      if self._is_steady:
        self._bar.start_t += time.time() - before
        self._bar.last_print_t += time.time() - before

  def close(self) -> None:
    """Leaves the last line standing."""
    self._bar.close()

  def _columns(self) -> int | None:
    """Room for the line, which is without an end in a log file."""
    return shutil.get_terminal_size().columns - 1 if self._terminal else None

  def _told(self) -> str:
    """What the line says beside steps and time."""
    speed = self.images_per_second
    parts = (
        speed and f'  {_short(speed)} images/s',
        self._loss is not None and f'  loss {self._loss:.4g}',
        self._wait is not None and f'  data wait {100 * self._wait:.0f} %',
        self._ap is not None and f'  AP {100 * self._ap:.1f}',
    )
    return ''.join(part for part in parts if part)


def _short(x: float) -> str:
  """A number with one digit after the point where that says something."""
  return f'{x:,.{1 if x < 100 else 0}f}'.removesuffix('.0')


class _Lines:
  """A stream on which every state of a bar is a line that stays."""

  def __init__(self, stream: TextIO):
    self._stream = stream
    self._last = ''
    self.flush = stream.flush

  def write(self, text: str) -> None:
    """Writes a state without what would move the cursor."""
    text = text.strip('\r\n')
    if text.strip() and text != self._last:
      self._stream.write(text.rstrip() + '\n')
      self._last = text


def _finite(value: float) -> float | None:
  return value if math.isfinite(value) else None


def _smooth(old: float | None, new: float) -> float:
  # A NaN is shown at once but must not stay for ever.
  if old is None or not math.isfinite(old) or not math.isfinite(new):
    return new
  return old + _SMOOTHING * (new - old)
