"""AP must be pycocotools' AP, whatever the ids and however little there is."""

import copy
import json

import numpy as np
import pytest

from glip_jax import types
from glip_jax.data import guard
from glip_jax.errors import UserError
from glip_jax.evaluators import coco_ap, detection

GOLDEN_NAMES = {
    'AP_small': 'APs',
    'AP_medium': 'APm',
    'AP_large': 'APl',
    'AR_small': 'ARs',
    'AR_medium': 'ARm',
    'AR_large': 'ARl',
}
BOX = [10.0, 20.0, 30.0, 40.0]


def _truth(*, image_id=7, **annotation):
  return {
      'images': [{'id': image_id, 'width': 100, 'height': 100}],
      'categories': [{'id': 5, 'name': 'cat'}, {'id': 9, 'name': 'dog'}],
      'annotations': [
          {'image_id': image_id, 'category_id': 5, 'bbox': BOX} | annotation
      ],
  }


def _prediction(image_id=7, category_id=5, bbox=BOX, score=0.9):
  return {
      'image_id': image_id,
      'category_id': category_id,
      'bbox': bbox,
      'score': score,
  }


class _Source:
  """One category space, two pictures with awkward ids."""

  ids = ('a/1.jpg', 2**40)
  names = ('cat', 'dog')

  def ground_truth(self):
    return {
        'images': [{'id': i} for i in self.ids],
        'categories': [{'id': 5, 'name': 'cat'}, {'id': 9, 'name': 'dog'}],
        'annotations': [
            {'image_id': 'a/1.jpg', 'category_id': 9, 'bbox': BOX},
            {'image_id': 2**40, 'category_id': 5, 'bbox': BOX},
        ],
    }

  def image_id(self, index):
    return self.ids[index]

  def category_id(self, label):
    return (5, 9)[label]


def _batch(ids, scale):
  n = len(ids)
  return types.Batch(
      image=np.zeros((n, 8, 8, 3), np.uint8),
      size=np.full((n, 2), 8),
      extent=np.full((n, 2), 8),
      scale=np.array(scale, np.float32),
      id=np.array(ids, np.int32),
      prompt=None,
  )


def _detections(boxes, scores, labels, valid):
  return types.Detections(
      boxes=np.array(boxes, np.float32),
      scores=np.array(scores, np.float32),
      labels=np.array(labels, np.int32),
      valid=np.array(valid),
  )


@pytest.mark.parametrize('name', ['a', 'b', 'c'])
def test_metrics_equal_the_stored_pycocotools_numbers(shared, name):
  folder = shared / 'data' / 'eval_golden'
  truth = 'b' if name == 'c' else name
  truth = json.loads((folder / f'{truth}_gt.json').read_text())
  found = json.loads((folder / f'{name}_dt.json').read_text())
  expected = json.loads((folder / f'{name}_expected.json').read_text())
  result = coco_ap.evaluate_coco(truth, found)
  for key, value in expected['stats'].items():
    assert result.metrics[GOLDEN_NAMES.get(key, key)] == pytest.approx(
        value, abs=1e-6
    )
  per_class = {c.name: c for c in result.per_class}
  for key, value in expected['per_class'].items():
    assert per_class.pop(key).AP == pytest.approx(value['AP'], abs=1e-6)
  assert all(c.AP == c.AP50 == -1 for c in per_class.values())


def test_metrics_equal_the_official_evaluation(golden):
  stored = json.loads((golden / 'parts' / 'coco_eval.json').read_text())
  result = coco_ap.evaluate_coco(stored['gt'], stored['coco_results_json'])
  for key, value in stored['scores']['bbox'].items():
    assert result.metrics[key] == pytest.approx(value, abs=1e-6)


def test_string_ids_give_the_same_numbers_as_integers(golden):
  stored = json.loads((golden / 'parts' / 'coco_eval.json').read_text())
  renamed = copy.deepcopy(stored)
  for row in [*renamed['gt']['annotations'], *renamed['coco_results_json']]:
    row['image_id'] = f'image {row["image_id"]}'
  for image in renamed['gt']['images']:
    image['id'] = f'image {image["id"]}'
  before, after = (
      coco_ap.evaluate_coco(x['gt'], x['coco_results_json'])
      for x in (stored, renamed)
  )
  assert before == after


def test_ids_beyond_64_bits_are_told_apart():
  truth = _truth(image_id=2**70)
  truth['images'].append({'id': 2**70 + 1})
  right = coco_ap.evaluate_coco(truth, [_prediction(2**70)])
  wrong = coco_ap.evaluate_coco(truth, [_prediction(2**70 + 1)])
  assert right.metrics['AP'] == pytest.approx(1)
  assert wrong.metrics['AP'] == 0


def test_no_predictions_score_zero():
  result = coco_ap.evaluate_coco(_truth(), [])
  assert result.metrics['AP'] == 0
  assert result.metrics['AR100'] == 0
  assert result.metrics['APs'] == -1


def test_no_truth_scores_minus_one():
  truth = _truth() | {'annotations': []}
  result = coco_ap.evaluate_coco(truth, [_prediction()])
  assert set(result.metrics.values()) == {-1}
  assert [c.AP for c in result.per_class] == [-1, -1]


def test_only_crowd_truth_scores_minus_one():
  result = coco_ap.evaluate_coco(_truth(iscrowd=1), [_prediction()])
  assert result.metrics['AP'] == -1
  assert result.per_class[0].num_truth == 0


def test_no_images_at_all_score_minus_one():
  truth = {'images': [], 'annotations': [], 'categories': []}
  assert coco_ap.evaluate_coco(truth, []).metrics['AP'] == -1


def test_a_detection_in_a_crowd_is_not_a_mistake():
  truth = _truth()
  truth['annotations'].append({
      'image_id': 7,
      'category_id': 5,
      'bbox': [50.0, 50.0, 40.0, 40.0],
      'iscrowd': 1,
  })
  inside = _prediction(bbox=[60.0, 60.0, 10.0, 10.0], score=1.0)
  result = coco_ap.evaluate_coco(truth, [inside, _prediction()])
  assert result.metrics['AP'] == pytest.approx(1)


def test_a_missing_area_is_that_of_the_box():
  small = coco_ap.evaluate_coco(_truth(bbox=[0.0, 0.0, 31.0, 31.0]), []).metrics
  medium = coco_ap.evaluate_coco(
      _truth(bbox=[0.0, 0.0, 33.0, 33.0]), []
  ).metrics
  assert (small['APs'], small['APm']) == (0, -1)
  assert (medium['APs'], medium['APm']) == (-1, 0)


def test_a_given_area_decides_the_size_not_the_box():
  metrics = coco_ap.evaluate_coco(_truth(area=100.0), []).metrics
  assert (metrics['APs'], metrics['APm']) == (0, -1)


def test_tied_scores_rank_in_the_order_of_integer_ids():
  truth = _truth(image_id=3)
  truth['images'] = [{'id': 3}, {'id': 1}]
  tied = [_prediction(3), _prediction(1)]
  # Image 1 comes first and holds the false positive.
  assert coco_ap.evaluate_coco(truth, tied).metrics['AP'] == pytest.approx(0.5)


@pytest.mark.parametrize(
    'row, words',
    [
        (_prediction(image_id=8), 'image_id=8'),
        (_prediction(category_id=6), 'category_id=6'),
    ],
)
def test_a_prediction_of_nothing_known_is_refused(row, words):
  with pytest.raises(UserError, match=words):
    coco_ap.evaluate_coco(_truth(), [row])


def test_stray_annotations_are_ignored():
  truth = _truth()
  truth['annotations'].append(
      {'image_id': 8, 'category_id': 5, 'bbox': [0, 0, 9, 9]}
  )
  result = coco_ap.evaluate_coco(truth, [_prediction()])
  assert result.metrics['AP'] == pytest.approx(1)


def test_evaluation_prints_nothing(capsys):
  coco_ap.evaluate_coco(_truth(), [_prediction()])
  assert capsys.readouterr() == ('', '')


def test_evaluator_undoes_scale_ids_and_labels():
  evaluator = detection.DetectionEvaluator(_Source())
  evaluator.add(
      _batch([1, -1, 0], [(0.5, 2.0), (1, 1), (1, 1)]),
      _detections(
          [
              [[20, 10, 80, 30], [0, 0, 9, 9]],
              [[0, 0, 9, 9], [0, 0, 9, 9]],
              [[10, 20, 40, 60], [0, 0, 1, 1]],
          ],
          [[0.75, 0], [0.5, 0.5], [0.1, 0.05]],
          [[0, 0], [0, 0], [1, 0]],
          [[True, False], [True, True], [True, False]],
      ),
  )
  assert evaluator.predictions() == [
      {'image_id': 'a/1.jpg', 'category_id': 9, 'bbox': BOX, 'score': 0.1},
      {'image_id': 2**40, 'category_id': 5, 'bbox': BOX, 'score': 0.75},
  ]
  assert evaluator.result().metrics['AP'] == pytest.approx(1)


def test_a_record_that_comes_twice_counts_once():
  evaluator = detection.DetectionEvaluator(_Source())
  detections = _detections([[BOX]], [[0.5]], [[0]], [[True]])
  for _ in range(2):
    evaluator.add(_batch([0], [(1, 1)]), detections)
  assert len(evaluator.predictions()) == 1


def test_a_broken_record_is_no_truth_to_be_missed(caplog):
  evaluator = detection.DetectionEvaluator(_Source())
  evaluator.add(
      _batch([0, guard.broken_id(1)], [(1, 1), (1, 1)]),
      _detections(
          [[[10, 20, 40, 60]]] * 2,
          [[0.5], [0.5]],
          [[1], [1]],
          [[True], [False]],
      ),
  )
  result = evaluator.result()
  assert (result.metrics['AP50'], result.num_images) == (pytest.approx(1), 1)
  assert len(evaluator.predictions()) == 1
  assert not caplog.records
  # What another process met counts as well.
  other = detection.DetectionEvaluator(_Source())
  other.merge(evaluator.state())
  assert other.result() == result


def test_a_source_without_classes_is_refused():
  with pytest.raises(UserError, match="a text for each image: use type='grou"):
    detection.DetectionEvaluator(object())


def test_detections_that_are_not_finite_are_left_out():
  evaluator = detection.DetectionEvaluator(_Source())
  evaluator.add(
      _batch([0], [(1, 1)]),
      _detections(
          [[[0, 0, np.nan, 4], [1, 2, 3, 4], [1, 2, 3, 4]]],
          [[0.9, np.nan, 0.8]],
          [[0, 0, 0]],
          [[True, True, True]],
      ),
  )
  assert [row['score'] for row in evaluator.predictions()] == [0.8]


def test_written_scores_keep_the_order_of_float32():
  scores = np.array([0.5, np.nextafter(np.float32(0.5), np.float32(0))])
  evaluator = detection.DetectionEvaluator(_Source())
  evaluator.add(
      _batch([0], [(1, 1)]),
      _detections([[BOX, BOX]], [scores], [[0, 0]], [[True, True]]),
  )
  first, second = (row['score'] for row in evaluator.predictions())
  assert first > second


def test_table_is_aligned_and_marks_missing_truth():
  result = coco_ap.evaluate_coco(_truth(), [_prediction()])
  lines = coco_ap.format_table(result, per_class=True).splitlines()
  assert lines[0].split() == ['AP', 'AP50', 'AP75', 'APs', 'APm', 'APl']
  assert lines[1].split() == ['100.0', '100.0', '100.0', '-', '100.0', '-']
  assert len({len(line) for line in lines[:4]}) == 1
  assert lines[-2].split() == ['cat', '100.0', '100.0', '1']
  assert lines[-1].split() == ['dog', '-', '-', '0']
  assert len({len(line) for line in lines[5:]}) == 1
