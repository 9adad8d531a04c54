"""What callers have of an image: the same pixels from every form."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from glip_jax import errors
from glip_jax.data import any_image
from glip_jax.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
RGB[0, 0] = 0, 255, 7
GRAY = RGB[..., 0]
GRAY_RGB = np.repeat(GRAY[..., None], 3, axis=2)
SEEN = np.full((5, 7, 1), 255, np.uint8)


def _same(image, want):
  found = any_image.to_rgb(image)
  assert found.dtype == np.uint8 and found.shape == (5, 7, 3)
  np.testing.assert_array_equal(found, want)


def test_rgb_stays_what_it_is():
  assert any_image.to_rgb(RGB) is RGB


@pytest.mark.parametrize(
    'image',
    [
        RGB.tolist(),
        RGB.astype(np.int64),
        RGB / np.float32(255),
        RGB / 255,
        (RGB / 255).tolist(),
        jnp.asarray(RGB),
        jnp.asarray(RGB, jnp.float32) / 255,
        np.concatenate([RGB, SEEN], axis=2),
        np.concatenate([RGB, SEEN], axis=2) / 255,
        Image.fromarray(RGB),
        Image.fromarray(np.concatenate([RGB, SEEN], axis=2)),
    ],
)
def test_forms_of_one_image_have_the_same_pixels(image):
  _same(image, RGB)


@pytest.mark.parametrize(
    'image',
    [
        GRAY,
        GRAY[..., None],
        GRAY / 255,
        GRAY.tolist(),
        Image.fromarray(GRAY),
        Image.fromarray(GRAY.astype(np.uint16) * 257),
    ],
)
def test_gray_is_three_times_the_same(image):
  _same(image, GRAY_RGB)


def test_half_precision_floats_are_within_a_step():
  found = any_image.to_rgb((RGB / 255).astype(np.float16))
  assert np.abs(found.astype(int) - RGB).max() <= 1


def test_what_is_transparent_is_white():
  image = np.concatenate([RGB, SEEN], axis=2)
  image[2, 3, 3] = 0
  want = RGB.copy()
  want[2, 3] = 255
  _same(image, want)
  _same(Image.fromarray(image), want)


def test_a_file_is_read_upright_and_a_pil_image_is_not_turned(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6
  path = tmp_path / 'turned.png'
  Image.fromarray(RGB).save(path, exif=exif)
  upright = np.rot90(RGB, -1)
  for file in (path, str(path), path.read_bytes()):
    np.testing.assert_array_equal(any_image.to_rgb(file), upright)
  with Image.open(path) as image:
    _same(image, RGB)


@pytest.mark.parametrize(
    'image, message',
    [
        (RGB.astype(np.float32), r'float32 are in 0..255, floats must be in 0'),
        (RGB / 127.5 - 1, r'in -1\.\.1, floats must .* undo a normalisation'),
        (RGB / 255 * 1.02, r'in 0\.\.1\.02, floats'),
        (np.full((2, 2), np.nan), 'nan..nan, floats must be in 0..1'),
        (GRAY.astype(np.uint16) * 257, r'\(image // 257\)\.astype'),
        (RGB.astype(np.int32) - 300, 'whole numbers must be in 0..255'),
        (RGB.transpose(2, 0, 1), r'\[3, 5, 7\] has its channels first'),
        (RGB[None], r'\[1, 5, 7, 3\] is several'),
        ([RGB, RGB], r'\[2, 5, 7, 3\] is several'),
        (RGB[..., :2], r'shape \[5, 7, 2\] is none'),
        (RGB[0, 0], r'shape \[3\] is none'),
        (RGB[:0], 'has no pixels'),
        ([[1, 2], [3]], 'a list is no image'),
        ([], 'has no pixels'),
        (['a.png', 'b.png'], 'list of dtype <U5 is no image: give a path'),
        (None, 'NoneType of dtype object is no image'),
        (io.BytesIO(b'x'), 'BytesIO of dtype object is no image'),
        (RGB > 9, 'ndarray of dtype bool is no image'),
        (Image.new('RGB', (0, 4)), 'has no pixels'),
        ('gone.png', 'gone.png cannot be read as an image .no such file'),
        ('https://x.y/a.png', "image='https://x.y/a.png' is a URL: download"),
        (b'<html>', 'image bytes cannot be read'),
    ],
)  # pyformat: disable
def test_what_is_no_image_is_refused_with_the_remedy(image, message):
  with pytest.raises(UserError, match=message) as caught:
    any_image.to_rgb(image)
  assert '\n' not in str(caught.value)


def test_a_pil_image_whose_file_is_closed_is_refused(tmp_path):
  Image.fromarray(RGB).save(tmp_path / 'a.png')
  with Image.open(tmp_path / 'a.png') as image:
    pass
  with pytest.raises(UserError, match='PIL image cannot be read'):
    any_image.to_rgb(image)


@pytest.mark.parametrize(
    'path, url',
    [
        ('https://x.y/a.png', True),
        ('HTTP://x.y/a.png', True),
        ('https:/x.y/a.png', True),  # As pathlib writes it.
        ('file:///a.png', True),
        ('data:image/png;base64,AAAA', True),
        ('gs://bucket/a', True),
        ('C:\\a.png', False),
        ('C://a.png', False),
        ('a/b.png', False),
        ('', False),
    ],
)
def test_addresses_are_told_from_paths(path, url):
  assert errors.is_url(path) == url
  bucket = path.startswith('gs://')
  if url and not bucket:
    with pytest.raises(UserError, match='is a URL: download it first'):
      errors.check_no_url('x', path, buckets=True)
  else:
    errors.check_no_url('x', path, buckets=True)
