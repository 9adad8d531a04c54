"""Four images in one: places, boxes, and streams that go on bit for bit."""

import itertools

import numpy as np
import pytest
from small_world import check_equal, config_of, spec_of

from glip_jax.data import mosaic, records, stream
from glip_jax.data.training_sources import open_training
from glip_jax.errors import UserError
from glip_jax.text import prompts

TEXT = prompts.from_names(('red circle', 'blue square', 'star', 'cross'))


def _record(number, shape, boxes, crowd=None):
  boxes = np.array(boxes, np.float32).reshape(-1, 4)
  return records.Record(
      image=np.full((*shape, 3), 50 * number, np.uint8),
      boxes=boxes,
      phrase=np.full(len(boxes), number, np.int32),
      crowd=np.array(crowd or [False] * len(boxes), bool),
      text=TEXT,
      is_list=True,
      index=number,
  )


@pytest.mark.parametrize('seed', range(5))
def test_each_image_has_a_quarter_and_its_box_is_clipped_to_it(seed):
  shapes = (40, 60), (90, 30), (20, 20), (7, 100)
  four = [
      _record(number, (height, width), [0, 0, width, height])
      for number, (height, width) in enumerate(shapes)
  ]
  made = mosaic.joined(four, np.random.default_rng(seed))
  assert made.image.shape == (40, 60, 3) and made.index == 0
  assert made.text == TEXT and made.boxes.dtype == np.float32
  assert len(set(made.phrase.tolist())) == len(made.phrase) >= 2
  for (x1, y1, x2, y2), phrase in zip(
      made.boxes.astype(int).tolist(), made.phrase, strict=True
  ):
    assert (made.image[y1:y2, x1:x2] == 50 * phrase).all()
    own = made.image == 50 * phrase
    assert own.sum() == (y2 - y1) * (x2 - x1) * 3


def test_boxes_go_as_a_crop_leaves_them():
  # One is four times as wide as any quarter shows of it.
  wide = _record(
      1,
      (10, 400),
      [[0, 0, 400, 10], [0, 0, 4, 4], [396, 0, 400, 4]],
      [True, False, False],
  )
  three = [_record(n, (40, 40), []) for n in (0, 2, 3)]
  counts = set()
  for seed in range(40):
    four = [three[0], wide, *three[1:]]
    made = mosaic.joined(four, np.random.default_rng(seed))
    assert made.crowd[0]  # In part it is always there.
    assert (made.boxes >= 0).all() and (made.boxes <= 40).all()
    assert (made.boxes[:, 2:] > made.boxes[:, :2]).all()
    counts.add(len(made.boxes))
  assert 1 in counts and 3 not in counts


def test_an_image_of_one_pixel_is_a_mosaic_too():
  four = [_record(n, (1, 1), [0, 0, 1, 1]) for n in range(4)]
  made = mosaic.joined(four, np.random.default_rng(0))
  assert made.image.shape == (1, 1, 3) and len(made.boxes) == 1


def _config(world, **fields):
  augment = {'mosaic': 0.6, 'flip': 0.5, 'scale': (0.8, 1.2)}
  own = {'draw_names': {'on': True, 'full': 0.5}, 'augment': augment}
  return config_of(spec_of(world), num_boxes=12, **own) | fields


def _stream(config):
  return stream.train_stream(
      open_training(config), config, batch_size=2, seed=3
  )


def test_a_stream_of_mosaics_goes_on_bit_for_bit(world):
  config = _config(world)
  whole = _stream(config)
  first = list(itertools.islice(whole, 4))
  state = whole.get_state()
  rest = list(itertools.islice(whole, 4))
  again = _stream(config | {'num_workers': 2})
  again.set_state(state)
  check_equal(list(itertools.islice(again, 4)), rest)
  again.close()
  counts = [int(n) for b in first + rest for n in b.targets.valid.sum(axis=1)]
  assert max(counts) > 2  # There are two boxes in each of the images.
  plain = config | {'augment': config['augment'] | {'mosaic': 0.0}}
  for batch in itertools.islice(_stream(plain), 8):
    assert (batch.targets.valid.sum(axis=1) <= 2).all()


def test_broken_images_are_replaced_in_a_mosaic(world):
  config = _config(world, train=spec_of(world, 'bad'))
  config['augment'] = {'mosaic': 1.0}
  for batch in itertools.islice(_stream(config), 8):
    assert (batch.id >= 0).all() and batch.image.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    'source, told',
    [
        ('mdetr', 'has a text for each image'),
        ('lvis', 'has images labelled for some classes only'),
    ],
)
def test_sources_that_cannot_be_mixed_are_refused(world, source, told):
  config = _config(world, train=spec_of(world, source=source))
  with pytest.raises(UserError, match=f'train: augment.mosaic=0.6 .*{told}'):
    open_training(config)
  # Another source of a mixture may have them.
  own = {'on': True, 'flip': 0.5}
  config['train'] = {
      'a': spec_of(world),
      'b': spec_of(world, source=source) | {'augment': own},
  }
  open_training(config)
