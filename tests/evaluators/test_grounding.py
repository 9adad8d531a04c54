"""Recall of phrases: one best box per phrase, judged against any truth."""

import json
import types as python_types

import numpy as np
import pytest
from PIL import Image

from glip_jax import fields, types
from glip_jax.errors import UserError
from glip_jax.evaluators import grounding, runner

HERE = [0.0, 0.0, 10.0, 10.0]
THERE = [50.0, 50.0, 70.0, 60.0]


def _record(caption, phrases, boxes, phrase, crowd=None):
  return python_types.SimpleNamespace(
      text=python_types.SimpleNamespace(caption=caption, phrases=phrases),
      boxes=np.array(boxes, np.float32).reshape(-1, 4),
      phrase=np.array(phrase, np.int32),
      crowd=np.array(crowd or [False] * len(phrase)),
  )


class _Source(list):

  truth = list.__getitem__

  def image_id(self, index):
    return f'image {index}'


def _add(evaluator, index, rows, scale=(1, 1)):
  """Adds a picture; its detections are (box, score, label)."""
  boxes, scores, labels = zip(*rows, strict=True) if rows else ([], [], [])
  boxes = np.array(boxes, np.float64).reshape(-1, 4)
  evaluator.add(
      types.Batch(
          image=None,
          size=None,
          extent=None,
          scale=np.array([scale], np.float32),
          id=np.array([index], np.int32),
          prompt=None,
      ),
      types.Detections(
          boxes=boxes[None],
          scores=np.array(scores, np.float32).reshape(1, -1),
          labels=np.array(labels, np.int32).reshape(1, -1),
          valid=np.ones((1, len(rows)), bool),
      ),
  )


PAIR = _record(
    'a red disk left of a blue cube',
    ('a red disk', 'a blue cube'),
    [HERE, THERE],
    [0, 1],
)


def _evaluator(*records, **options):
  return grounding.GroundingEvaluator(_Source(records), **options)


def test_only_the_best_box_of_a_phrase_counts():
  evaluator = _evaluator(PAIR, PAIR, target='first')
  _add(evaluator, 0, [(HERE, 0.9, 0), (THERE, 0.8, 0)])
  _add(evaluator, 1, [(HERE, 0.8, 0), (THERE, 0.9, 0)])
  assert evaluator.result().overall.recall == 0.5


def test_boxes_of_another_phrase_do_not_count():
  evaluator = _evaluator(PAIR, target='first')
  _add(evaluator, 0, [(THERE, 0.9, 1), (HERE, 0.1, 0)])
  assert evaluator.result().overall.recall == 1


def test_first_judges_one_phrase_and_all_judges_each():
  rows = [(HERE, 0.9, 0), (HERE, 0.9, 1)]
  first = _evaluator(PAIR, target='first')
  every = _evaluator(PAIR, target='all')
  _add(first, 0, rows)
  _add(every, 0, rows)
  assert (first.result().overall.recall, first.result().overall.n) == (1, 1)
  assert (every.result().overall.recall, every.result().overall.n) == (0.5, 2)


def test_a_phrase_without_detection_is_missed():
  evaluator = _evaluator(PAIR)
  _add(evaluator, 0, [])
  assert evaluator.result().overall.recall == 0
  assert evaluator.predictions() == []


def test_any_of_several_boxes_will_do():
  record = _record('two cups', ('cups',), [HERE, THERE], [0, 0])
  evaluator = _evaluator(record)
  _add(evaluator, 0, [(THERE, 0.5, 0)])
  assert (evaluator.result().overall.recall, evaluator.result().overall.n) == (
      1,
      1,
  )


def test_phrases_without_boxes_or_of_crowds_are_not_judged():
  record = _record(
      'a dog on grass by people', ('dog', 'grass', 'people'),
      [HERE, THERE], [0, 2], crowd=[False, True],
  )  # fmt: skip
  evaluator = _evaluator(record)
  _add(evaluator, 0, [(HERE, 0.5, 0)])
  assert evaluator.result().overall.n == 1


@pytest.mark.parametrize('right, recall', [(20.0, 1), (20.1, 0)])
def test_overlap_of_exactly_the_threshold_is_right(right, recall):
  evaluator = _evaluator(PAIR, target='first')
  _add(evaluator, 0, [([0, 0, right, 10], 0.9, 0)])
  assert evaluator.result().overall.recall == recall


def test_boxes_are_taken_back_to_the_original_picture():
  evaluator = _evaluator(PAIR, target='first')
  _add(evaluator, 0, [([0, 0, 20, 5], 0.9, 0)], scale=(0.5, 2.0))
  assert evaluator.result().overall.recall == 1
  assert evaluator.predictions()[0]['bbox'] == HERE
  assert evaluator.predictions()[0]['image_id'] == 'image 0'
  assert evaluator.predictions()[0]['phrase'] == 'a red disk'


def test_relation_words_are_counted_apart():
  captions = ('a left of b', 'a Right of b', 'a above b', 'a below b', 'a b')
  evaluator = _evaluator(*(_record(c, ('a',), [HERE], [0]) for c in captions))
  for index in range(5):
    _add(evaluator, index, [(HERE if index % 2 else THERE, 0.9, 0)])
  result = evaluator.result()
  assert {k: v.recall for k, v in result.by_relation.items()} == {
      'left of': 0,
      'right of': 1,
      'above': 0,
      'below': 1,
  }
  assert result.overall.n == 5
  assert result.metrics['recall/right_of'] == 1
  assert 'right of' in result.table()


def test_nothing_judged_gives_minus_one_and_the_whole_interval():
  overall = _evaluator().result().overall
  assert (overall.recall, overall.n, overall.low, overall.high) == (-1, 0, 0, 1)


def test_wilson_interval_equals_the_published_example():
  # Newcombe 1998, table I, method 3: 81 of 263 and 0 of 20.
  low, high = grounding.wilson_interval(81, 263)
  assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
  low, high = grounding.wilson_interval(0, 20)
  assert (round(low, 4), round(high, 4)) == (0, 0.1611)


@pytest.mark.parametrize('options', [{'target': 'last'}, {'min_iou': 0}])
def test_unknown_settings_are_refused(options):
  with pytest.raises(UserError, match=next(iter(options))):
    _evaluator(**options)


def test_each_mention_that_a_file_lists_is_judged(tmp_path):
  Image.new('RGB', (80, 80)).save(tmp_path / 'a.png')
  caption = 'a man waves as he walks'
  image = {'id': 1, 'file_name': 'a.png', 'caption': caption}
  image['tokens_positive_eval'] = [[[0, 5]], [[15, 17]]]
  box = {'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 10, 10]}
  box['tokens_positive'] = [[0, 5], [15, 17]]
  content = {'images': [image], 'annotations': [box], 'categories': []}
  (tmp_path / 'val.json').write_text(json.dumps(content))
  data = {'source': 'mdetr', 'images': str(tmp_path)}
  data['annotations'] = str(tmp_path / 'val.json')
  spec = fields.from_dict(
      runner.Evaluation, {'type': 'grounding', 'data': data}, 'evals.val'
  )
  source, evaluator = runner.build('val', spec)
  assert source.text(0).phrases == ('a man', 'he')
  _add(evaluator, 0, [(HERE, 0.9, 0), (THERE, 0.8, 1)])
  assert evaluator.result().overall.n == 2
  assert evaluator.result().overall.recall == 0.5
