"""Drawings are legible: inside the image, apart, in their own colours."""

import numpy as np
import pytest
from PIL import Image

from glip_jax import draw, draw_heat, draw_labels, draw_prompt, types
from glip_jax.text import prompts, tokenizer

RED = {'x': (255, 0, 0)}


def _grey(height, width):
  return np.full((height, width, 3), 128, np.uint8)


def _has(image, colour):
  return bool((np.asarray(image) == colour).all(-1).any())


@pytest.mark.parametrize(
    'shape, size',
    [
        ((64, 96), (384, 256)),
        ((200, 300), (384, 256)),
        ((300, 400), (400, 300)),
    ],
)
def test_small_images_are_enlarged_and_large_ones_kept(shape, size):
  assert draw.draw_boxes(_grey(*shape), [], []).size == size


def test_tiny_images_keep_square_pixels():
  image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
  drawn = np.asarray(draw.draw_boxes(image, [], []))
  assert np.array_equal(drawn, image.repeat(8, 0).repeat(8, 1))


def test_boxes_are_drawn_where_they_are():
  drawn = draw.draw_boxes(
      _grey(64, 64), [[16, 16, 32, 48]], [''], colours={'': (255, 0, 0)}
  )
  rows, columns = np.nonzero((np.asarray(drawn) == (255, 0, 0)).all(-1))
  # Four times as large, and the last pixel belongs to the box's edge.
  assert (rows.min(), rows.max()) == (64, 192)
  assert (columns.min(), columns.max()) == (64, 128)


@pytest.mark.parametrize('image', [np.zeros((9, 9, 3)), [[0]], 'a.png'])
def test_values_that_are_not_uint8_are_refused(image):
  with pytest.raises(ValueError, match='image is .*: give uint8.*to_rgb'):
    draw.draw_boxes(image, np.zeros((0, 4)), [])


def test_the_given_image_is_left_alone():
  image = _grey(300, 300)
  pil = Image.fromarray(image.copy())
  draw.draw_boxes(image, [[1, 1, 200, 200]], ['x'])
  draw.draw_boxes(pil, [[1, 1, 200, 200]], ['x'])
  assert (image == 128).all()
  assert (np.asarray(pil) == 128).all()


@pytest.mark.parametrize(
    'box',
    [
        [-50, -50, 500, 500],
        [400, 400, 500, 500],
        [10, 10, 10, 10],
        [200, 200, 100, 100],
        [np.nan, 0, np.inf, 5],
    ],
)
def test_strange_boxes_are_drawn_inside(box):
  drawn = draw.draw_boxes(_grey(300, 300), [box], ['x'], colours=RED)
  assert _has(drawn, RED['x'])


def test_a_label_wider_than_the_image_is_cut():
  text = draw_labels.fit('a very long phrase ' * 20, 13, 200)
  assert text.endswith('…')
  assert draw_labels.label_size(text, 13)[0] <= 208
  draw.draw_boxes(_grey(256, 256), [[0, 0, 9, 9]], ['long ' * 99])


def test_labels_stay_inside_and_apart_while_there_is_room():
  rng = np.random.default_rng(0)
  low = rng.uniform(0, 600, (25, 2))
  boxes = np.concatenate([low, np.minimum(low + 60, 639)], -1)
  sizes = [(70, 18)] * 25
  spots = draw_labels.place(boxes, sizes, (640, 640))
  assert (spots >= 0).all()
  assert (spots + (70, 18) <= 640).all()
  rects = np.concatenate([spots, spots + (70, 18)], -1)
  for i in range(25):
    for j in range(i):
      low = np.maximum(rects[i, :2], rects[j, :2])
      high = np.minimum(rects[i, 2:], rects[j, 2:])
      assert (high <= low).any(), (i, j)


def test_a_lone_label_stands_on_the_upper_left_corner():
  boxes = np.array([[100.0, 100.0, 200.0, 200.0]])
  spots = draw_labels.place(boxes, [(50, 18)], (300, 300))
  assert spots.tolist() == [[100, 82]]


def test_the_higher_score_gets_the_better_place():
  boxes = [[100.0, 100.0, 200.0, 200.0]] * 2
  colours = {'low': (1, 2, 3), 'high': (3, 2, 1)}
  drawn = draw.draw_boxes(
      _grey(300, 300), boxes, ['low', 'high'], scores=[0.1, 0.9],
      colours=colours,
  )  # fmt: skip
  above = np.asarray(drawn)[:99]
  assert _has(above[:, 100:], colours['high'])
  assert (above[90:99, 101] == colours['high']).all()


def test_numbers_of_boxes_and_labels_must_agree():
  with pytest.raises(ValueError, match='1 boxes but 2 labels'):
    draw.draw_boxes(_grey(9, 9), [[0, 0, 1, 1]], ['x', 'y'])
  with pytest.raises(ValueError):
    draw.draw_boxes(_grey(9, 9), [[0, 0, 1, 1]], ['x'], scores=[1, 2])


def test_labels_in_one_image_have_colours_of_their_own():
  names = [f'class {i}' for i in range(20)]
  colours = draw.label_colours(names)
  assert len(set(colours.values())) == 20
  assert draw.label_colours(reversed(names)) == colours
  assert set(draw.label_colours([f'{i}' for i in range(50)])) == {
      f'{i}' for i in range(50)
  }


def test_crowded_images_are_enlarged_alike_on_both_sides():
  boxes = np.tile([[10.0, 10.0, 90.0, 90.0]], (60, 1))
  drawn = draw.truth_beside_predictions(
      _grey(300, 300),
      (boxes, ['truth'] * 60),
      (boxes[:1], ['found'], [0.5]),
      caption='words ' * 100,
  )
  colours = draw.label_colours(['truth', 'found'])
  pixels = np.asarray(drawn)
  half = drawn.width // 2
  assert drawn.width > 2 * 500
  assert _has(pixels[:, :half], colours['truth'])
  assert not _has(pixels[:, :half], colours['found'])
  assert _has(pixels[:, half:], colours['found'])


def test_captions_break_between_words():
  lines = draw_labels.wrap('one two three four five six', 13, 60)
  assert len(lines) > 1
  assert ' '.join(lines) == 'one two three four five six'


def test_a_sheet_holds_every_image_in_rows():
  shades = (10, 20, 30, 40, 50)
  images = [np.full((20, 30, 3), shade, np.uint8) for shade in shades]
  paper = draw.sheet(images, columns=2)
  assert paper.size == (2 * 38 + 8, 3 * 28 + 8)
  assert all(_has(paper, (shade,) * 3) for shade in shades)
  with pytest.raises(ValueError, match='empty'):
    draw.sheet([])


def _batch():
  words = tokenizer.load_tokenizer('shapes')
  prompt = prompts.encode(
      prompts.from_names(('red circle', 'blue square')),
      words,
      num_tokens=16,
      num_phrases=2,
  )
  boxes = np.zeros((3, 2, 4), np.float32)
  boxes[:, 0] = (8, 8, 24, 24)
  return words, types.Batch(
      image=np.zeros((3, 64, 64, 3), np.uint8),
      size=np.full((3, 2), (48, 64)),
      extent=np.full((3, 2), 64),
      scale=np.ones((3, 2), np.float32),
      id=np.array([5, 6, -1], np.int32),
      prompt=prompts.stack([prompt] * 3),
      targets=types.Targets(
          boxes=boxes,
          phrase=np.ones((3, 2), np.int32),
          tokens=np.zeros((3, 2, 16), bool),
          valid=np.tile([True, False], (3, 1)),
          crowd=np.zeros((3, 2), bool),
      ),
  )


def test_input_sheet_shows_what_the_model_sees(monkeypatch):
  seen, framed = [], []
  draw_boxes, with_text = draw.draw_boxes, draw_labels.with_text

  def note_boxes(image, boxes, labels, **kwargs):
    seen.append((np.asarray(boxes).tolist(), labels))
    return draw_boxes(image, boxes, labels, **kwargs)

  def note_text(image, **text):
    framed.append(text)
    return with_text(image, **text)

  monkeypatch.setattr(draw, 'draw_boxes', note_boxes)
  monkeypatch.setattr(draw_labels, 'with_text', note_text)
  words, batch = _batch()
  draw.input_sheet(batch, words)
  # Four times as large.
  assert seen == [([[32, 32, 96, 96]], ['blue square'])] * 2
  assert framed[0]['above'] == 'record 5, 64 x 48'
  assert framed[0]['below'].startswith('red circle')


def test_input_sheet_needs_neither_targets_nor_tokenizer():
  _, batch = _batch()
  named = draw.input_sheet(batch)
  bare = draw.input_sheet(batch.replace(targets=None))
  assert named.size == bare.size
  assert _has(named, draw.label_colours(['phrase 1'])['phrase 1'])
  assert not _has(bare, draw.label_colours(['phrase 1'])['phrase 1'])


@pytest.mark.parametrize('side', [300, 1080, 6000])
def test_letters_stay_a_share_of_the_image(side):
  assert draw_labels.letter_height((2 * side, side)) >= max(13, side // 46)


def test_labels_keep_off_objects_that_are_smaller_than_they_are():
  # A small object lies where the label of the large box would go first.
  boxes = np.array([[100.0, 100, 300, 300], [104, 84, 112, 96]])
  sizes = [(80, 18), (40, 18)]
  for order in ([0, 1], [1, 0]):
    own = [sizes[i] for i in order]
    spots = draw_labels.place(boxes[order], own, (400, 400))
    small = boxes[1]
    for spot, i in zip(spots, order, strict=True):
      label = np.concatenate([spot, spot + sizes[i]])
      low = np.maximum(label[:2], small[:2])
      high = np.minimum(label[2:], small[2:])
      assert (high <= low).any(), (order, i)


def test_the_words_of_a_phrase_stand_on_its_colour_and_others_on_white():
  text = prompts.from_caption('a red dog, a cat', [[(2, 9)], [(13, 16)]])
  image = Image.new('RGB', (300, 200), (0, 0, 0))
  drawn = draw_prompt.with_prompt(image, text, {'red dog': (0, 200, 0)})
  beneath = np.asarray(drawn)[200:]
  green = (beneath == (0, 200, 0)).all(-1)
  columns = np.flatnonzero(green.any(0))
  length = draw_labels.label_size('red dog', 13)[0]
  assert abs(len(columns) - length) < 8
  assert np.ptp(columns) + 1 == len(columns)  # One ground, the space included.
  assert (beneath == 255).all(-1).mean() > 0.5


def test_a_prompt_of_hundreds_of_names_is_cut_short():
  text = prompts.from_names([f'name {i}' for i in range(300)])
  image = Image.new('RGB', (300, 200))
  drawn = draw_prompt.with_prompt(image, text, {})
  assert 0 < drawn.height - 200 < 200


def test_a_heat_map_is_brightest_where_it_is_hottest():
  heat = np.zeros((300, 400), np.float32)
  heat[100:120, 50:70] = 0.8
  drawn = np.asarray(draw_heat.over(_grey(300, 400), heat, 'dog'), int)
  assert drawn.shape[1] == 400 and drawn.shape[0] > 300
  inside, outside = drawn[110, 60], drawn[200, 200]
  assert inside.sum() > outside.sum() and inside[0] > inside[2] + 100
  np.testing.assert_array_equal(outside, 128)
  with pytest.raises(ValueError, match='of heat for an image of'):
    draw_heat.over(_grey(9, 9), heat)
