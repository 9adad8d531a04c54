"""Unknown objects are counted by hand in two images."""

import json
import types as python_types

import numpy as np
import pytest

from glip_jax import types
from glip_jax.data.records import Truth
from glip_jax.evaluators import unknown
from glip_jax.text import prompts


def _source(*truths):
  """Truths as (boxes, phrases), by record."""
  text = prompts.from_names(['dog'])
  made = [
      Truth(
          boxes=np.array(boxes, np.float32).reshape(-1, 4),
          phrase=np.array(phrases, np.int32),
          crowd=np.zeros(len(phrases), bool),
          text=text,
      )
      for boxes, phrases in truths
  ]
  return python_types.SimpleNamespace(
      truth=made.__getitem__, image_id=lambda i: 100 + i
  )


def _add(evaluator, index, boxes, labels, scores):
  k = len(labels)
  batch = types.Batch(
      image=np.zeros((1, 8, 8, 3), np.uint8),
      size=np.array([[64, 64]]),
      extent=np.array([[64, 64]]),
      scale=np.full((1, 2), 0.5, np.float32),
      id=np.array([index]),
      prompt=None,
  )
  detections = types.Detections(
      # Boxes are of input pixels, half as large as the image's.
      boxes=np.array(boxes, np.float32).reshape(1, k, 4) / 2,
      scores=np.array([scores], np.float32),
      labels=np.array([labels]),
      valid=np.ones((1, k), bool),
  )
  evaluator.add(batch, detections)


A, B, C = [0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]
FAR = [100, 100, 110, 110]


def test_what_is_right_is_right_once_and_what_is_named_does_not_count():
  source = _source(([A, B, C], [0, -1, -1]), ([A], [-1]))
  evaluator = unknown.UnknownEvaluator(source)
  # Best first: B is right, A is a named object, B again is a second claim.
  _add(evaluator, 0, [B, A, B, C], [-1, -1, -1, 0], [0.9, 0.8, 0.7, 0.95])
  other = unknown.UnknownEvaluator(source)
  _add(other, 1, [FAR, A], [-1, -1], [0.2, 0.4])
  evaluator.merge(other.state())
  _add(evaluator, 1, [A], [-1], [0.99])  # A record counts once.
  result = evaluator.result()
  assert (result.n, result.num_detections) == (3, 5)
  assert result.recall == pytest.approx(1 / 3)
  assert result.precision == pytest.approx(1 / 3)
  assert result.found_at_all == pytest.approx(2 / 3)
  # Right at ranks 1 and 4 of 5: precision 1 up to 1/3, then 2/4 up to 2/3.
  assert result.average_precision == pytest.approx((1 + 0.5) / 3)
  rows = evaluator.predictions()
  assert [row['right'] for row in rows] == [True, False, False, True, False]
  assert rows[3] == {
      'image_id': 101,
      'bbox': [0.0, 0.0, 10.0, 10.0],
      'score': pytest.approx(0.4),
      'right': True,
  }
  json.dumps(result.to_json())
  assert 'recall 33.3, precision 33.3' in result.table()


def test_a_box_that_overlaps_too_little_is_wrong():
  source = _source(([A], [-1]))
  strict = unknown.UnknownEvaluator(source, min_iou=0.9)
  loose = unknown.UnknownEvaluator(source, min_iou=0.5)
  for evaluator in (strict, loose):
    _add(evaluator, 0, [[0, 0, 10, 8]], [-1], [0.9])
  assert strict.result().recall == 0.0
  assert loose.result().recall == 1.0


def test_no_object_and_no_detection_are_said():
  nothing = unknown.UnknownEvaluator(_source(([A], [0])))
  _add(nothing, 0, [A], [0], [0.9])
  assert nothing.result().metrics == {
      'AP50': -1.0,
      'recall': -1.0,
      'precision': 1.0,
      'n': 0.0,
  }
  assert 'decode.unknown=True' in nothing.result().table()
  missed = unknown.UnknownEvaluator(_source(([A], [-1])))
  _add(missed, 0, [A], [0], [0.9])
  assert missed.result().recall == 0.0
