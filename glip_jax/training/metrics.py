"""What a run tells about itself: records on disk and a line on the terminal.

`metrics.jsonl` holds one JSON object per step, oldest first, each step once,
also after a run was killed and resumed.
"""

import contextlib
import json
import math
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import jax
import tensorboardX
import tqdm

from glip_jax.errors import UserError

FILE = 'metrics.jsonl'
# Weight of the newest value in the smoothed loss.
_SMOOTHING = 0.1


def check_workdir(workdir: str | os.PathLike[str]) -> None:
  """Raises a UserError if a workdir is an address, not to be appended to."""
  if '://' in os.fspath(workdir):
    raise UserError(
        f'workdir={os.fspath(workdir)!r} cannot be appended to: give a local'
        ' folder or mount the bucket (gcsfuse)'
    )


class MetricWriter:
  """Writes scalars to `<workdir>/metrics.jsonl` and to TensorBoard.

  Only process 0 writes; elsewhere every call does nothing.
  """

  def __init__(self, workdir: str | os.PathLike[str], *, step: int = 0):
    """Opens the files of a run.

    Args:
      workdir: local or mounted folder; made when missing.
      step: the step that training continues from, 0 for a fresh start.
        Records of later steps, and a last line cut short by a kill, are
        removed from the file and hidden from TensorBoard.

    Raises:
      UserError: as `check_workdir`.
    """
    self._file = None
    check_workdir(workdir)
    if jax.process_index() != 0:
      return
    folder = pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    self._start, self._record = _truncate(folder / FILE, step)
    self._file = (folder / FILE).open('r+b')
    self._file.seek(0, os.SEEK_END)
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
    last = self._record.get('step', -1)
    if step < last:
      raise ValueError(f'step={step} is before step {last}, already written')
    if step != last:
      self._start = self._file.seek(0, os.SEEK_END)
      self._record = {'step': step}
    self._record |= {k: _finite(v) for k, v in values.items()}
    self._file.seek(self._start)
    self._file.write(json.dumps(self._record).encode() + b'\n')
    self._file.truncate()
    self._file.flush()
    for name, value in values.items():
      self._board.add_scalar(name, value, step)
    self._board.flush()

  def close(self) -> None:
    """Flushes and closes; writing afterwards is an error."""
    if self._file is not None:
      self._file.close()
      self._board.close()

  def __enter__(self) -> 'MetricWriter':
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """The records of a `metrics.jsonl`, without a last line cut short."""
  return [record for _, record in _records(pathlib.Path(path).read_bytes())]


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
    self._loss = self._ap = None
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
      self, step: int, *, loss: float | None = None, ap: float | None = None
  ) -> None:
    """Tells that `step` is done, and shows it when it is time.

    Args:
      step: steps done in all. The loss of a step must have been read, or the
        device be waited for, or the speed is that of enqueueing.
      loss: of this step; smoothed over about ten calls.
      ap: the last evaluation, in [0, 1]; shown until the next.
    """
    bar = self._bar
    if bar.disable:
      return
    if loss is not None:
      self._loss = _smooth(self._loss, float(loss))
    self._ap = self._ap if ap is None else float(ap)
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
        speed and f'  {speed:.3g} images/s',
        self._loss is not None and f'  loss {self._loss:.4g}',
        self._ap is not None and f'  AP {100 * self._ap:.1f}',
    )
    return ''.join(part for part in parts if part)


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


def _truncate(path: pathlib.Path, step: int) -> tuple[int, dict[str, Any]]:
  """Drops what came after `step`; where the last record starts, and it."""
  path.touch()
  text = path.read_bytes()
  start, last, end = 0, {}, 0
  for offset, record in _records(text):
    if record['step'] > step:
      break
    start, last = offset, record
    end = text.index(b'\n', offset) + 1
  if end < len(text):
    os.truncate(path, end)
  return start, last


def _records(text: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
  """(offset, record) of each whole line, up to the first that is broken."""
  offset = 0
  for line in text.splitlines(keepends=True):
    try:
      record = json.loads(line)
    except ValueError:
      return
    whole = line.endswith(b'\n') and isinstance(record, dict)
    if not whole or not isinstance(record.get('step'), int):
      return
    yield offset, record
    offset += len(line)


def _finite(value: float) -> float | None:
  return value if math.isfinite(value) else None


def _smooth(old: float | None, new: float) -> float:
  # A NaN is shown at once but must not stay for ever.
  if old is None or not math.isfinite(old) or not math.isfinite(new):
    return new
  return old + _SMOOTHING * (new - old)
