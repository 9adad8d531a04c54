"""One program at a time that writes into a folder."""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

from glip_jax import errors

FILE = '.lock'
# Of file systems that cannot lock, such as some that are mounted from afar.
_CANNOT = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


@contextlib.contextmanager
def hold(name: str, folder: str | os.PathLike) -> Iterator[None]:
  """Holds a folder inside the block.

  The system lets go of it when the process ends, however it does; the file
  stays and means nothing. File systems that cannot lock are not held.

  Args:
    name: the flag without its dashes, for the message.
    folder: made if it is not there.

  Raises:
    UserError: another program holds it.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / FILE).open('a+') as file:
    _take(name, folder, file)
    yield


def _take(name, folder, file):
  """Locks the file and writes into it who did."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    if error.errno in _CANNOT:
      return
    file.seek(0)
    who = ' '.join(file.read(200).split()) or 'another run'
    raise errors.UserError(
        f'{name}={os.fspath(folder)!r} is in use by {who}: wait until that'
        f' has ended, or take another --{name}'
    ) from error
  file.truncate(0)
  file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
  file.flush()
