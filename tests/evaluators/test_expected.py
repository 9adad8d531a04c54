"""Names of metrics are known before work, and numbers that are off are told."""

import types as python_types

import pytest

from glip_jax import fields
from glip_jax.errors import UserError
from glip_jax.evaluators import evaluation, expected, metric_names, runner

EVALS = {
    'val': runner.Evaluation(),
    'captions': runner.Evaluation(type='flickr30k'),
}


def _results(**values):
  return {
      'val': python_types.SimpleNamespace(metrics={'AP': 0.464, **values}),
      'captions': python_types.SimpleNamespace(metrics={'recall@1': 0.853}),
  }


def test_numbers_within_their_tolerance_pass():
  rows = expected.read('val/AP=46.6+-0.2, captions/recall@1=85.3+-0', EVALS)
  assert [str(row) for row in rows] == [
      'val/AP=46.6+-0.2', 'captions/recall@1=85.3+-0'
  ]  # fmt: skip
  expected.check(rows, _results())
  expected.check(expected.read('', EVALS), _results())


def test_each_number_that_is_off_is_told_in_one_line():
  rows = expected.read(
      'val/AP=46.7+-0.2,val/APs=20+-1,captions/recall@1=85+-1', EVALS
  )
  with pytest.raises(UserError) as info:
    expected.check(rows, _results(APs=-1.0))
  assert str(info.value) == (
      'not as expected: val/AP=46.7+-0.2: it is 46.40; val/APs=20+-1: there is'
      ' no truth to measure it on'
  )


def test_a_number_that_is_not_finite_is_off():
  rows = expected.read('val/AP50=50+-100', EVALS)
  with pytest.raises(UserError, match='it is nan'):
    expected.check(rows, _results(AP50=float('nan')))


@pytest.mark.parametrize(
    'text, message',
    [
        ('val/AP', 'must be EVALUATION/METRIC=PERCENT'),
        ('val/AP=46', 'must be EVALUATION/METRIC=PERCENT'),
        ('val/AP=46+-', 'must be EVALUATION/METRIC=PERCENT'),
        ('val/AP=x+-1', 'must be EVALUATION/METRIC=PERCENT'),
        ('val/AP=46+--1', 'must be EVALUATION/METRIC=PERCENT'),
        ('val/AP=46+-nan', 'must be EVALUATION/METRIC=PERCENT'),
        ('val/AP=46+-1,', 'must be EVALUATION/METRIC=PERCENT'),
        ('test/AP=46+-1', "no evaluation 'test'.*are: val, captions"),
        ('val/ap=46+-1', "val gives no 'ap', but AP, AP50, AP75"),
        ('captions/AP=46+-1', "captions gives no 'AP', but recall@1, recall@5"),
    ],
)
def test_what_is_malformed_or_unknown_is_refused(text, message):
  with pytest.raises(UserError, match=message):
    expected.read(text, EVALS)


def test_the_best_checkpoint_is_that_of_the_field_best():
  results = _results()
  assert evaluation.headline(results) == {'AP': 0.464}
  best = evaluation.headline(results, 'captions/recall@1')
  assert best == {'best': 0.853}
  assert evaluation.headline(results, 'val/AP75') == {}
  assert evaluation.headline(_results(APs=-1.0), 'val/APs') == {}


def test_every_evaluator_says_what_it_gives():
  for name in runner.EVALUATORS:
    spec = fields.from_dict(runner.Evaluation, {'type': name}, 'evals.x')
    names = metric_names.known({'x': spec})['x']
    assert names and len(set(names)) == len(names)
