"""Images of the embedded world against its boxes."""

import colorsys
import dataclasses

import numpy as np
import pytest

from glip_jax.shapes.compose import compose
from glip_jax.shapes.render import coverage, render
from glip_jax.shapes.scenes import BACKDROPS

_SIZE = 512


def _extent(mask):
  rows, cols = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
  return np.array([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1])


def test_boxes_are_tight_around_the_pixels_of_each_figure():
  shapes = set()
  for index in range(12):
    scene = compose('train', 0, index)
    for item, box in zip(scene.items, scene.boxes(_SIZE), strict=True):
      mask = coverage(item, _SIZE) > 0.02
      # A sharp tip may end up to three pixels short of its corner.
      np.testing.assert_allclose(_extent(mask), box, atol=3.0)
      shapes.add(item.kind.shape)
  assert len(shapes) == 5


def test_an_item_alone_changes_pixels_in_its_box_and_its_shadow_only():
  scene = compose('train', 0, 3)
  empty = render(dataclasses.replace(scene, items=()), _SIZE).astype(int)
  for item in scene.items:
    alone = dataclasses.replace(scene, items=(item,))
    change = np.abs(render(alone, _SIZE).astype(int) - empty).max(axis=-1)
    x0, y0, x1, y1 = np.round(np.array(item.box) * _SIZE).astype(int)
    assert change[y0:y1, x0:x1].max() > 40
    margin = int(0.05 * _SIZE)
    change[
        max(y0 - margin, 0) : y1 + margin, max(x0 - margin, 0) : x1 + margin
    ] = 0
    assert change.max() == 0


def test_no_item_is_hidden_by_more_than_35_percent():
  most = 0.0
  for index in range(60):
    items = compose('train', 0, index).items
    masks = [coverage(item, 192) > 0.5 for item in items]
    for i, mask in enumerate(masks):
      above = np.any(masks[i + 1 :], axis=0) if masks[i + 1 :] else ~mask
      most = max(most, (mask & above).sum() / mask.sum())
  assert 0.1 < most <= 0.35


def test_plain_items_have_the_hue_that_their_name_says():
  hues = {'red': 0, 'green': 125, 'blue': 218, 'yellow': 51, 'purple': 283}
  seen = set()
  for index in range(40):
    scene = compose('train', 0, index)
    for item in scene.items:
      if item.kind.striped:
        continue
      alone = dataclasses.replace(scene, items=(item,))
      inner = coverage(item, 128) == 1
      colour = np.median(render(alone, 128)[inner], axis=0) / 255
      hue, saturation, _ = colorsys.rgb_to_hsv(*colour)
      off = abs((hue * 360 - hues[item.kind.colour] + 180) % 360 - 180)
      assert off < 25, (index, item.kind, hue * 360)
      assert saturation > 0.4
      seen.add(item.kind.colour)
  assert seen == set(hues)


def test_stripes_recolour_about_half_of_an_item():
  shares = []
  for index in range(20):
    scene = compose('train', 0, index)
    for item in scene.items:
      if not item.kind.striped:
        continue
      plain = dataclasses.replace(item, kind=item.kind._replace(striped=False))
      images = [
          render(dataclasses.replace(scene, items=(one,)), 256).astype(int)
          for one in (item, plain)
      ]
      change = np.abs(images[0] - images[1]).max(axis=-1) > 20
      inner = coverage(item, 256) == 1
      assert not change[coverage(item, 256) == 0].any()
      shares.append(change[inner].mean())
  assert 0.25 < min(shares) and max(shares) < 0.75
  assert 0.4 < np.mean(shares) < 0.6


@pytest.mark.parametrize('backdrop', BACKDROPS)
def test_backdrops_are_muted(backdrop):
  for index in range(4):
    scene = dataclasses.replace(
        compose('val', 1, index), items=(), backdrop=backdrop
    )
    image = render(scene, 96).astype(int)
    assert image.shape == (96, 96, 3)
    chroma = image.max(axis=-1) - image.min(axis=-1)
    assert np.percentile(chroma, 90) < 70


def test_a_larger_image_shows_the_same_scene():
  scene = dataclasses.replace(compose('train', 0, 2), backdrop='waves')
  small = render(scene, 96).astype(float)
  large = render(scene, 960).astype(float)
  shrunk = large.reshape(96, 10, 96, 10, 3).mean(axis=(1, 3))
  assert np.abs(small - shrunk).mean() < 6
