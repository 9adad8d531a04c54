"""Released files are fetched from a server in this process, never from afar."""

import dataclasses
import hashlib
import http.server
import threading

import numpy as np
import pytest

from glip_jax import errors
from glip_jax.detectors import recipe as recipes
from glip_jax.weights import released

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class _Handler(http.server.BaseHTTPRequestHandler):
  """Serves CONTENT; `server.settings` says how badly."""

  def do_GET(self):
    settings, asked = self.server.settings, self.headers.get('Range')
    settings.asked.append(asked)
    start = int(asked.removeprefix('bytes=')[:-1]) if asked else 0
    if not settings.ranges:
      start = 0
    if start >= len(CONTENT):
      self.send_response(416)
      self.send_header('Content-Range', f'bytes */{len(CONTENT)}')
      self.end_headers()
      return
    body = CONTENT[start:]
    self.send_response(206 if start else 200)
    if start:
      shown = start + settings.shift
      last = len(CONTENT) - 1
      self.send_header('Content-Range', f'bytes {shown}-{last}/{len(CONTENT)}')
    self.send_header('Content-Length', str(len(body)))
    self.end_headers()
    self.wfile.write(body[: settings.breaks_after])

  def log_message(self, *_):
    pass


@dataclasses.dataclass
class _Settings:
  ranges: bool = True
  breaks_after: int | None = None
  shift: int = 0
  asked: list = dataclasses.field(default_factory=list)


@pytest.fixture
def server(monkeypatch, tmp_path):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler) as server:
    server.settings = _Settings()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def _file(server, **known):
  host = f'http://127.0.0.1:{server.server_port}/'
  return released.Released('T', 'glip.pth', host, **known)


def _folder(tmp_path):
  return tmp_path / 'glip_jax' / 'weights'


def test_a_file_is_fetched_once_and_then_found(server, tmp_path):
  file = _file(
      server, size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
  )
  path = released.fetch('glip_t', file)
  assert path == _folder(tmp_path) / 'glip.pth'
  assert path.read_bytes() == CONTENT
  assert released.fetch('glip_t', file) == path
  assert server.settings.asked == [None]
  assert [p.name for p in path.parent.iterdir()] == ['glip.pth']


@pytest.mark.parametrize('ranges', [True, False])
def test_an_interrupted_download_goes_on(server, tmp_path, ranges):
  server.settings.breaks_after = 1_000_000
  with pytest.raises(errors.UserError, match='1000000 of 3000000 bytes came'):
    released.fetch('glip_t', _file(server))
  # Nobody takes the part for the file.
  assert [p.name for p in _folder(tmp_path).iterdir()] == ['glip.pth.part']
  server.settings.breaks_after = None
  server.settings.ranges = ranges
  path = released.fetch('glip_t', _file(server))
  assert path.read_bytes() == CONTENT
  assert server.settings.asked == [None, 'bytes=1000000-']


def test_a_download_that_ended_just_before_the_renaming_is_taken(
    server, tmp_path
):
  part = _folder(tmp_path) / 'glip.pth.part'
  part.parent.mkdir(parents=True)
  part.write_bytes(CONTENT)
  assert released.fetch('glip_t', _file(server)).read_bytes() == CONTENT


def test_an_answer_from_another_place_is_not_appended(server, tmp_path):
  part = _folder(tmp_path) / 'glip.pth.part'
  part.parent.mkdir(parents=True)
  part.write_bytes(CONTENT[:1000])
  server.settings.shift = 5
  with pytest.raises(errors.UserError, match='asked for bytes from 1000'):
    released.fetch('glip_t', _file(server))
  assert part.read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize(
    'known, wrong',
    [
        ({'size': 7}, '3000000 bytes instead of 7'),
        ({'sha256': '0' * 64}, 'instead of 0000'),
    ],
)
def test_another_file_than_the_released_one_is_refused(
    server, tmp_path, known, wrong
):
  with pytest.raises(errors.UserError, match=wrong):
    released.fetch('glip_t', _file(server, **known))
  assert not list(_folder(tmp_path).iterdir())


def test_offline_the_message_says_which_file_to_put_where(server, tmp_path):
  # Nobody listens on the port of a server that has gone.
  file = released.Released('T', 'glip.pth', 'http://127.0.0.1:9/')
  with pytest.raises(errors.UserError) as caught:
    released.fetch('glip_t', file)
  want = _folder(tmp_path) / 'glip.pth'
  assert f'put glip.pth from http://127.0.0.1:9/glip.pth at {want}' in str(
      caught.value
  )
  want.write_bytes(b'x')
  assert released.fetch('glip_t', file) == want


def test_unknown_names_are_refused_with_those_there_are():
  with pytest.raises(errors.UserError, match="choose one of .*'glip_t'"):
    released.fetch('glip_x')


def test_every_released_file_is_of_a_variant():
  assert {r.variant for r in released.RELEASED.values()} == set('ABCTL')
  assert all(recipes.variant(r.variant) for r in released.RELEASED.values())
  file = 'downloads/glip_large_model.pth'
  assert released.variant_of(file) == released.variant_of('glip_l') == 'L'
  assert released.variant_of('mine.pth') is None
