"""One run at a time in a workdir: two would remove each other's checkpoints."""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

from glip_jax import errors
from glip_jax.training import metrics_file, processes

FILE = '.lock'
# Of file systems that cannot lock, such as some that are mounted from afar.
_CANNOT = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


@contextlib.contextmanager
def hold(workdir: str | os.PathLike) -> Iterator[None]:
  """Holds the workdir, for the first process of a run, inside the block.

  The system lets go of it when the process ends, however it does; the file
  stays and means nothing. Buckets, and file systems that cannot lock, are not
  held.

  Args:
    workdir: folder of the run; made if it is not there.

  Raises:
    UserError: on every process, if another run holds it.
  """
  with contextlib.ExitStack() as held:
    if not metrics_file.is_address(workdir):
      processes.on_first(lambda: _take(pathlib.Path(workdir), held))
    yield


def _take(workdir: pathlib.Path, held: contextlib.ExitStack) -> None:
  """Locks the file and writes into it who did."""
  workdir.mkdir(parents=True, exist_ok=True)
  file = held.enter_context((workdir / FILE).open('a+'))
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    if error.errno in _CANNOT:
      return
    file.seek(0)
    who = ' '.join(file.read(200).split()) or 'another run'
    raise errors.UserError(
        f'workdir={os.fspath(workdir)!r} is in use by {who}: wait until that'
        ' has ended, or take another --workdir'
    ) from error
  file.truncate(0)
  file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
  file.flush()
