"""Referring expressions: the best box of each, and what fits nothing."""

import types as python_types

import numpy as np
import pytest

from glip_jax import types
from glip_jax.data import settings, specs
from glip_jax.data.sources import table
from glip_jax.errors import UserError
from glip_jax.evaluators import referring, runner

HERE, THERE = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 70.0, 60.0]


def _record(boxes=(), phrase=(), crowd=(), phrases=('a red disk', 'a cube')):
  return python_types.SimpleNamespace(
      text=python_types.SimpleNamespace(caption='', phrases=phrases),
      boxes=np.array(boxes, np.float32).reshape(-1, 4),
      phrase=np.array(phrase, np.int32),
      crowd=np.array(crowd or [False] * len(phrase), bool),
  )


class _Source(list):

  truth = list.__getitem__

  def image_id(self, index):
    return f'image {index}'


def _evaluated(*records_and_rows, **options):
  """An evaluator that was given records, each with (box, score, label) rows."""
  records, rows = zip(*records_and_rows, strict=True)
  evaluator = referring.ReferringEvaluator(_Source(records), **options)
  for index, found in enumerate(rows):
    boxes, scores, labels = zip(*found, strict=True) if found else ([], [], [])
    evaluator.add(
        types.Batch(
            image=None,
            size=None,
            extent=None,
            scale=np.ones((1, 2), np.float32),
            id=np.array([index]),
            prompt=None,
        ),
        types.Detections(
            boxes=np.array(boxes, np.float64).reshape(1, -1, 4),
            scores=np.array(scores, np.float32).reshape(1, -1),
            labels=np.array(labels, int).reshape(1, -1),
            valid=np.ones((1, len(found)), bool),
        ),
    )
  return evaluator


PRESENT = _record([HERE, THERE], [0, 1])


def test_the_best_box_of_the_first_phrase_decides():
  evaluator = _evaluated(
      (PRESENT, [(HERE, 0.4, 0), (THERE, 0.3, 0), (THERE, 0.9, 1)]),
      (PRESENT, [(HERE, 0.3, 0), (THERE, 0.4, 0)]),
      (PRESENT, [(HERE, 0.9, 1)]),
  )
  metrics = evaluator.result().metrics
  assert metrics['accuracy'] == pytest.approx(1 / 3)
  assert metrics['accuracy_shown'] == 0
  assert metrics['no_target_accuracy'] == -1
  rows = evaluator.predictions()
  assert [row['iou'] for row in rows] == [1, 0]
  assert rows[0]['bbox'] == HERE and rows[0]['has_referent']


def test_what_fits_nothing_is_judged_by_the_scores_that_it_gets():
  absent = _record([THERE], [1])
  evaluator = _evaluated(
      (absent, [(HERE, 0.65, 0)]),
      (absent, [(HERE, 0.35, 0), (THERE, 0.9, 1)]),
      (absent, []),
      (_record(), []),
      (PRESENT, [(HERE, 0.55, 0)]),
      (PRESENT, [(THERE, 0.75, 0)]),
      min_score=0.6,
  )
  result = evaluator.result()
  assert result.num_no_target == 4 and result.accuracy.n == 2
  assert result.metrics['no_target_accuracy'] == 0.75
  assert result.metrics['accuracy'] == 0.5
  assert result.metrics['accuracy_shown'] == 0
  by_score = {round(row.min_score, 1): row for row in result.sweep}
  assert [by_score[x].found_in_vain for x in (0.3, 0.4, 0.7)] == [0.5, 0.25, 0]
  assert [by_score[x].found for x in (0.5, 0.6, 0.8)] == [1, 0.5, 0]
  assert [by_score[x].right for x in (0.5, 0.6)] == [0.5, 0]
  lines = result.table().splitlines()
  assert 'of 2 expressions; 4 more fit nothing' in lines[0]
  assert lines[4].split() == ['0.3', '50.0', '100.0', '50.0']


def test_crowds_are_not_judged_and_captions_without_a_phrase_are_told():
  evaluator = _evaluated(
      (_record([HERE], [0], crowd=[True]), [(HERE, 0.9, 0)]),
      (_record(phrases=()), []),
  )
  result = evaluator.result()
  assert (result.accuracy.n, result.num_no_target) == (0, 0)
  assert result.num_unasked == 1
  assert 'whole_caption=True' in result.table()


def test_classes_are_refused():
  source = type('Classes', (), {'names': ('dog',)})()
  with pytest.raises(UserError, match="type='referring' needs captions"):
    referring.ReferringEvaluator(source)


class _Shifted:
  """The truth, moved to the right by a share of its width that ids give."""

  def detect(self, batch, *, same_prompt=False):
    del same_prompt
    truth = batch.targets
    boxes = truth.boxes.copy()
    width = boxes[..., 2] - boxes[..., 0]
    boxes[..., [0, 2]] += (np.where(batch.id % 3, 0.2, 0.5)[:, None] * width)[
        ..., None
    ]
    return types.Detections(
        boxes=boxes,
        scores=np.full(boxes.shape[:2], 0.7, np.float32),
        labels=truth.phrase,
        valid=truth.valid & ~truth.crowd,
    )


def _accuracy(spec, data):
  """By the evaluator, and of boxes moved by half their width a third fails."""
  evals = {'val': runner.Evaluation(type='referring', data=spec, batch_size=8)}
  results = runner.run_evals(evals, _Shifted(), data=data)
  # 0.8 / 1.2 and 0.5 / 1.5 of their union remain.
  source, wanted = table.open_source(spec), []
  for index in range(len(source)):
    truth = source.truth(index)
    if ((truth.phrase == 0) & ~truth.crowd).any():
      wanted.append(index % 3 != 0)
  return results['val'].metrics['accuracy'], wanted


def test_relational_captions_of_the_embedded_world():
  spec = specs.Spec(
      split='val', num_images=12, prompts=specs.Prompts(relation=1.0)
  )
  data = settings.Data(num_tokens=64, num_boxes=16, image_size=(128, 128))
  accuracy, wanted = _accuracy(spec, data)
  assert len(wanted) == 12
  assert accuracy == pytest.approx(np.mean(wanted))


def test_captions_of_photographs(shared):
  folder = shared / 'data' / 'coco_captions100'
  spec = specs.Spec(
      source='mdetr',
      annotations=str(folder / 'grounding_val.json'),
      images=str(folder / 'images'),
  )
  data = settings.Data(
      tokenizer=str(shared / 'data' / 'vocab' / 'bert-base-uncased-vocab.txt'),
      num_tokens=64,
      image_size=(64, 64),
  )
  accuracy, wanted = _accuracy(spec, data)
  assert len(wanted) > 140
  # Of several boxes of a phrase, one moved may lie well on another.
  assert np.mean(wanted) <= accuracy < np.mean(wanted) + 0.1
