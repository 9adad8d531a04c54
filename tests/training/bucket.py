"""A bucket of Google Cloud Storage that lives in this process.

Paths (epath over fsspec) and TensorStore (over HTTP on localhost) see the same
objects. As there, an object is written whole, and nothing can be appended to.
"""

import contextlib
import http.server
import json
import sys
import threading
import urllib.parse

from etils.epath import backend
from fsspec.implementations import memory
from orbax.checkpoint._src.path import gcs_utils

registry = sys.modules['fsspec.registry']  # `fsspec.registry` is a dict.


class _Files(memory.MemoryFileSystem):
  """What `gs://` paths go to."""

  protocol = ('gcs', 'gs')
  store: dict = {}
  pseudo_dirs: list = ['']
  cachable = False

  @classmethod
  def _strip_protocol(cls, path):
    return '/' + path.removeprefix('gs://').strip('/')

  def _open(self, path, mode='rb', **options):
    if mode not in ('rb', 'wb'):
      raise NotImplementedError(f'objects cannot be opened by {mode!r}')
    return super()._open(path, mode, **options)


class _Handler(http.server.BaseHTTPRequestHandler):
  """The part of the JSON API that TensorStore calls."""

  protocol_version = 'HTTP/1.1'
  files = _Files()
  lock = threading.Lock()

  def log_message(self, *_):
    pass

  def do_GET(self):
    name, query = self._request()
    with self.lock:
      if name is None:
        return self._answer(200, self._listing(query))
      generation = self._generation(name)
      if not generation:
        return self._answer(404)
      if query.get('ifGenerationNotMatch') == str(generation):
        return self._answer(304)
      if query.get('alt') != 'media':
        return self._answer(200, self._resource(name))
      data = self.files.cat_file(name)
    headers, status = {'X-Goog-Generation': generation}, 200
    if span := self.headers.get('Range'):
      first, _, last = span.removeprefix('bytes=').partition('-')
      start = int(first) if first else len(data) - int(last)
      end = int(last) + 1 if first and last else len(data)
      end = min(end, len(data))
      headers['Content-Range'] = f'bytes {start}-{end - 1}/{len(data)}'
      data, status = data[start:end], 206
    return self._answer(status, data, **headers)

  def do_POST(self):
    _, query = self._request()
    data = self.rfile.read(int(self.headers.get('Content-Length', 0)))
    name = f'/{self._bucket}/{query["name"]}'
    with self.lock:
      if self._changed(name, query):
        return self._answer(412)
      self.files.pipe_file(name, data)
      return self._answer(200, self._resource(name))

  def do_DELETE(self):
    name, query = self._request()
    with self.lock:
      if not self._generation(name):
        return self._answer(404)
      if self._changed(name, query):
        return self._answer(412)
      self.files.rm_file(name)
      return self._answer(204)

  def _request(self):
    """Path of the object in `files`, if one is named, and the query."""
    url = urllib.parse.urlparse(self.path)
    parts = url.path.split('/b/', 1)[1].split('/o', 1)
    self._bucket = parts[0]
    name = urllib.parse.unquote(parts[1].strip('/'))
    query = dict(urllib.parse.parse_qsl(url.query))
    return (f'/{self._bucket}/{name}' if name else None), query

  def _generation(self, name):
    """Changes whenever the object does; 0 if there is none."""
    found = self.files.store.get(name)
    return int(found.modified.timestamp() * 1e6) if found else 0

  def _changed(self, name, query):
    wanted = query.get('ifGenerationMatch')
    return wanted is not None and int(wanted) != self._generation(name)

  def _resource(self, name):
    return {
        'name': name.removeprefix(f'/{self._bucket}/'),
        'size': str(self.files.size(name)),
        'generation': str(self._generation(name)),
    }

  def _listing(self, query):
    items = [
        self._resource(name)
        for name in sorted(self.files.store)
        if name.startswith(f'/{self._bucket}/')
    ]
    first, end = query.get('startOffset', ''), query.get('endOffset', '')
    prefix = query.get('prefix', '')
    return {
        'items': [
            x
            for x in items
            if x['name'].startswith(prefix)
            and x['name'] >= first
            and (not end or x['name'] < end)
        ]
    }

  def _answer(self, status, body=b'', **headers):
    if not isinstance(body, bytes):
      body = json.dumps(body).encode()
      headers['Content-Type'] = 'application/json'
    self.send_response(status)
    if status not in (204, 304):
      headers['Content-Length'] = len(body)
    for key, value in headers.items():
      self.send_header(key.replace('_', '-'), str(value))
    self.end_headers()
    if status not in (204, 304):
      self.wfile.write(body)


@contextlib.contextmanager
def serving(monkeypatch):
  """Gives `gs://` addresses to an empty bucket of this process."""
  _Files.store.clear()
  _Files.pseudo_dirs[:] = ['']
  for name in _Files.protocol:
    monkeypatch.setitem(registry._registry, name, _Files)
  backend.fsspec_backend._get_filesystem.cache_clear()
  server = http.server.ThreadingHTTPServer(('localhost', 0), _Handler)
  address = f'http://localhost:{server.server_address[1]}'
  monkeypatch.setenv('TENSORSTORE_GCS_HTTP_URL', address)
  monkeypatch.setenv('GOOGLE_AUTH_TOKEN_FOR_TESTING', 'none')
  # Orbax asks Google whether the bucket has folders.
  monkeypatch.setattr(gcs_utils, 'get_bucket', lambda name: object())
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    yield _Files.store
  finally:
    server.shutdown()
    server.server_close()
    backend.fsspec_backend._get_filesystem.cache_clear()
