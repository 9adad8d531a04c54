"""Transforms of records: sizes, pixels, boxes and prompts."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from PIL import Image

from glip_jax.data import fast_images, settings, transforms
from glip_jax.data.records import Record
from glip_jax.errors import UserError
from glip_jax.text import prompts

NAMES = ('red circle', 'blue square', 'green star')
# BGR, as the reference's own arrays.
MEAN = np.array([103.53, 116.28, 123.675])
STD = np.array([57.375, 57.12, 58.395])


def _record(height=40, width=60, *, text=None, boxes=None, **fields):
  rng = np.random.default_rng(0)
  boxes = [[4, 6, 20, 30], [30, 2, 59, 39]] if boxes is None else boxes
  defaults = {
      'image': rng.integers(0, 256, (height, width, 3), np.uint8),
      'boxes': np.array(boxes, np.float32).reshape(-1, 4),
      'phrase': np.arange(len(boxes), dtype=np.int32) % len(NAMES),
      'crowd': np.zeros(len(boxes), bool),
      'text': text or prompts.from_names(NAMES),
      'is_list': True,
      'index': 7,
  }
  return Record(**(defaults | fields))


def test_resize_follows_the_size_rule_of_the_reference(golden):
  table = json.loads((golden / 'parts' / 'preprocess.json').read_text())
  checked = 0
  for name, rows in table.items():
    if not name.startswith('resize_min'):
      continue
    short, long = name.removeprefix('resize_min').split('_max')
    rule = transforms.Resize(int(short), int(long), (4096, 4096))
    for row in rows:
      width, height = row['wh']
      assert rule.size(height, width) == tuple(row['out_hw']), (name, row)
      checked += 1
  assert checked >= 48


@pytest.mark.parametrize('name, short', [('small', 24), ('large', 50)])
def test_resized_pixels_are_those_of_the_reference(golden, name, short):
  arrays = np.load(golden / 'parts' / 'preprocess.npz')
  record = _record(image=arrays['rgb_uint8'])
  resized = transforms.Resize(short, 64, (64, 64)).map(record).image
  normalised = (resized[..., ::-1] - MEAN) / STD
  np.testing.assert_allclose(
      normalised.transpose(2, 0, 1), arrays[name], atol=1e-5
  )


def test_a_image_too_long_for_the_canvas_is_fitted_into_it():
  rule = transforms.Resize(800, 1333, (800, 1344))
  assert rule.size(500, 4000) == (167, 1336)
  assert rule.size(20, 4000) == (7, 1344)
  assert rule.size(3000, 1) == (800, 1)


@pytest.mark.parametrize(
    'image, fitted',
    [
        ((40, 60), (64, 96)),
        ((60, 40), (64, 43)),
        ((1, 500), (1, 96)),
        ((640, 96), (64, 10)),
    ],
)  # pyformat: disable
def test_fit_inside_keeps_the_shape(image, fitted):
  assert transforms.FitInside((64, 96)).size(*image) == fitted


def test_boxes_and_scale_follow_the_image_when_it_is_resized():
  record = transforms.FitInside((20, 90)).map(_record())
  assert record.image.shape == (20, 30, 3)
  assert record.scale == (0.5, 0.5)
  np.testing.assert_allclose(record.boxes[0], [2, 3, 10, 15])
  assert record.boxes.dtype == np.float32


def test_boxes_of_the_model_are_mirrored_and_resized_as_in_the_reference(
    golden,
):
  """Its boxes end at the last pixel, a record's at the edge behind it."""
  stored = np.load(golden / 'parts' / 'boxes_ops.npz')
  inclusive = stored['nms_boxes'][:6]
  record = _record(300, 400, boxes=inclusive + [0, 0, 1, 1])
  flipped = transforms.Flip(1.0).random_map(record, np.random.default_rng(0))
  whole = flipped.boxes - [0, 0, 1, 1]
  np.testing.assert_allclose(whole, stored['hflip_400'], atol=1e-3)
  resized = transforms.resize(record, (583, 777))
  np.testing.assert_allclose(
      resized.boxes - [0, 0, *resized.scale[::-1]],
      stored['resize_400x300_to_777x583'],
      atol=1e-3,
  )


def test_flip_mirrors_pixels_and_boxes_together():
  boxes = [[4, 6, 20, 30]]
  record = _record(boxes=boxes)
  record.image[:] = 0
  record.image[6:30, 4:20] = 255
  flipped = transforms.Flip(1.0).random_map(record, np.random.default_rng(0))
  np.testing.assert_array_equal(flipped.boxes, [[40, 6, 56, 30]])
  assert (flipped.image[6:30, 40:56] == 255).all()
  assert flipped.image.sum() == record.image.sum()


@pytest.mark.parametrize(
    'caption, stays',
    [
        ('the circle left of the star', True),
        ('the rightmost star', True),
        ('a Left-hand turn', True),
        ('a bright star', False),
        ('leftovers on a plate', False),
    ],
)  # pyformat: disable
def test_flip_leaves_captions_about_sides_alone(caption, stays):
  text = prompts.from_caption(caption, [[(0, 6)]])
  record = _record(text=text, phrase=np.zeros(2, int))
  flipped = transforms.Flip(1.0).random_map(record, np.random.default_rng(0))
  assert (flipped is record) == stays


def test_flip_exchanges_left_and_right_where_it_is_told_to():
  text = prompts.from_caption('the circle left of the star', [[(4, 10)]])
  record = _record(text=text, phrase=np.zeros(2, int))
  flip = transforms.Flip(1.0, exchanges=True)
  flipped = flip.random_map(record, np.random.default_rng(0))
  assert flipped.text.caption == 'the circle right of the star'
  np.testing.assert_array_equal(flipped.image, record.image[:, ::-1])


@pytest.mark.parametrize('size', [(20, 30), (60, 90), (33, 61)])
def test_fast_resizing_is_near_to_pillows(size):
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
  image = np.asarray(Image.fromarray(coarse).resize((60, 40), Image.BICUBIC))
  record = dataclasses.replace(_record(), image=image)
  exact = transforms.resize(record, size)
  fast = transforms.resize(record, size, fast=True)
  assert fast.image.shape == exact.image.shape and fast.scale == exact.scale
  np.testing.assert_array_equal(fast.boxes, exact.boxes)
  error = np.abs(fast.image.astype(int) - exact.image)
  assert error.mean() < 3 and error.any()


def test_fast_resizing_without_opencv_is_refused(monkeypatch):
  monkeypatch.setitem(sys.modules, 'cv2', None)
  fast_images.load_opencv.cache_clear()
  with pytest.raises(UserError, match=r"pip install 'glip_jax\[fast\]'"):
    settings.read_data({'fast_images': True})
  fast_images.load_opencv.cache_clear()


def test_shuffled_names_stay_with_their_boxes():
  record = _record()
  moved = 0
  for seed in range(8):
    rng = np.random.default_rng(seed)
    shuffled = transforms.ShuffleNames().random_map(record, rng)
    named = [shuffled.text.phrases[c] for c in shuffled.phrase]
    assert named == [NAMES[0], NAMES[1]]
    assert shuffled.text == prompts.from_names(shuffled.text.phrases)
    moved += shuffled.text.phrases != NAMES
  assert moved


@pytest.mark.parametrize('caption', ['a star', 'a red circle near a star'])
def test_sentences_are_neither_shuffled_nor_cropped(caption):
  # The first is one phrase, as a list of one name is.
  text = prompts.from_caption(caption, [[(0, 6)]])
  record = _record(text=text, phrase=np.zeros(2, np.int32), is_list=False)
  rng = np.random.default_rng(0)
  assert transforms.ShuffleNames().random_map(record, rng) is record
  assert transforms.RandomScaleCrop(2, 3).random_map(record, rng) is record


@pytest.mark.parametrize('low, high', [(1.2, 3.0), (0.3, 0.8)])
def test_crop_moves_boxes_with_their_pixels(low, high):
  # Each object has a colour of its own, so pixels tell where it went.
  boxes = [[4, 6, 20, 30], [30, 2, 59, 39]]
  record = _record(boxes=boxes)
  record.image[:] = 0
  record.image[6:30, 4:20], record.image[2:39, 30:59] = 100, 200
  kept = 0
  for seed in range(20):
    rng = np.random.default_rng(seed)
    crop = transforms.RandomScaleCrop(low, high).random_map(record, rng)
    for box, phrase in zip(crop.boxes, crop.phrase, strict=True):
      rows, columns, _ = np.nonzero(crop.image == (100, 200)[phrase])
      found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
      np.testing.assert_array_equal(box, found)
      kept += 1
    height, width = crop.image.shape[:2]
    assert 40 / high - 1 <= height <= 40 / low + 1
    assert abs(width / height - 1.5) < 0.15
  assert kept >= 10


def test_crop_drops_boxes_whose_centre_is_cut_away_but_not_crowds():
  boxes = [[0, 0, 60, 40], [0, 0, 60, 40], [0, 0, 2, 2]]
  record = _record(boxes=boxes, crowd=np.array([False, True, False]))
  crop = transforms.crop(record, 25, 40, 10, 15)
  np.testing.assert_array_equal(crop.crowd, [True])
  np.testing.assert_array_equal(crop.boxes, [[0, 0, 15, 10]])


def test_colours_change_by_the_naive_formula():
  image = _record().image
  changed = transforms._change_colors(
      image, np.float32(1.2), np.float32(0.7), np.float32(1.3)
  )
  values = image.astype(np.float64) * 1.2
  mean = (values @ [0.299, 0.587, 0.114]).mean()
  contrasted = (values - mean) * 0.7 + mean
  gray = contrasted @ [0.299, 0.587, 0.114]
  expected = (contrasted - gray[..., None]) * 1.3 + gray[..., None]
  expected = np.clip(np.rint(expected), 0, 255)
  assert np.abs(changed - expected).max() <= 1
  assert (changed == expected).mean() > 0.99


def test_colour_jitter_of_nothing_changes_nothing():
  record = _record()
  jitter = transforms.ColorJitter()
  same = jitter.random_map(record, np.random.default_rng(0))
  np.testing.assert_array_equal(same.image, record.image)


def test_transforms_are_frozen_and_compare_by_value():
  assert transforms.Flip(0.5) == transforms.Flip(0.5)
  with pytest.raises(dataclasses.FrozenInstanceError):
    transforms.Flip().probability = 1.0
