"""One loop feeds any evaluator, and the files say what it returned."""

import json

import numpy as np
import pytest

from glip_jax import fields, types
from glip_jax.data.sources import table
from glip_jax.errors import UserError
from glip_jax.evaluators import coco_ap, feeding, runner, written

DATA = {
    'tokenizer': 'shapes',
    'num_tokens': 160,
    'num_phrases': 40,
    'num_boxes': 16,
    'image_size': (64, 64),
}
SHAPES = {'source': 'shapes', 'split': 'val', 'num_images': 5}
RELATIONS = SHAPES | {'prompts': {'relation': 1.0}}


def _perfect(batch):
  """Detections that are the truth of the batch."""
  targets = batch.targets
  return types.Detections(
      boxes=targets.boxes,
      scores=np.where(targets.valid, 0.9, 0).astype(np.float32),
      labels=targets.phrase,
      valid=targets.valid & ~targets.crowd,
  )


def _nothing(batch):
  perfect = _perfect(batch)
  return perfect.replace(valid=np.zeros_like(perfect.valid))


class _Detector:
  """Answers every batch by a function."""

  def __init__(self, answer):
    self._answer = answer

  def detect(self, batch, *, same_prompt=False):
    del same_prompt
    return self._answer(batch)


PERFECT, NOTHING = _Detector(_perfect), _Detector(_nothing)
REFUSED = _Detector(lambda _: pytest.fail('something was evaluated'))


def _spec(**values):
  return fields.from_dict(
      runner.Evaluation, {'data': SHAPES, 'batch_size': 2} | values, 'evals.val'
  )


def test_truth_as_prediction_is_perfect_and_nothing_is_zero():
  results = {
      name: runner.run_evals({'val': _spec()}, detector, data=DATA)['val']
      for name, detector in (('perfect', PERFECT), ('nothing', NOTHING))
  }
  assert results['perfect'].metrics['AP'] == pytest.approx(1)
  assert results['perfect'].num_images == 5
  assert results['nothing'].metrics['AP'] == 0


def test_truth_as_prediction_grounds_every_phrase():
  evals = {
      'first': _spec(type='grounding', data=RELATIONS, target='first'),
      'all': _spec(type='grounding', data=RELATIONS, target='all'),
  }
  results = runner.run_evals(evals, PERFECT, data=DATA)
  assert results['all'].metrics['recall'] == 1
  assert results['all'].overall.n > results['first'].overall.n == 5
  parts = results['first'].by_relation
  assert sum(part.n for part in parts.values()) == 5


def test_files_say_what_was_returned(tmp_path):
  results = runner.run_evals(
      {'val': _spec()}, PERFECT, data=DATA, workdir=tmp_path
  )
  written = json.loads((tmp_path / 'metrics.json').read_text())
  assert written == {'val': results['val'].to_json()}
  found = json.loads((tmp_path / 'val' / 'predictions.json').read_text())
  assert set(found[0]) == {'image_id', 'category_id', 'bbox', 'score'}
  source = table.open_source(SHAPES)
  again = coco_ap.evaluate_coco(source.ground_truth(), found)
  assert again == results['val']
  assert not list(tmp_path.rglob('*.tmp'))


def test_progress_hears_of_every_batch_and_ends_at_the_total():
  heard = []
  runner.run_evals(
      {'val': _spec()},
      NOTHING,
      data=DATA,
      progress=lambda *said: heard.append(said),
  )
  assert heard == [('val', 2, 5), ('val', 4, 5), ('val', 5, 5)]


def test_processes_together_equal_one(tmp_path):
  alone = runner.run_evals({'val': _spec()}, PERFECT, data=DATA)
  states = []

  def run(index, gather, on_first, workdir):
    return runner.run_evals(
        {'val': _spec(batch_size=1)},
        PERFECT,
        data=DATA,
        workdir=workdir,
        process_index=index,
        process_count=2,
        gather=gather,
        on_first=on_first,
    )

  # What each was given travels, and then the result, which one computes.
  told = run(
      1,
      lambda s: states.append(s) or [s],
      lambda _: 'told',
      tmp_path / 'second',
  )
  assert told == {'val': 'told'}
  whole = run(
      0,
      lambda state: [state, *states],
      lambda compute: compute(),
      tmp_path / 'first',
  )
  assert whole == alone
  assert (tmp_path / 'first' / 'metrics.json').exists()
  assert not (tmp_path / 'second').exists()


def test_the_next_batch_is_asked_for_before_the_last_is_read():
  events = []

  class Evaluator:

    def add(self, batch, detections):
      events.append(f'add {detections}')

  batches = [
      types.Batch(None, None, None, None, np.array([i]), None) for i in range(3)
  ]
  feeding.feed(
      Evaluator(),
      batches,
      lambda b: events.append(f'detect {b.id[0]}') or b.id[0],
  )
  assert events == [
      'detect 0', 'detect 1', 'add 0', 'detect 2', 'add 1', 'add 2'
  ]  # fmt: skip


@pytest.mark.parametrize(
    'spec, message',
    [
        (dict(type='pascal'), "evals.val.type='pascal' must be one of 'dete"),
        (dict(min_iuo=1), "evals.val has no field 'min_iuo'.*min_iou"),
        (dict(type='grounding', min_iou=2), 'evals.val.min_iou=2.0 must be'),
        (dict(target='last'), "evals.val.target='last' must be one of"),
        (dict(batch_size=0), 'evals.val.batch_size=0 must be 1 or more'),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(spec, message):
  with pytest.raises(UserError, match=message):
    _spec(**spec)


def test_a_source_of_another_kind_is_refused_before_anything_runs():
  evals = {'val': _spec(), 'late': _spec(data=RELATIONS)}
  with pytest.raises(UserError, match="evals.late: type='detection' needs"):
    runner.run_evals(evals, REFUSED, data=DATA)


def test_no_predictions_make_an_empty_list(tmp_path):
  written.write_predictions(tmp_path / 'p.json', [])
  assert json.loads((tmp_path / 'p.json').read_text()) == []
