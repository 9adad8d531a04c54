"""The released weights by name, and fetching them for who asks.

Names and addresses are those of the official README; sizes and checksums are
not published there, and stay None until somebody has measured them on a file.
Nothing is fetched at import or by any test; a file lands in the cache when it
is whole, and an interrupted download goes on where it stopped.
"""

import dataclasses
import hashlib
import os
import pathlib
import urllib.error
import urllib.request

from glip_jax import errors

_HOST = 'https://huggingface.co/GLIPModel/GLIP/resolve/main/'
_CHUNK = 1 << 20
_TIMEOUT = 60  # Seconds without a byte.


@dataclasses.dataclass(frozen=True)
class Released:
  """A released file.

  Attributes:
    variant: key of `models.variants.VARIANTS`.
    file: its name.
    host: what its address begins with.
    size: bytes; None where not known.
    sha256: hexadecimal; None where not known.
  """

  variant: str
  file: str
  host: str = _HOST
  size: int | None = None
  sha256: str | None = None

  @property
  def url(self) -> str:
    return self.host + self.file


RELEASED = {
    'glip_t_a': Released('A', 'glip_a_tiny_o365.pth'),
    'glip_t_b': Released('B', 'glip_tiny_model_o365.pth'),
    'glip_t_c': Released('C', 'glip_tiny_model_o365_goldg.pth'),
    'glip_t': Released('T', 'glip_tiny_model_o365_goldg_cc_sbu.pth'),
    'glip_l': Released('L', 'glip_large_model.pth'),
}


def cache_folder() -> pathlib.Path:
  """Where fetched files lie: XDG_CACHE_HOME or ~/.cache, glip_jax/weights."""
  root = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return pathlib.Path(root).expanduser() / 'glip_jax' / 'weights'


def variant_of(name: str) -> str | None:
  """The variant of a released name, or of a file that has a released name."""
  if name in RELEASED:
    return RELEASED[name].variant
  file = pathlib.PurePath(name).name
  return next((r.variant for r in RELEASED.values() if r.file == file), None)


def fetch(name: str, released: Released | None = None) -> pathlib.Path:
  """The file of a released model: from the cache, or fetched into it.

  Args:
    name: a key of `RELEASED`.
    released: what to fetch, if another file than that of the name.

  Returns:
    Path of the whole file.

  Raises:
    UserError: the name is unknown, the file cannot be fetched (the message
      says what to put where), or it is not what it should be.
  """
  if released is None:
    if name not in RELEASED:
      raise errors.UserError(
          f'{name!r} is no released model: choose one of {sorted(RELEASED)}, or'
          ' give the path of a file'
      )
    released = RELEASED[name]
  path = cache_folder() / released.file
  if path.exists():
    return path
  part = path.with_name(path.name + '.part')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    _download(released, part)
  except (OSError, ValueError) as error:
    raise errors.UserError(
        f'{name} cannot be fetched ({error}): ask again to go on, or put'
        f' {released.file} from {released.url} at {path}'
    ) from None
  _check(released, part)
  os.replace(part, path)
  return path


def _download(released: Released, part: pathlib.Path):
  """Fetches what is missing in `part`; an OSError where that breaks off."""
  have = part.stat().st_size if part.exists() else 0
  request = urllib.request.Request(released.url)
  if have:
    request.add_header('Range', f'bytes={have}-')
  try:
    response = urllib.request.urlopen(request, timeout=_TIMEOUT)
  except urllib.error.HTTPError as error:
    # Nothing lies beyond what is there: it is whole, if no more was told.
    if error.code == 416 and error.headers.get('Content-Range') == (
        f'bytes */{have}'
    ):
      return
    raise
  with response:
    resumed = _resumes(response, have)
    total = response.headers.get('Content-Length')
    with part.open('ab' if resumed else 'wb') as file:
      while chunk := response.read(_CHUNK):
        file.write(chunk)
  wanted = None if total is None else int(total) + have * resumed
  if wanted is not None and part.stat().st_size != wanted:
    raise OSError(f'{part.stat().st_size} of {wanted} bytes came')


def _resumes(response: urllib.request.addinfourl, have: int) -> bool:
  """Whether the answer goes on after the bytes that are there."""
  if response.status != 206:
    return False
  start = response.headers.get('Content-Range', '')
  if not start.startswith(f'bytes {have}-'):
    raise OSError(f'asked for bytes from {have} and got {start!r:.60}')
  return True


def _check(released: Released, part: pathlib.Path):
  """Refuses, and removes, a file that is not what it should be."""
  wrong = None
  if released.size is not None and part.stat().st_size != released.size:
    wrong = f'{part.stat().st_size} bytes instead of {released.size}'
  elif released.sha256 is not None:
    with part.open('rb') as file:
      found = hashlib.file_digest(file, 'sha256').hexdigest()
    if found != released.sha256:
      wrong = f'sha256 {found} instead of {released.sha256}'
  if wrong:
    part.unlink()
    raise errors.UserError(
        f'{released.url} is not the released file ({wrong}): it was removed;'
        ' ask again'
    )
