"""Elements of a batch: padding, sizes, prompt and targets."""

import numpy as np
import pytest

from glip_jax.data import element, transforms
from glip_jax.data.records import Record
from glip_jax.errors import UserError
from glip_jax.text import prompts

NAMES = ('red circle', 'blue square', 'green star')


def _record(height=40, width=60, *, boxes=None, **fields):
  rng = np.random.default_rng(0)
  boxes = [[4, 6, 20, 30], [30, 2, 59, 39]] if boxes is None else boxes
  defaults = {
      'image': rng.integers(0, 256, (height, width, 3), np.uint8),
      'boxes': np.array(boxes, np.float32).reshape(-1, 4),
      'phrase': np.arange(len(boxes), dtype=np.int32) % len(NAMES),
      'crowd': np.zeros(len(boxes), bool),
      'text': prompts.from_names(NAMES),
      'index': 7,
  }
  return Record(**(defaults | fields))


def _element(**fields):
  defaults = {
      'tokenizer': 'shapes',
      'num_tokens': 24,
      'num_phrases': 5,
      'num_boxes': 4,
      'canvas': (64, 96),
  }
  return element.ToElement(**(defaults | fields))


def test_an_element_holds_the_padded_image_and_its_sizes():
  record = transforms.FitInside((40, 60)).map(_record(80, 120))
  made = _element().map(record)
  np.testing.assert_array_equal(made.image[:40, :60], record.image)
  assert made.image.shape == (64, 96, 3)
  assert not made.image[40:].any() and not made.image[:, 60:].any()
  assert made.size.tolist() == [40, 60]
  assert made.extent.tolist() == [64, 64]
  assert made.scale.tolist() == [0.5, 0.5]
  assert made.id.item() == 7


def test_the_extent_ends_at_the_canvas():
  made = _element(canvas=(50, 60)).map(_record())
  assert made.extent.tolist() == [50, 60]


def test_a_config_says_how_extents_round_and_prompts_end():
  made = _element(extent_multiple=1, prompt_end='.').map(_record())
  assert made.extent.tolist() == [40, 60]
  plain = _element().map(_record()).prompt
  ends = plain.mask.sum() - 1
  assert made.prompt.mask.sum() == plain.mask.sum() + 1
  np.testing.assert_array_equal(made.prompt.ids[:ends], plain.ids[:ends])
  np.testing.assert_array_equal(made.prompt.spans, plain.spans)
  text = prompts.from_caption('red circle. ', [[(0, 10)]])
  assert prompts.ended(text, '.') is text


def test_targets_point_at_the_tokens_that_name_them():
  record = _record(phrase=np.array([2, 0], np.int32))
  made = _element().map(record)
  targets, spans = made.targets, made.prompt.spans
  np.testing.assert_array_equal(targets.tokens[0], spans[2])
  np.testing.assert_array_equal(targets.tokens[1], spans[0])
  assert targets.phrase.tolist() == [2, 0, 0, 0]
  assert targets.valid.tolist() == [True, True, False, False]
  assert not targets.tokens[2:].any() and not targets.boxes[2:].any()


def test_no_token_names_an_object_that_no_phrase_names():
  record = _record(phrase=np.array([1, -1], np.int32))
  made = _element().map(record)
  assert made.targets.phrase[:2].tolist() == [1, -1]
  assert made.targets.tokens[0].any() and not made.targets.tokens[1].any()
  shuffled = transforms.ShuffleNames().random_map(
      record, np.random.default_rng(0)
  )
  assert shuffled.phrase[1] == -1
  name = shuffled.text.name(shuffled.phrase[0])
  assert name == record.text.phrases[1]
  assert shuffled.text.name(-1) == prompts.UNKNOWN


def test_of_too_many_boxes_the_largest_are_kept_in_order():
  boxes = [[0, 0, side, side] for side in (3, 30, 2, 20, 10)]
  made = _element(num_boxes=3).map(_record(boxes=boxes))
  assert made.targets.boxes[:, 2].tolist() == [30, 20, 10]


def test_crowds_give_way_to_boxes():
  boxes = [[0, 0, side, side] for side in (30, 3, 2)]
  crowd = np.array([True, False, False])
  made = _element(num_boxes=2).map(_record(boxes=boxes, crowd=crowd))
  assert made.targets.boxes[:, 2].tolist() == [3, 2]
  assert not made.targets.crowd.any()


def test_boxes_reach_from_edge_to_edge_in_pixels_of_the_input():
  record = _record(80, 120, boxes=[[8, 12, 120, 80], [8, 8, 8.5, 8.5]])
  made = _element().map(transforms.FitInside((40, 60)).map(record))
  want = [[4, 6, 60, 40], [4, 4, 4.25, 4.25]]
  np.testing.assert_allclose(made.targets.boxes[:2], want)


def test_an_image_without_one_scale_says_that_its_pixels_are_the_input_s():
  """As that of a mosaic, whose parts were resized each by its own factor."""
  assert _element().map(_record()).scale.tolist() == [1, 1]


def test_a_record_without_boxes_is_an_element():
  made = _element().map(_record(boxes=[]))
  assert not made.targets.valid.any()
  assert made.targets.boxes.shape == (4, 4)


def test_a_image_beyond_the_canvas_is_refused():
  with pytest.raises(UserError, match='40x60.*exceeds image_size'):
    _element(canvas=(32, 64)).map(_record())
