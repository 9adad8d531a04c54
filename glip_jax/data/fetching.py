"""Bytes of an address that a caller gives: http and https, and nothing else.

Programs refuse addresses (`errors.check_no_url`); who calls the library with
one asks for it to be fetched, at that moment and once.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request

from glip_jax.errors import UserError

TIMEOUT_S = 20.0
# Of a whole image, in times of that.
_MOST_WAITS = 6
MAX_BYTES = 64 << 20
_SCHEMES = ('http', 'https')
_PIECE = 1 << 16


def is_web(address: object) -> bool:
  """Whether a value is an address that `fetch` takes."""
  return isinstance(address, str) and (
      address.lower().startswith(tuple(f'{scheme}://' for scheme in _SCHEMES))
  )


def fetch(
    address: str, *, timeout: float = TIMEOUT_S, most: int = MAX_BYTES
) -> bytes:
  """What lies at an address.

  It may lead on to others of http and https, not to a file of this machine.

  Args:
    address: begins with http:// or https://.
    timeout: seconds to wait for an answer, and for each piece of it.
    most: bytes.

  Raises:
    UserError: nothing is there, it is too much or of another kind of address,
      or the machine is offline.
  """
  said = f'image={address[:200]!r}'
  try:
    request = urllib.request.Request(
        address, headers={'User-Agent': 'glip_jax', 'Accept': 'image/*'}
    )
    with _opener().open(request, timeout=timeout) as answer:
      content = _read(answer, most, time.monotonic() + _MOST_WAITS * timeout)
  except UserError as error:
    raise UserError(f'{said} {error}') from None
  except urllib.error.HTTPError as error:
    raise UserError(
        f'{said} answers {error.code} {error.reason}: look whether it opens in'
        ' a browser'
    ) from None
  except (OSError, ValueError, http.client.HTTPException) as error:
    reason = getattr(error, 'reason', error)
    raise UserError(
        f'{said} cannot be fetched ({reason}): look whether this machine is'
        ' online, or download it and give the path of the file'
    ) from None
  if len(content) > most:
    raise UserError(
        f'{said} is of more than {most >> 20} MiB: download it, and give the'
        ' path of a smaller image'
    )
  return content


class _OnlyWeb(urllib.request.HTTPRedirectHandler):
  """Follows redirections to http and https alone."""

  def redirect_request(self, req, fp, code, msg, headers, newurl):
    scheme = urllib.parse.urlsplit(newurl).scheme.lower()
    if scheme not in _SCHEMES:
      raise UserError(
          f'leads to {newurl[:200]!r}, which is no address of the web: give'
          ' that of the image itself'
      )
    return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
  """Opens http and https; what other schemes would need is not in it."""
  opener = urllib.request.OpenerDirector()
  for handler in (
      urllib.request.ProxyHandler(),
      urllib.request.HTTPHandler(),
      urllib.request.HTTPSHandler(),
      urllib.request.HTTPDefaultErrorHandler(),
      urllib.request.HTTPErrorProcessor(),
      urllib.request.UnknownHandler(),
      _OnlyWeb(),
  ):
    opener.add_handler(handler)
  return opener


def _read(answer: http.client.HTTPResponse, most: int, end: float) -> bytes:
  """The answer, or its beginning where that is already too much."""
  pieces, count = [], 0
  while count <= most and (piece := answer.read1(_PIECE)):
    pieces.append(piece)
    count += len(piece)
    if time.monotonic() > end:
      raise TimeoutError('it comes too slowly')
  return b''.join(pieces)
