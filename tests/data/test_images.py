"""Reading of images, whatever their format and mode."""

import io

import numpy as np
import pytest
from PIL import Image

from glip_jax.data import images
from glip_jax.data.images import BadImage, image_size, read_image


def _encode(image, format='PNG', **options):
  stream = io.BytesIO()
  image.save(stream, format, **options)
  return stream.getvalue()


def _gradient(height=6, width=9):
  values = np.arange(height * width, dtype=np.float64).reshape(height, width)
  return values / values.max()


def test_16_bit_gray_is_scaled_over_its_full_range():
  values = (_gradient() * 65535).astype(np.uint16)
  pixels = read_image(_encode(Image.fromarray(values)))
  np.testing.assert_array_equal(
      pixels, np.rint(values / 257)[..., None].repeat(3, -1)
  )


def test_floats_between_0_and_1_are_scaled_to_255():
  values = _gradient().astype(np.float32)
  pixels = read_image(_encode(Image.fromarray(values), 'TIFF'))
  np.testing.assert_array_equal(pixels[..., 1], np.rint(values * 255))


def test_floats_beyond_1_are_clipped_and_nan_is_black():
  values = np.array([[-3, 7, 300, np.nan]], np.float32)
  pixels = read_image(_encode(Image.fromarray(values), 'TIFF'))
  assert pixels[0, :, 0].tolist() == [0, 7, 255, 0]


@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_transparent_pixels_become_white(mode):
  image = Image.new(mode, (3, 2), (40,) * (len(mode) - 1) + (0,))
  assert (read_image(_encode(image)) == 255).all()
  opaque = Image.new(mode, (3, 2), (40,) * (len(mode) - 1) + (255,))
  assert (read_image(_encode(opaque)) == 40).all()


def test_a_transparent_palette_entry_becomes_white():
  image = Image.new('P', (2, 1), 1)
  image.putpalette([10, 20, 30, 40, 50, 60])
  image.putpixel((0, 0), 0)
  pixels = read_image(_encode(image, transparency=0))
  assert pixels[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_cmyk_is_read_as_the_colour_it_prints():
  image = Image.new('CMYK', (16, 16), (0, 255, 255, 0))
  pixels = read_image(_encode(image, 'JPEG', quality=95))
  np.testing.assert_allclose(pixels[8, 8], (255, 0, 0), atol=6)


def test_the_first_frame_of_an_animation_is_read():
  frames = [Image.new('RGB', (4, 4), (shade, 0, 0)) for shade in (200, 90)]
  data = _encode(frames[0], 'GIF', save_all=True, append_images=frames[1:])
  assert (read_image(data) == (200, 0, 0)).all()


def _turned(orientation, file_format='PNG', **size):
  """A dark top-left corner, stored 30 wide and 20 high, turned by EXIF."""
  values = np.full((20, 30, 3), 255, np.uint8)
  values[:8, :8] = 0
  exif = Image.Exif()
  exif[0x0112] = orientation
  data = _encode(Image.fromarray(values), file_format, exif=exif)
  return read_image(data, **size), image_size(data, **size)


@pytest.mark.parametrize(
    'orientation, corner',
    [
        (1, (0, 0)),
        (2, (0, -1)),
        (3, (-1, -1)),
        (4, (-1, 0)),
        (5, (0, 0)),
        (6, (0, -1)),
        (7, (-1, -1)),
        (8, (-1, 0)),
        (0, (0, 0)),
        (99, (0, 0)),
    ],
)  # pyformat: disable
@pytest.mark.parametrize('file_format', ['PNG', 'TIFF', 'WEBP'])
def test_exif_orientation_is_applied(orientation, corner, file_format):
  pixels, size = _turned(orientation, file_format)
  assert size == pixels.shape[:2]
  assert size == ((30, 20) if 5 <= orientation <= 8 else (20, 30))
  dark = np.argwhere(pixels[[0, 0, -1, -1], [0, -1, 0, -1], 0] < 60)
  assert [(0, 0), (0, -1), (-1, 0), (-1, -1)][dark.item()] == corner


def test_boxes_drawn_on_the_stored_pixels_keep_them():
  pixels, size = _turned(6, annotated_size=(20, 30))
  assert size == pixels.shape[:2] == (20, 30)
  assert pixels[0, 0, 0] == 0


def test_a_stated_size_that_is_wrong_changes_nothing():
  pixels, size = _turned(6, annotated_size=(7, 11))
  assert size == pixels.shape[:2] == (30, 20)


def test_too_many_pixels_are_refused_from_the_header():
  data = _encode(Image.new('1', (12000, 9000)))
  with pytest.raises(BadImage, match='12000x9000 is over'):
    read_image(data)
  with pytest.raises(BadImage):
    image_size(data)


def test_a_cut_file_is_refused_by_name(tmp_path):
  values = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
  path = tmp_path / 'cut.jpg'
  path.write_bytes(_encode(Image.fromarray(values), 'JPEG')[:-200])
  with pytest.raises(BadImage, match='cut.jpg.*truncated'):
    read_image(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
  with pytest.raises(BadImage, match='gone.jpg.*no such file'):
    read_image(tmp_path / 'gone.jpg')


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_a_very_large_jpeg_is_read_at_half_its_size(monkeypatch, orientation):
  monkeypatch.setattr(images, 'MODERATE_PIXELS', 50 * 60)
  small = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)
  smooth = Image.fromarray(small).resize((91, 70), Image.BICUBIC)
  exif = Image.Exif()
  exif[0x0112] = orientation
  buffer = io.BytesIO()
  smooth.save(buffer, 'JPEG', quality=95, exif=exif)
  whole = images.read_image(buffer.getvalue())
  half, size = images.read_moderate(buffer.getvalue())
  assert size == whole.shape[:2]
  assert half.shape[:2] == tuple(-(-side // 2) for side in size)
  again = Image.fromarray(half).resize(size[::-1], Image.BILINEAR)
  assert np.abs(np.asarray(again, int) - whole).mean() < 4
  # What has fewer pixels, or is no JPEG, is read whole.
  for data in (buffer.getvalue(), _encode(smooth)):
    if data[:2] == b'\xff\xd8':
      monkeypatch.setattr(images, 'MODERATE_PIXELS', 91 * 70)
    else:
      monkeypatch.setattr(images, 'MODERATE_PIXELS', 10)
    pixels, size = images.read_moderate(data)
    assert pixels.shape[:2] == size
