"""Rules: every array goes to its place, and every fault is listed."""

import jax
import numpy as np
import pytest

from glip_jax.weights import rules
from glip_jax.weights.rules import Rule, WeightsError

TABLE = [
    Rule(r'fc\.weight', 'dense/kernel', lambda x: x.T, lambda x: x.T),
    Rule(r'fc\.bias', 'dense/bias'),
    Rule(r'layers\.0\.gain', 'stack/gain[0]'),
    Rule(r'layers\.1\.gain', 'stack/gain[1]'),
    Rule(r'(a|b)\.scale', r'norms/\1'),
    Rule(r'index', None),
]


def _target(dtype=np.float32):
  spec = lambda *shape: jax.ShapeDtypeStruct(shape, dtype)
  return {
      'dense': {'kernel': spec(2, 3), 'bias': spec(3)},
      'stack': {'gain': spec(2, 4)},
      'norms': {'a': spec(), 'b': spec()},
  }


def _source(**changes):
  source = {
      'fc.weight': np.arange(6.0).reshape(3, 2),
      'fc.bias': np.ones(3),
      'layers.1.gain': np.full(4, 1.0),
      'layers.0.gain': np.full(4, 0.0),
      'a.scale': np.array(5.0),
      'b.scale': np.array(6.0),
      'index': np.arange(9),
  }
  source |= changes
  return {key: value for key, value in source.items() if value is not None}


def _faults(source, table=TABLE):
  with pytest.raises(WeightsError) as caught:
    rules.convert(source, table, _target())
  heading, faults = str(caught.value).split(' faults in the weights: ')
  faults = faults.split('; ')
  assert int(heading) == len(faults)
  return faults


def test_every_array_goes_to_its_place_in_the_layout_of_the_target():
  tree = rules.convert(_source(), TABLE, _target())
  np.testing.assert_array_equal(tree['dense']['kernel'], [[0, 2, 4], [1, 3, 5]])
  np.testing.assert_array_equal(tree['stack']['gain'][:, 0], [0, 1])
  assert tree['norms'] == {'a': 5.0, 'b': 6.0}


def test_arrays_take_the_type_of_the_target():
  tree = rules.convert(_source(), TABLE, _target(np.float16))
  assert {x.dtype for x in jax.tree.leaves(tree)} == {np.dtype(np.float16)}


@pytest.mark.parametrize(
    'changes, faults',
    [
        ({'fc.bias': None}, ['dense/bias: nothing fills it']),
        ({'fc.extra': np.ones(1)}, ['fc.extra: 0 rules match']),
        (
            {'fc.bias': np.ones(4)},
            ['dense/bias: shape (4,), wanted (3,)'],
        ),
        (
            {'layers.0.gain': None},
            ['stack/gain: only places [1] are filled'],
        ),
        (
            {'layers.1.gain': None},
            ['stack/gain: shape (1, 4), wanted (2, 4)'],
        ),
    ],
)
def test_what_does_not_fit_is_named(changes, faults):
  assert _faults(_source(**changes)) == faults


def test_two_rules_for_one_key_are_refused():
  table = [*TABLE, Rule(r'fc\.b.*', 'norms/a')]
  assert _faults(_source(), table) == [
      'dense/bias: nothing fills it',
      'fc.bias: 2 rules match',
  ]


def test_two_keys_for_one_place_are_refused():
  table = [*TABLE, Rule('again', 'dense/bias')]
  assert _faults(_source(again=np.ones(3)), table) == [
      'again: dense/bias is already filled'
  ]


def test_a_rule_to_no_parameter_is_refused():
  table = [*TABLE, Rule('more', 'dense/more')]
  assert _faults(_source(more=np.ones(3)), table) == [
      'dense/more: not a parameter of the model'
  ]


def test_all_faults_are_listed_in_one_error():
  source = _source(extra=np.ones(1), **{'fc.bias': None, 'a.scale': np.ones(2)})
  assert _faults(source) == [
      'dense/bias: nothing fills it',
      'extra: 0 rules match',
      'norms/a: shape (2,), wanted ()',
  ]


def test_a_rule_must_match_the_whole_key():
  assert 'xfc.bias: 0 rules match' in _faults(
      _source(xfc_bias=None) | {'xfc.bias': np.ones(3)}
  )
