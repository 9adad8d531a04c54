"""One run at a time in a workdir: two would remove each other's checkpoints."""

import contextlib
import os
from collections.abc import Iterator

from glip_jax import folder_lock
from glip_jax.training import metrics_file, processes


@contextlib.contextmanager
def hold(workdir: str | os.PathLike) -> Iterator[None]:
  """Holds the workdir, for the first process of a run, inside the block.

  Buckets are not held.

  Args:
    workdir: folder of the run; made if it is not there.

  Raises:
    UserError: on every process, if another run holds it.
  """
  with contextlib.ExitStack() as held:
    if not metrics_file.is_address(workdir):
      lock = folder_lock.hold('workdir', workdir)
      processes.on_first(lambda: held.enter_context(lock) and None)
    yield
