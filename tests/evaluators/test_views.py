"""Images in several sizes and mirrored, by a detector that finds a colour."""

import functools
import json

import numpy as np
import pytest
from PIL import Image

from glip_jax import types
from glip_jax.data import pipeline, settings
from glip_jax.data.sources import table
from glip_jax.errors import UserError
from glip_jax.evaluators import detecting, merging, unpack
from glip_jax.evaluators import views as views_lib

SIZES = ((60, 90), (90, 60), (48, 96), (64, 64), (100, 70))


class RedBox:
  """Finds the red rectangle of each image; asks for images of any size."""

  def __init__(self):
    self.sizes = []

  def unsuppressed(self):
    """The same, told by another label."""
    return self

  def detect(self, batch, *, same_prompt):
    assert same_prompt
    self.sizes.append(batch.size.tolist())
    boxes = np.zeros((len(batch.id), 1, 4), np.float32)
    valid = np.zeros((len(batch.id), 1), bool)
    for row, image in enumerate(batch.image.astype(int)):
      red = (image[..., 0] > 150) & (image[..., 1] < 100)
      if red.any():
        y, x = np.nonzero(red)
        scale = batch.scale[row]
        # An original pixel beyond the last, as GLIP gives it back.
        ends = x.max() + scale[1], y.max() + scale[0]
        boxes[row, 0] = x.min(), y.min(), *ends
        valid[row] = True
    return types.Detections(
        boxes=boxes,
        scores=valid * np.float32(0.5),
        labels=np.zeros(valid.shape, np.int32),
        valid=valid,
    )


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp('red')
  images, boxes = [], []
  for number, (height, width) in enumerate(SIZES):
    pixels = np.full((height, width, 3), 255, np.uint8)
    x, y = 6 + 4 * number, 10
    pixels[y : y + 20, x : x + 16] = 255, 0, 0
    Image.fromarray(pixels).save(folder / f'{number}.png')
    images.append(
        dict(id=number, file_name=f'{number}.png', height=height, width=width)
    )
    boxes.append(
        dict(id=number, image_id=number, category_id=1, bbox=[x, y, 16, 20])
    )
  content = dict(
      images=images,
      annotations=boxes,
      categories=[dict(id=1, name='red square')],
  )
  (folder / 'all.json').write_text(json.dumps(content))
  return table.open_source(dict(annotations=str(folder / 'all.json')))


DATA = dict(
    num_tokens=8,
    num_phrases=1,
    resize=(60, 100),
    image_size=(96, 96),
    buckets=((64, 96, 8), (96, 64, 8)),
)


def _found(source, detector, how, batch_size=2, data=DATA, **processes):
  """Boxes of each record by index."""
  data = settings.read_data(data)
  batches, detect = detecting.look(
      functools.partial(
          pipeline.eval_batches,
          source,
          data,
          batch_size=batch_size,
          **processes,
      ),
      functools.partial(detecting.detect_in, source, data=data),
      detector,
      how,
  )
  return {
      image.index: image.boxes
      for batch in batches
      for image in unpack.unpack(batch, detect(batch))
  }


def _views(**fields):
  fields = dict(short_sides=(60, 30, 120), long=200, ranges=()) | fields
  return views_lib.Views(on=True, **fields)


@pytest.mark.parametrize('rule', ['nms', 'vote', 'soft_vote', 'soft_nms'])
def test_all_views_show_the_same_place(source, rule):
  how = _views(merging=merging.Merging(rule=rule, min_score=0.3))
  detector = RedBox()
  found = _found(source, detector, how)
  assert sorted(found) == list(range(len(SIZES)))
  for index, boxes in found.items():
    truth = source.truth(index).boxes[0]
    # Half the size, and resampled: to two pixels of the original.
    np.testing.assert_allclose(boxes[0], truth, atol=2.5)
  # Each batch in three sizes, and mirrored.
  assert len(detector.sizes) % 6 == 0
  short = {min(size) for sizes in detector.sizes for size in sizes}
  assert {30, 60, 120} <= short


@pytest.mark.parametrize('batch_size', [1, 3, 7])
@pytest.mark.parametrize('count', [1, 2])
def test_any_batch_and_processes_give_the_same(source, batch_size, count):
  expected = _found(source, RedBox(), _views())
  found = {}
  for index in range(count):
    found |= _found(
        source,
        RedBox(),
        _views(),
        batch_size,
        process_index=index,
        process_count=count,
    )
  assert sorted(found) == sorted(expected)
  for index, boxes in found.items():
    np.testing.assert_array_equal(boxes, expected[index])


def test_a_view_gives_boxes_of_its_range_alone(source):
  # In pixels of the views the square has a root of area of 18, 9 and 36.
  nothing = _views(ranges=((100, 200),) * 3)
  assert all(
      not len(boxes) for boxes in _found(source, RedBox(), nothing).values()
  )
  large = _views(ranges=((1000, 2000), (1000, 2000), (0, 1000)), flip=False)
  only = views_lib.Views(
      on=True, short_sides=(120,), long=200, ranges=(), flip=False
  )
  expected = _found(source, RedBox(), only)
  for index, boxes in _found(source, RedBox(), large).items():
    np.testing.assert_allclose(boxes, expected[index], atol=1e-3)


def test_one_view_of_the_same_size_is_no_view(source):
  how = _views(short_sides=(60,), long=100, flip=False)
  plain = _found(source, RedBox(), views_lib.Views())
  for index, boxes in _found(source, RedBox(), how).items():
    np.testing.assert_allclose(boxes, plain[index], atol=1e-3)


def test_views_that_cannot_be_are_refused(source):
  with pytest.raises(UserError, match='ranges has 1 entries and short_sides 3'):
    _views(ranges=((0, 1),)).check('evals.val.views')
  data = dict(DATA, resize=())
  with pytest.raises(UserError, match='config.data.resize is empty'):
    _found(source, RedBox(), _views(), data=data)
