"""Captions with boxes that a detector found, as a source."""

import json

import pytest
from PIL import Image

from glip_jax.data.sources import table
from glip_jax.data.sources.protocol import is_detection
from glip_jax.errors import UserError

CAPTION = 'a dog and two cats'


def _record(boxes, scores, spans, file='a.png', caption=CAPTION):
  return {
      'filename': file,
      'width': 40,
      'height': 30,
      'caption': caption,
      'bboxes': boxes,
      'scores': scores,
      'tokens_positive': spans,
  }


GOOD = _record(
    [[1, 2, 9, 9], [3, 3, 8, 9], [20, 3, 30, 9]],
    [0.9, 0.4, 0.6],
    [[[0, 5]], [[0, 5]], [[10, 18]]],
)
BY_ENTITY = _record(
    [[[1, 2, 9, 9]], [[3, 3, 8, 9], [20, 3, 30, 9]]],
    [[0.9], [0.7, 0.3]],
    [[[0, 5]], [[10, 13], [14, 18]]],
)


@pytest.fixture
def opened(tmp_path):
  """Opens a file of these records."""
  for name in 'ab':
    Image.new('RGB', (40, 30)).save(tmp_path / f'{name}.png')

  def open_file(*records, bad_records='raise', **fields):
    path = tmp_path / 'labels.jsonl'
    path.write_text('\n'.join(map(json.dumps, records)))
    spec = {
        'source': 'pseudo_labels',
        'annotations': str(path),
        'images': str(tmp_path),
    }
    return table.open_source(spec | fields, bad_records=bad_records)

  return open_file


def test_boxes_of_a_high_score_are_phrases_of_the_caption(opened):
  source = opened(GOOD)
  record = source[0]
  assert not is_detection(source) and not record.is_list
  assert record.text.caption == CAPTION
  assert record.text.phrases == ('a dog', 'two cats')
  assert record.boxes.tolist() == [[1, 2, 9, 9], [20, 3, 30, 9]]
  assert record.phrase.tolist() == [0, 1]
  assert len(opened(GOOD, min_score=0.4)[0].boxes) == 3


def test_boxes_may_be_listed_by_entity(opened):
  record = opened(BY_ENTITY, min_score=0.3)[0]
  assert record.text.phrases == ('a dog', 'two cats')
  assert record.text.spans[1] == ((10, 13), (14, 18))
  assert record.phrase.tolist() == [0, 1, 1]


def test_a_caption_without_a_box_to_use_is_told_and_left_out(opened):
  other = GOOD | {'filename': 'b.png'}
  source = opened(other | {'scores': [0.1] * 3}, other)
  assert len(source) == 1 and source.image_id(0) == 1
  assert source.report.names == {
      'caption without a box of score 0.5': ['line 1']
  }
  with pytest.raises(UserError, match='has no caption with .*lower min_score'):
    opened(GOOD | {'scores': [0.1] * 3})


@pytest.mark.parametrize(
    'record, kind',
    [
        (GOOD | {'scores': [0.9]}, 'boxes, scores and spans do not match'),
        (GOOD | {'bboxes': None}, 'boxes, scores and spans do not match'),
        (GOOD | {'scores': [0.9, 0.9, 7]}, 'score that is not in 0..1'),
        (GOOD | {'scores': [0.9, 0.9, 'x']}, 'score that is not in 0..1'),
        (BY_ENTITY | {'scores': [[0.9], [0.7]]}, 'score that is not in 0..1'),
        (GOOD | {'caption': None}, 'record without caption'),
        (GOOD | {'bboxes': [[1, 2, 9]] * 3}, 'malformed box'),
        (GOOD | {'tokens_positive': [[[9, 2]]] * 3}, 'malformed span'),
        (GOOD | {'filename': 'gone.png'}, 'missing image'),
    ],
)
def test_a_fault_is_counted_or_refused(opened, record, kind):
  good = GOOD | {'filename': 'b.png'}
  report = opened(good, record, bad_records='skip').report
  assert any(kind in told for told in report.counts)
  with pytest.raises(UserError, match=kind) as caught:
    opened(good, record)
  assert '\n' not in str(caught.value)
