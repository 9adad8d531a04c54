"""JPEGs decoded by OpenCV, at a fraction of their size where that will do."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from glip_jax.data import (
    fast_images,
    images,
    pipeline,
    settings,
    stream,
    training_sources,
)
from glip_jax.data.images import BadImage

pytest.importorskip('cv2', reason='OpenCV is not installed: glip_jax[fast]')


def _jpeg(height, width, mode='RGB', orientation=1):
  """A smooth picture, whose small copies resemble it."""
  coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3))
  image = Image.fromarray(coarse.astype(np.uint8))
  image = image.resize((width, height), Image.BICUBIC).convert(mode)
  exif = Image.Exif()
  exif[0x0112] = orientation
  buffer = io.BytesIO()
  image.save(buffer, 'JPEG', quality=95, exif=exif)
  return buffer.getvalue()


def _needs(*size):
  return fast_images.decoding(lambda height, width: size)


@pytest.mark.parametrize(
    'size, needed, expected',
    [
        ((480, 640), (480, 640), 1),
        ((480, 640), (241, 320), 1),
        ((480, 640), (240, 320), 2),
        ((480, 640), (160, 213), 2),
        ((480, 640), (100, 133), 4),
        ((480, 640), (20, 27), 8),
        ((7, 640), (1, 80), 4),
        # 161 rows would be 21 of 8, seven eighths of one too many.
        ((161, 240), (20, 30), 4),
        ((159, 240), (19, 30), 8),
        ((1, 1), (1, 1), 1),
    ],
)  # pyformat: disable
def test_no_fraction_is_smaller_than_needed(size, needed, expected):
  assert fast_images.fraction(size, needed) == expected


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize('orientation', [1, 6])
def test_whole_images_are_those_of_pillow(mode, orientation):
  data = _jpeg(61, 90, mode, orientation)
  exact = images.read_image(data)
  with _needs(61, 90):
    fast, size = images.read_moderate(data)
    # Who does not ask for less gets the whole.
    np.testing.assert_array_equal(images.read_image(data), fast)
  assert size == exact.shape[:2] == fast.shape[:2]
  # Builds of libjpeg may round otherwise.
  assert np.abs(fast.astype(int) - exact).max() <= 2
  np.testing.assert_array_equal(images.read_moderate(data)[0], exact)


@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.parametrize('orientation', [1, 8])
@pytest.mark.parametrize('divisor', [2, 4, 8])
def test_a_fraction_is_read_where_it_is_enough(mode, orientation, divisor):
  data = _jpeg(159, 240, mode, orientation)
  exact = images.read_image(data)
  whole = exact.shape[:2]
  with _needs(*(side // divisor for side in whole)):
    small, size = images.read_moderate(data)
    assert images.read_image(data).shape == exact.shape
  assert size == whole
  assert small.shape[:2] == tuple(-(-side // divisor) for side in whole)
  shrunk = Image.fromarray(exact).resize(small.shape[1::-1], Image.BILINEAR)
  assert np.abs(np.asarray(shrunk, int) - small).mean() < 3


def test_a_cut_file_is_refused_as_ever(tmp_path):
  path = tmp_path / 'cut.jpg'
  path.write_bytes(_jpeg(161, 240)[:-300])
  with _needs(20, 30), pytest.raises(BadImage, match='cut.jpg.*truncated'):
    images.read_moderate(path)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  """Three large JPEGs with a box each, resized to a canvas of 64."""
  folder = tmp_path_factory.mktemp('large')
  names = 'abc'
  for number, name in enumerate(names):
    data = _jpeg(512, 640, orientation=6 if number == 2 else 1)
    (folder / f'{name}.jpg').write_bytes(data)
  content = dict(
      images=[
          dict(id=i, file_name=f'{name}.jpg') for i, name in enumerate(names)
      ],
      categories=[dict(id=1, name='red star')],
      annotations=[
          dict(id=i, image_id=i, category_id=1, bbox=[100, 50, 200, 300])
          for i in range(3)
      ],
  )
  (folder / 'train.json').write_text(json.dumps(content))
  return dict(
      train=dict(annotations=str(folder / 'train.json')),
      image_size=(64, 64),
      num_tokens=8,
      num_phrases=2,
      num_boxes=2,
  )


@pytest.mark.parametrize('augment', [{}, {'flip': 0.5, 'scale': (0.9, 1.5)}])
def test_batches_differ_in_their_pixels_alone(config, augment):
  exact = config | dict(augment=augment)
  batches = []
  for fast in (False, True):
    data = settings.read_data(exact | dict(fast_images=fast))
    sources = training_sources.open_training(data)
    batches.append(
        next(stream.train_stream(sources, data, batch_size=3, seed=0))
    )
  first, second = batches
  difference = np.abs(first.image.astype(int) - second.image)
  assert difference.any() and difference.mean() < 4
  np.testing.assert_allclose(
      first.targets.boxes, second.targets.boxes, atol=0.6
  )
  # A crop of a smaller image is rounded otherwise.
  np.testing.assert_allclose(first.size, second.size, atol=bool(augment))


def test_evaluation_reads_fast_and_keeps_the_pixels_of_the_file(config):
  batches = []
  for fast in (False, True):
    data = settings.read_data(config | dict(fast_images=fast))
    source = training_sources.open_training(data).train[0].source
    batches += pipeline.eval_batches(source, data, batch_size=3)
  exact, fast = batches
  assert (exact.image != fast.image).any()
  np.testing.assert_allclose(fast.scale, exact.scale, rtol=1e-6)
