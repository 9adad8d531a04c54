"""The images that a caller gives, in all forms: one, many, near and far."""

import functools
import http.server
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from glip_jax.data import fast_images, fetching, image_inputs, videos
from glip_jax.errors import UserError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('images')
  for number, name in enumerate(('b.png', 'a.PNG', 'c.png')):
    Image.new('RGB', (4, 3), (number, 0, 0)).save(path / name)
  (path / 'notes.txt').write_text('no image')
  (path / 'more').mkdir()
  return path


def _shades(images):
  return [int(each.read()[0, 0, 0]) for each in image_inputs.read_list(images)]


def test_folders_patterns_and_lists_are_many(folder):
  gray = np.full((3, 4, 3), 9, np.uint8)
  for images, shades in (
      (folder, [1, 0, 2]),
      (str(folder), [1, 0, 2]),
      (f'{folder}/[bc].png', [0, 2]),
      (f'{folder}/**/*.png', [0, 2]),
      ([folder / 'c.png', gray, Image.fromarray(gray)], [2, 9, 9]),
      ([f'{folder}/c.*', (folder / 'b.png').read_bytes()], [2, 0]),
      ([gray, gray], [9, 9]),
      (np.stack([gray, gray, gray]), [9, 9, 9]),
      (iter([gray]), [9]),
      ([], []),
  ):
    assert image_inputs.are_many(images)
    assert image_inputs.count(images) in (len(shades), None)
    assert _shades(images) == shades


def test_one_image_is_one(folder):
  gray = np.full((3, 4, 3), 9, np.uint8)
  path = folder / 'c.png'
  for image in (gray, gray.tolist(), gray / 255, path, str(path), gray[..., 0]):
    assert not image_inputs.are_many(image)
    assert image_inputs.count(image) == 1
    assert len(_shades(image)) == 1
  (one,) = image_inputs.read_list(path)
  assert one.name == str(path)


def test_a_name_with_the_letters_of_a_pattern_is_a_file_where_there_is_one(
    tmp_path,
):
  path = tmp_path / 'photo[1].png'
  Image.new('RGB', (4, 3)).save(path)
  assert not image_inputs.are_many(str(path))


@pytest.mark.parametrize(
    'name, said',
    [
        ('more', 'is a folder without images: give one'),
        ('*.jpeg', 'finds no file: give another pattern'),
    ],
)
def test_where_nothing_is_found_it_is_said_at_once(folder, name, said):
  with pytest.raises(UserError, match=said):
    image_inputs.check(f'{folder}/{name}')


def test_a_video_is_its_frames_and_a_frame_can_be_read_again(tmp_path):
  cv2 = pytest.importorskip('cv2')
  path = str(tmp_path / 'film.avi')
  codec = cv2.VideoWriter_fourcc(*'MJPG')
  film = cv2.VideoWriter(path, codec, 10, (64, 48))
  for shade in (10, 120, 240):
    film.write(np.full((48, 64, 3), (0, 0, shade), np.uint8))
  film.release()
  frames = list(image_inputs.read_list(path))
  assert [frame.name for frame in frames] == [f'{path}#{i}' for i in range(3)]
  first = [frame.read() for frame in frames]
  red = [int(pixels[..., 0].mean()) for pixels in first]
  np.testing.assert_allclose(red, [10, 120, 240], atol=6)
  assert first[2][..., 2].mean() < 10
  for frame, pixels in zip(frames, first, strict=True):
    np.testing.assert_array_equal(frame.read(), pixels)


def test_a_video_that_is_none_is_refused(tmp_path, monkeypatch):
  pytest.importorskip('cv2')
  path = tmp_path / 'film.mp4'
  path.write_bytes(b'no film')
  with pytest.raises(UserError, match='cannot be opened as a video'):
    list(videos.frames(str(path)))
  monkeypatch.setitem(sys.modules, 'cv2', None)
  fast_images.load_opencv.cache_clear()
  with pytest.raises(UserError, match=r"pip install 'glip_jax\[fast\]'"):
    image_inputs.check(path)
  fast_images.load_opencv.cache_clear()


class _Handler(http.server.SimpleHTTPRequestHandler):
  """Serves a folder; some paths lead elsewhere."""

  def do_GET(self):  # noqa: N802
    places = {
        '/to_file': self.server.file_address,
        '/to_ftp': 'ftp://x.y/a.png',
        '/to_image': '/c.png',
        '/in_circles': '/in_circles',
    }
    if self.path in places:
      self.send_response(302)
      self.send_header('Location', places[self.path])
      self.end_headers()
    else:
      super().do_GET()

  def log_message(self, *_):
    pass


@pytest.fixture
def address(folder, monkeypatch):
  """Of a server on this machine."""
  monkeypatch.setenv('no_proxy', '*')
  handler = functools.partial(_Handler, directory=str(folder))
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
  server.file_address = (folder / 'c.png').as_uri()
  thread = threading.Thread(target=server.serve_forever)
  thread.start()
  yield f'http://127.0.0.1:{server.server_address[1]}'
  server.shutdown()
  thread.join()
  server.server_close()


def test_an_address_is_fetched_once(address, monkeypatch):
  fetched, fetch = [], fetching.fetch
  monkeypatch.setattr(
      fetching, 'fetch', lambda a: fetched.append(a) or fetch(a)
  )
  (image,) = image_inputs.read_list(f'{address}/to_image')
  assert not fetched
  assert [image.read()[0, 0, 0], image.read()[0, 0, 0]] == [2, 2]
  assert fetched == [image.name] == [f'{address}/to_image']


@pytest.mark.parametrize(
    'path, said',
    [
        ('to_file', 'answers 302 .*is not allowed'),
        ('to_ftp', "leads to 'ftp://x.y/a.png', which is no address of"),
        ('none.png', 'answers 404'),
        ('in_circles', 'answers 302'),
        ('notes.txt', 'cannot be read as an image'),
    ],
)
def test_addresses_that_give_no_image_are_refused(address, path, said):
  (image,) = image_inputs.read_list(f'{address}/{path}')
  with pytest.raises(UserError, match=said):
    image.read()


def test_what_is_too_large_or_not_to_be_reached_is_refused(address):
  with pytest.raises(UserError, match='is of more than 0 MiB: download it'):
    fetching.fetch(f'{address}/c.png', most=10)
  with pytest.raises(UserError, match='cannot be fetched .*online, or downl'):
    fetching.fetch('http://127.0.0.1:9/a.png', timeout=2)


def test_other_addresses_are_fetched_from_nowhere(folder):
  for value in ((folder / 'c.png').as_uri(), 'ftp://x.y/a.png'):
    assert not fetching.is_web(value)
    with pytest.raises(UserError, match='is a URL: download it first'):
      _shades(value)
