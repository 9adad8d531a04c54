"""Reads the numbers of a run's steps, and stops a run that has broken.

Numbers of a step are read when the next one is on its way, so that the device
never waits for the host. Whatever is to last (a checkpoint, an evaluation) must
wait for them: a state counts as good when they were read and were finite.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from glip_jax import errors
from glip_jax.training import checkpointing, processes, step

Numbers = dict[str, float]


class Watch:
  """Hears of every step; every process has one.

  Attributes:
    skipped: steps that were left out because they were not finite, since the
      run began.
  """

  def __init__(
      self,
      checkpointer: checkpointing.Checkpointer,
      tell: Callable[[int, Numbers], None],
      *,
      skip_nonfinite: int = 0,
  ):
    """Starts with nothing to read.

    Args:
      checkpointer: of the run, to name its last checkpoint.
      tell: called with a step and its numbers where they are wanted.
      skip_nonfinite: `config.optimizer.skip_nonfinite`.
    """
    self.skipped = 0
    self._checkpointer = checkpointer
    self._tell = tell
    self._allowed = skip_nonfinite
    self._unread: tuple[int, Mapping[str, Any], np.ndarray, bool] | None = None

  def add(
      self,
      done: int,
      numbers: Mapping[str, jax.Array],
      records: Sequence[int],
      *,
      told: bool = True,
  ) -> None:
    """Takes the numbers of a step and reads those of the one before.

    Args:
      done: the step, counted from 1.
      numbers: what the step reports (`step.make_train_step`), not waited for.
      records: positions in their source of this process's part of the batch.
      told: whether `tell` shall hear of it.

    Raises:
      UserError: as `read`, for the step before.
    """
    self.read()
    self._unread = done, numbers, np.asarray(records), told

  def read(self) -> None:
    """Waits for the numbers of the last step, if they are unread.

    Raises:
      UserError: if they are not finite and the step was not skipped, or more
        than `skip_nonfinite` were in a row; the same on every process.
    """
    if self._unread is None:
      return
    (done, numbers, records, told), self._unread = self._unread, None
    if not told:
      numbers = {n: x for n, x in numbers.items() if n in _NEEDED}
    numbers = {n: float(x) for n, x in jax.device_get(dict(numbers)).items()}
    self.skipped = int(numbers.get('skipped', 0))
    in_a_row = int(numbers.get('skipped_in_a_row', 0))
    bad = [name for name in step.FINITE if not math.isfinite(numbers[name])]
    broken = bool(bad) and (not in_a_row or in_a_row > self._allowed)
    if told or broken:
      self._tell(done, numbers)
    if broken:
      values = ', '.join(f'{name}={numbers[name]}' for name in bad)
      raise self._error(f'step {done}: {values}', records, in_a_row)

  def _error(
      self, what: str, records: np.ndarray, in_a_row: int
  ) -> errors.UserError:
    """The one line that ends a run; all processes must ask for it."""
    ids = np.concatenate(processes.gather(records)).tolist()
    good = self._checkpointer.wait()
    kept = 'no checkpoint was saved before'
    if good is not None:
      kept = f'{self._checkpointer.folder / str(good)} is the last good'
    remedy = 'or skip such steps by config.optimizer.skip_nonfinite'
    if in_a_row:
      remedy = (
          f'these were {in_a_row} steps in a row, more than'
          f' config.optimizer.skip_nonfinite={self._allowed}'
      )
    return errors.UserError(
        f'{what} in the batch of records {ids}; {kept}: lower'
        f' config.optimizer.lr or set config.optimizer.clip_norm; {remedy}'
    )


_NEEDED = (*step.FINITE, 'skipped', 'skipped_in_a_row')
