"""LVIS: fixed AP and 300 an image, of images that are labelled in part."""

import json

import federated_case
import numpy as np
import pytest

from glip_jax import types
from glip_jax.data import guard
from glip_jax.errors import UserError
from glip_jax.evaluators import chunked, lvis, lvis_ap
from glip_jax.text import chunks

BOX, ELSEWHERE = [10.0, 20.0, 30.0, 40.0], [70.0, 70.0, 9.0, 9.0]


class _Source:
  """A set in memory, whose records are its images."""

  def __init__(self, truth):
    self.truth = truth
    self.names = tuple(row['name'] for row in truth['categories'])

  def ground_truth(self):
    return self.truth

  def image_id(self, index):
    return self.truth['images'][index]['id']

  def category_id(self, label):
    return self.truth['categories'][label]['id']

  def absent(self, index):
    raise NotImplementedError


def _truth(*, absent=(), partial=(), boxes=((1, BOX),)):
  return {
      'images': [{
          'id': 7,
          'neg_category_ids': list(absent),
          'not_exhaustive_category_ids': list(partial),
      }],
      'categories': [
          {'id': n, 'name': f'class {n}', 'frequency': 'rf'[n % 2]}
          for n in (1, 2)
      ],
      'annotations': [
          {'image_id': 7, 'category_id': category, 'bbox': box}
          for category, box in boxes
      ],
  }


def _rows(truth, *found):
  return lvis_ap.rows_of(
      truth,
      [
          {'image_id': 7, 'category_id': c, 'bbox': box, 'score': score}
          for c, box, score in found
      ],
  )


@pytest.mark.parametrize(
    'name, most',
    [('fixed_topk10000', 10_000), ('fixed_topk5', 5), ('standard', 300)],
)
def test_metrics_equal_the_official_evaluation(golden, name, most):
  stored = json.loads((golden / 'parts' / 'lvis_fixed_ap.json').read_text())
  rows = lvis_ap.rows_of(
      stored['gt'],
      [
          {
              'image_id': image['image_id'],
              'category_id': label,
              'bbox': [box[0], box[1], box[2] - box[0], box[3] - box[1]],
              'score': score,
          }
          for image in stored['predictions']
          for box, score, label in zip(
              image['boxes_xyxy'], image['scores'], image['labels'], strict=True
          )
      ],
  )
  keys = rows.image if name == 'standard' else rows.category
  kept = rows.take(lvis_ap.limit(keys, rows.score, most))
  metrics = lvis_ap.evaluate_lvis(stored['gt'], kept).metrics
  expected = stored['scores'][name]['results']
  assert len(expected) == len(metrics)
  for key, value in expected.items():
    assert metrics[key.split('@')[0]] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize('name', federated_case.EXPECTED)
def test_metrics_equal_the_lvis_package_where_images_are_labelled_in_part(name):
  truth, found = federated_case.case()
  rows = lvis_ap.rows_of(truth, found)
  kept = rows.take(federated_case.limited(rows, name))
  metrics = lvis_ap.evaluate_lvis(truth, kept).metrics
  expected = federated_case.EXPECTED[name]
  assert metrics == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    'known, expected',
    [
        ({}, 1),  # Of class 2 nothing is known in the image.
        ({'absent': [2]}, 1),
        ({'absent': [2], 'boxes': ((1, BOX), (2, ELSEWHERE))}, 0.5),
        ({'partial': [2], 'boxes': ((1, BOX), (2, ELSEWHERE))}, 1),
    ],
)
def test_a_detection_counts_where_its_class_was_looked_for(known, expected):
  truth = _truth(**known)
  found = [(1, BOX, 0.9), (2, BOX, 0.8), (2, ELSEWHERE, 0.7)]
  score = lvis_ap.evaluate_lvis(truth, _rows(truth, *found))
  by_class = [c.AP for c in score.per_class if c.AP >= 0]
  assert by_class[0] == pytest.approx(1)
  assert by_class[-1] == pytest.approx(expected)


def test_the_limit_of_a_class_counts_images_that_do_not():
  keys, score = np.array([1, 2, 1, 1, 2]), np.array([0.5, 0.9, 0.5, 0.7, 0.1])
  kept = lvis_ap.limit(keys, score, 2)
  assert kept.tolist() == [True, True, False, True, True]


def test_rare_common_and_frequent_classes_are_apart():
  truth = _truth(boxes=((1, BOX), (2, BOX)))
  metrics = lvis_ap.evaluate_lvis(truth, _rows(truth, (2, BOX, 0.9))).metrics
  assert (metrics['APr'], metrics['APf'], metrics['APc']) == (
      pytest.approx(1),
      0,
      -1,
  )


def _batch(ids):
  n = len(ids)
  return types.Batch(
      image=None,
      size=None,
      extent=None,
      scale=np.ones((n, 2), np.float32),
      id=np.array(ids, np.int32),
      prompt=None,
  )


def _detections(found):
  """One row of detections (label, xywh, score)."""
  labels, boxes, scores = zip(*found, strict=True)
  boxes = np.array(boxes)
  boxes[:, 2:] += boxes[:, :2]
  return types.Detections(
      boxes=boxes[None],
      scores=np.array([scores], np.float32),
      labels=np.array([labels]),
      valid=np.ones((1, len(labels)), bool),
  )


def test_detections_that_cannot_count_are_dropped_as_they_come(monkeypatch):
  truth, found = federated_case.case()

  def run(waiting):
    monkeypatch.setattr(lvis, '_MOST_WAITING', waiting)
    evaluator = lvis.LvisEvaluator(_Source(truth))
    for index, image in enumerate(truth['images']):
      own = [row for row in found if row['image_id'] == image['id']]
      rows = [(r['category_id'] - 1, r['bbox'], r['score']) for r in own]
      evaluator.add(_batch([index]), _detections(rows))
    return evaluator

  monkeypatch.setattr(lvis_ap, 'FIXED_PER_CLASS', 60)
  monkeypatch.setattr(lvis_ap, 'ORDINARY_PER_IMAGE', 50)
  late, early = run(10**9), run(100)
  assert late.result() == early.result()
  kept = sum(len(part.record) for part in early._parts)
  assert kept < len(found) == sum(len(part.record) for part in late._parts)
  assert late.result().metrics['AP'] == pytest.approx(0.066643222, abs=1e-8)
  assert late.result().metrics['AP@300'] == pytest.approx(0.069754231, abs=1e-8)


def test_broken_images_are_no_truth_and_files_hold_the_best_of_each_image():
  truth = _truth()
  truth['images'].append({'id': 9, 'neg_category_ids': []})
  truth['annotations'].append({'image_id': 9, 'category_id': 1, 'bbox': BOX})
  evaluator = lvis.LvisEvaluator(_Source(truth))
  evaluator.add(
      _batch([0]), _detections([(0, BOX, 0.5)] * 301 + [(0, BOX, 0.9)])
  )
  evaluator.add(_batch([guard.broken_id(1)]), _detections([(0, BOX, 0.5)]))
  result = evaluator.result()
  assert result.num_images == 1
  assert result.metrics['AP'] == pytest.approx(1)
  rows = evaluator.predictions()
  assert len(rows) == 300 and rows[0] == {
      'image_id': 7, 'category_id': 1, 'bbox': BOX, 'score': 0.9
  }  # fmt: skip


def test_a_source_that_is_not_labelled_in_part_is_refused():
  source = _Source(_truth())
  source.__class__ = type('Plain', (), {'names': ('a',)})
  with pytest.raises(UserError, match="type='lvis' needs data that says which"):
    lvis.LvisEvaluator(source)


def test_the_table_has_a_row_for_each_limit():
  truth = _truth()
  evaluator = lvis.LvisEvaluator(_Source(truth))
  evaluator.add(_batch([0]), _detections([(0, BOX, 0.9)]))
  lines = evaluator.result().table(per_class=True).splitlines()
  assert lines[0].split()[-3:] == ['APr', 'APc', 'APf']
  assert [line.split()[0] for line in lines[1:3]] == ['fixed', '300']
  assert lines[-2].split() == ['class', '1', 'f', '100.0', '100.0', '1']


def test_all_detections_of_all_prompts_are_kept_as_the_original_does(golden):
  """Its LVIS mode: 4 names in a prompt, the best 300 of each prompt."""
  stored = np.load(golden / 'nano' / 'lvis_mode.npz')
  split = chunks.split_names(json.loads(str(stored['categories_json'])), 4)
  found = []
  for n, chunk in enumerate(split):
    assert chunk.text.caption == json.loads(str(stored['queries_json']))[n]
    part = [stored[f'chunk{n}_{x}'] for x in ('boxes_orig_px', 'scores')]
    # The original's labels count from 1, over all prompts.
    labels = stored[f'chunk{n}_labels'] - 1 - chunk.first
    found.append((
        chunk.first,
        types.Detections(
            boxes=part[0][None],
            scores=part[1][None],
            labels=labels[None],
            valid=np.ones((1, len(labels)), bool),
        ),
    ))
  joined = chunked.join(found, lvis.LvisEvaluator.detections_per_image)
  labels = np.concatenate([stored[f'chunk{n}_labels'] - 1 for n in range(3)])
  scores = np.concatenate([stored[f'chunk{n}_scores'] for n in range(3)])
  order = np.argsort(-scores, kind='stable')
  assert len(scores) > 290
  np.testing.assert_array_equal(joined.labels[0], labels[order])
  np.testing.assert_array_equal(joined.scores[0], scores[order])
