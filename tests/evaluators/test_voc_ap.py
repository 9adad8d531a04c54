"""Average precision of Pascal VOC, against published answers and by hand."""

import json

import pytest

from glip_jax.errors import UserError
from glip_jax.evaluators import voc, voc_ap

A, B, FAR = [0, 0, 10, 10], [2, 0, 10, 10], [50, 50, 5, 5]


def _truth(*boxes, difficult=()):
  return {
      'images': [{'id': 'x'}, {'id': 'y'}],
      'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
      'annotations': [
          {
              'image_id': 'x',
              'category_id': 1,
              'bbox': box,
              'iscrowd': int(n in difficult),
          }
          for n, box in enumerate(boxes)
      ],
  }


def _found(*rows):
  return [
      {'image_id': image, 'category_id': 1, 'bbox': box, 'score': score}
      for image, box, score in rows
  ]


def test_published_answers_are_met(shared):
  """Of rafaelpadilla/Object-Detection-Metrics, which counts last pixels."""
  path = shared / 'data' / 'eval_golden' / 'd_voc' / 'boxes.json'
  stored = json.loads(path.read_text())
  edges = lambda row: [
      int(row[0]),
      int(row[1]),
      int(row[2]) + 1,
      int(row[3]) + 1,
  ]
  truth = {
      'images': [{'id': name} for name in stored],
      'categories': [{'id': 1, 'name': 'person'}],
      'annotations': [
          {'image_id': name, 'category_id': 1, 'bbox': edges(row[1:])}
          for name, rows in stored.items()
          for row in rows['groundtruths']
      ],
  }
  found = _found(*(
      (name, edges(row[2:]), float(row[1]))
      for name, rows in stored.items()
      for row in rows['detections']
  ))
  result = voc_ap.evaluate_voc(truth, found, min_iou=0.3)
  # 24.56 is published, of rounded precisions.
  assert 100 * result.metrics['AP50'] == pytest.approx(24.57, abs=0.005)
  assert 100 * result.metrics['AP50_11_points'] == pytest.approx(
      26.84, abs=0.005
  )
  for row in [*truth['annotations'], *found]:
    row['bbox'][2] -= 1
    row['bbox'][3] -= 1
  other = voc_ap.evaluate_voc(truth, found, min_iou=0.3)
  assert 100 * other.metrics['AP50'] == pytest.approx(22.54, abs=0.005)


def test_a_second_detection_of_a_box_is_wrong_though_another_is_free():
  truth = _truth(A, B)
  found = _found(('x', A, 0.9), ('x', [0, 0, 10, 10.1], 0.8), ('x', B, 0.7))
  result = voc_ap.evaluate_voc(truth, found)
  # Right, wrong, right: precision 1 up to recall 1/2, then 2/3.
  assert result.metrics['AP50'] == pytest.approx((1 + 2 / 3) / 2)
  assert result.metrics['AP50_11_points'] == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_what_matches_a_difficult_box_is_neither_right_nor_wrong():
  truth = _truth(A, FAR, difficult=(1,))
  found = _found(('x', FAR, 0.9), ('x', FAR, 0.85), ('x', A, 0.8))
  result = voc_ap.evaluate_voc(truth, found)
  assert result.metrics['AP50'] == 1
  assert result.per_class[0].num_truth == 1


@pytest.mark.parametrize('width, expected', [(20.0, 1), (20.1, 0)])
def test_an_overlap_of_exactly_the_half_is_right(width, expected):
  found = _found(('x', [0, 0, width, 10], 0.9))
  assert voc_ap.evaluate_voc(_truth(A), found).metrics['AP50'] == expected


def test_an_image_without_the_class_gives_wrong_detections():
  found = _found(('y', A, 0.9), ('x', A, 0.8))
  metrics = voc_ap.evaluate_voc(_truth(A), found).metrics
  assert metrics['AP50'] == 0.5


def test_classes_without_truth_are_left_out_of_the_mean():
  result = voc_ap.evaluate_voc(_truth(A), _found(('x', A, 0.5)))
  assert result.metrics == {'AP50': 1, 'AP50_11_points': 1}
  assert [c.AP for c in result.per_class] == [1, -1]
  lines = result.table(per_class=True).splitlines()
  assert lines[1].split() == ['mean', '100.0', '100.0']
  assert lines[-1].split() == ['dog', '-', '-', '0']
  nothing = voc_ap.evaluate_voc(_truth(), [])
  assert set(nothing.metrics.values()) == {-1}


def test_captions_are_refused():
  with pytest.raises(UserError, match="type='voc' needs a source with one"):
    voc.VocEvaluator(object())
