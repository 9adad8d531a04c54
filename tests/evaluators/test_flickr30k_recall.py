"""Recall of Flickr30k's phrases is the original's, by both protocols."""

import json

import numpy as np
import pytest
from PIL import Image

from glip_jax import types
from glip_jax.data.sources.flickr30k import Flickr30kSource
from glip_jax.errors import UserError
from glip_jax.evaluators import flickr30k, unpack


def _batch(index, scale=(1, 1)):
  return types.Batch(
      image=None,
      size=None,
      extent=None,
      scale=np.array([scale], np.float32),
      id=np.array([index], np.int32),
      prompt=None,
  )


def _detections(boxes, scores, labels):
  return types.Detections(
      boxes=np.array(boxes, np.float64).reshape(1, -1, 4),
      scores=np.array(scores, np.float32)[None],
      labels=np.array(labels, int)[None],
      valid=np.ones((1, len(labels)), bool),
  )


@pytest.fixture
def stored(golden):
  return json.loads((golden / 'parts' / 'flickr_recall.json').read_text())


@pytest.fixture
def source(stored, tmp_path):
  """The files that the original was given, with images of nothing."""
  for folder in ('Sentences', 'Annotations', 'images'):
    (tmp_path / folder).mkdir()
  for name, files in stored['files'].items():
    (tmp_path / 'Sentences' / f'{name}.txt').write_text(files['sentences'])
    (tmp_path / 'Annotations' / f'{name}.xml').write_text(files['xml'])
    Image.new('L', (500, 375)).save(tmp_path / 'images' / f'{name}.jpg')
  return Flickr30kSource(
      directory=tmp_path, images=tmp_path / 'images', bad_records='raise'
  )


def _evaluated(source, stored):
  evaluator = flickr30k.Flickr30kEvaluator(source)
  index = {source.image_id(n): n for n in range(len(source))}
  for row in stored['predictions']:
    # The original adds an empty box to every phrase.
    found = [
        (box, 0.9 - 0.01 * place, phrase)
        for phrase, (*boxes, _) in enumerate(row['boxes'])
        for place, box in enumerate(boxes)
    ]
    record = index[f'{row["image_id"]}#{row["sentence_id"]}']
    # In any order: it is scores that say which is best.
    evaluator.add(_batch(record), _detections(*zip(*found[::-1], strict=True)))
  return evaluator


def test_recall_equals_the_official_evaluation(source, stored):
  result = _evaluated(source, stored).result()
  rows = {'all': result.overall, **result.by_type}
  assert result.overall.n == 25
  for protocol, expected in stored['scores'].items():
    assert len(expected) == 4 * len(rows)
    for key, value in expected.items():
      measure, name = key.lower().rsplit('_', 1)
      shares = rows[name].any_box
      if protocol == 'merged':
        shares = rows[name].merged_box
      assert shares[measure] == pytest.approx(value, abs=1e-6), key


def test_metrics_and_table_are_of_all_phrases(source, stored):
  result = _evaluated(source, stored).result()
  names = flickr30k.Flickr30kEvaluator.metric_names
  assert tuple(result.metrics) == names
  assert result.metrics['recall@1'] == pytest.approx(0.28)
  assert result.metrics['merged/upper_bound'] == pytest.approx(0.56)
  lines = result.table().splitlines()
  assert lines[2].split() == (
      ['all', '28.0', '72.0', '84.0', '84.0', '8.0', '48.0', '56.0', '56.0']
      + ['25']
  )
  assert lines[3].split()[0] == 'animals'


def test_boxes_of_a_phrase_are_those_of_the_original_in_its_order(golden):
  path = golden / 'parts' / 'flickr_post_process.json'
  stored = json.loads(path.read_text())
  width, height = stored['size_wh']
  scale = np.array([height, width]) / stored['orig_size_hw']
  # The original's labels count from 1.
  labels = np.array(stored['labels']) - 1
  found = _detections(stored['boxes'], stored['scores'], labels)
  (image,) = unpack.unpack(_batch(0, scale), found)
  for phrase in range(stored['n_phrases']):
    boxes, scores = flickr30k.best_first(image, phrase)
    expected = np.array(stored['out_boxes'][phrase][:-1])
    np.testing.assert_allclose(boxes, expected, atol=1e-3)
    np.testing.assert_array_equal(
        scores, np.float32(stored['out_scores'][phrase])
    )


def test_lists_of_a_network_are_the_original_s(golden):
  """Its Flickr mode: each phrase has its boxes, best first."""
  path = golden / 'nano' / 'flickr_mode.json'
  stored = json.loads(path.read_text())
  rows = [
      (box, score, phrase)
      for phrase, (boxes, scores) in enumerate(
          zip(stored['out_boxes_orig_px'], stored['out_scores'], strict=True)
      )
      for box, score in zip(boxes[:-1], scores, strict=True)
  ]
  rows.sort(key=lambda row: row[0])  # Any order but by score.
  found = _detections(*zip(*rows, strict=True))
  (image,) = unpack.unpack(_batch(0), found)
  for phrase in range(3):
    boxes, scores = flickr30k.best_first(image, phrase)
    np.testing.assert_array_equal(
        boxes, stored['out_boxes_orig_px'][phrase][:-1]
    )
    np.testing.assert_array_equal(
        scores, np.float32(stored['out_scores'][phrase])
    )


def test_a_phrase_without_detection_is_missed(source):
  evaluator = flickr30k.Flickr30kEvaluator(source)
  evaluator.add(_batch(0), _detections([], [], []))
  result = evaluator.result()
  assert result.overall.n == 1 and result.metrics['upper_bound'] == 0
  assert evaluator.predictions()[0]['boxes'] == []


def test_nothing_judged_gives_minus_one(source):
  result = flickr30k.Flickr30kEvaluator(source).result()
  assert set(result.metrics.values()) == {-1}
  assert ' - ' in result.table()


def test_a_source_with_classes_is_refused():
  source = type('Classes', (), {'names': ('dog',)})()
  with pytest.raises(UserError, match="type='flickr30k' needs captions"):
    flickr30k.Flickr30kEvaluator(source)
