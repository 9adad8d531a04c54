"""Padding of canvases, and the search for better ones."""

import itertools

import numpy as np
import pytest

from glip_jax.data import canvases, settings

# As COCO has them, by how often: most are landscapes.
SIZES = {(480, 640): 60.0, (640, 480): 25.0, (427, 640): 30.0, (333, 500): 5.0}


def _data(**fields):
  return settings.Data(num_tokens=64, **fields)


def test_padding_is_what_no_image_covers():
  # 100 x 50 fills half of a square, 50 x 100 all of its own canvas.
  data = _data(image_size=(64, 64))
  assert canvases.wasted(data, {(100, 50): 3.0}) == (0.5, 0)
  data = _data(
      image_size=(64, 64), buckets=((64, 64, 64), (64, 128, 64), (32, 32, 64))
  )
  found = canvases.wasted(data, {(100, 50): 1.0, (50, 100): 1.0}).padding
  assert found == pytest.approx(1 - (64 * 32 + 64 * 128) / (64 * 64 * 3))
  assert canvases.wasted(data, {}) == (0, 0)


def test_short_sides_that_are_drawn_count_alike():
  augment = {'short_sides': (64, 128)}
  data = settings.read_data({
      'num_tokens': 64,
      'resize': (128, 256),
      'image_size': (256, 256),
      'augment': augment,
  })
  used = (64 * 64 + 128 * 128) / 2
  found = canvases.wasted(data, {(10, 10): 7.0}).padding
  assert found == pytest.approx(1 - used / 256**2)


@pytest.mark.parametrize('count', [1, 2, 3])
def test_the_canvases_are_the_best_of_all_that_keep_sizes(count):
  data = _data(resize=(160, 256), image_size=(256, 256))
  found = canvases.suggest(data, SIZES, count)
  assert len(found) <= count
  sides = range(160, 257, 32)
  every = list(itertools.product(sides, sides))
  resize = settings.resizing(data, (512, 512))

  def cost(chosen):
    total = 0
    for size, times in SIZES.items():
      height, width = resize.size(*size)
      fits = [h * w for h, w in chosen if h >= height and w >= width]
      total += times * min(fits, default=np.inf)
    return total

  best = min(map(cost, itertools.combinations(every, count)))
  assert cost(found) == best
  own = canvases.with_canvases(data, found)
  assert all(h % 32 == 0 and w % 32 == 0 for h, w, _ in own.buckets)
  assert not canvases.wasted(own, SIZES).smaller
  assert (
      canvases.wasted(own, SIZES).padding
      <= canvases.wasted(data, SIZES).padding
  )


def test_canvases_to_be_filled_have_the_area_of_the_one_given():
  data = _data(image_size=(320, 320))
  one, *more = (canvases.suggest(data, SIZES, count) for count in (1, 2, 3))
  # Of one, that of most images.
  assert one[0][0] < one[0][1]
  shares = [
      canvases.wasted(canvases.with_canvases(data, chosen), SIZES).padding
      for chosen in (one, *more)
  ]
  assert shares == sorted(shares, reverse=True) and shares[-1] < 0.06
  for height, width in (*one, *more[-1]):
    assert 0.9 * 320**2 < height * width <= 320**2


def test_images_that_no_canvas_has_room_for_are_counted():
  data = _data(resize=(160, 256), image_size=(160, 256))
  # Portraits are 213 pixels high at a short side of 160.
  assert canvases.wasted(data, SIZES).smaller == 25 / 120
