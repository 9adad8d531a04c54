"""Rules: every array goes to its place, and every fault is listed."""

import tracemalloc

import jax
import numpy as np
import pytest

from glip_jax.weights import rules
from glip_jax.weights.rules import Rule, WeightsError

TABLE = [
    Rule('fc.weight', 'dense/kernel', lambda x: x.T, lambda x: x.T),
    Rule('fc.bias', 'dense/bias'),
    Rule('layers.0.gain', 'stack/gain[0]'),
    Rule('layers.1.gain', 'stack/gain[1]'),
    Rule('norm{i}.scale', 'norms/n{i}'),
    Rule('index', None, check=lambda x: None if len(x) == 9 else 'not nine'),
]


def _target(dtype=np.float32):
  spec = lambda *shape: jax.ShapeDtypeStruct(shape, dtype)
  return {
      'dense': {'kernel': spec(2, 3), 'bias': spec(3)},
      'stack': {'gain': spec(2, 4)},
      'norms': {'n0': spec(), 'n10': spec()},
  }


def _source(**changes):
  source = {
      'fc.weight': np.arange(6.0).reshape(3, 2),
      'fc.bias': np.ones(3),
      'layers.1.gain': np.full(4, 1.0),
      'layers.0.gain': np.full(4, 0.0),
      'norm0.scale': np.array(5.0),
      'norm10.scale': np.array(6.0),
      'index': np.arange(9),
  }
  source |= changes
  return {key: value for key, value in source.items() if value is not None}


def _faults(source, table=TABLE):
  with pytest.raises(WeightsError) as caught:
    rules.convert(source, table, _target())
  heading, faults = str(caught.value).split(' in the weights: ')
  faults = faults.split('; ')
  count = '1 fault' if len(faults) == 1 else f'{len(faults)} faults'
  assert heading == count
  return faults


def test_every_array_goes_to_its_place_in_the_layout_of_the_target():
  tree = rules.convert(_source(), TABLE, _target())
  np.testing.assert_array_equal(tree['dense']['kernel'], [[0, 2, 4], [1, 3, 5]])
  np.testing.assert_array_equal(tree['stack']['gain'][:, 0], [0, 1])
  assert tree['norms'] == {'n0': 5.0, 'n10': 6.0}


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
        (
            {'fc.bias': np.ones(3, int)},
            ['dense/bias: int64, wanted float32'],
        ),
        (
            {'fc.bias': np.array([1, np.nan, 1])},
            ['dense/bias: holds values that are not finite in float32'],
        ),
        (
            {'norm0.scale': np.array(1e300)},
            ['norms/n0: holds values that are not finite in float32'],
        ),
    ],
)
def test_what_does_not_fit_is_named(changes, faults):
  assert _faults(_source(**changes)) == faults


def test_nothing_is_made_of_what_does_not_fit():
  made = []
  copied = lambda x: made.append(x) or x.copy()
  table = [
      Rule('layers.{i}.gain', 'stack/gain[{i}]'),
      Rule('norm{i}.scale', 'norms/n{i}', copied),
      *TABLE[:2],
      TABLE[-1],
  ]
  # A hundred arrays of 8 MB, in the memory of one number.
  large = np.broadcast_to(np.float64(1), (1 << 20,))
  many = {f'layers.{i}.gain': large for i in range(100)}
  many |= {f'norm{i}.scale': large for i in range(20, 120)}
  tracemalloc.start()
  try:
    with pytest.raises(WeightsError) as caught:
      rules.convert(_source() | many, table, _target())
    _, most = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert most < 1 << 20 and len(made) == 2
  faults = caught.value.faults
  assert 'stack/gain: shape (100, 1048576), wanted (2, 4)' in faults
  assert 'norms/n20: not a parameter of the model' in faults


def test_two_rules_for_one_key_are_refused():
  table = [*TABLE, Rule('fc.bias', 'norms/n0')]
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
  source = _source(
      extra=np.ones(1), **{'fc.bias': None, 'norm0.scale': np.ones(2)}
  )
  assert _faults(source) == [
      'dense/bias: nothing fills it',
      'extra: 0 rules match',
      'norms/n0: shape (2,), wanted ()',
  ]


def test_many_faults_are_said_to_be_of_another_variant_before_the_list():
  faults = [f'fault {i}' for i in range(21)]
  said = str(WeightsError(faults, 'a.pth'))
  assert 'of another variant' in said[:80]
  assert said.endswith('fault 0; fault 1; fault 10; and 18 more')
  assert WeightsError(faults, 'a.pth').faults == tuple(faults)
  assert 'of another variant' not in str(WeightsError(faults[:9], 'a.pth'))


def test_a_rule_must_match_the_whole_key():
  assert 'xfc.bias: 0 rules match' in _faults(
      _source(xfc_bias=None) | {'xfc.bias': np.ones(3)}
  )


def _inverted(tree, table=TABLE):
  with pytest.raises(WeightsError) as caught:
    rules.invert(tree, table)
  return str(caught.value).split(' in the weights: ')[1].split('; ')


def test_what_went_in_comes_out_under_its_name():
  source = _source()
  tree = rules.convert(source, TABLE, _target(np.float64))
  back = rules.invert(tree, TABLE)
  del source['index']
  assert back.keys() == source.keys()
  for key, want in source.items():
    np.testing.assert_array_equal(back[key], want, err_msg=key)


def test_parameters_without_a_name_and_names_without_one_are_listed():
  tree = rules.convert(_source(), TABLE, _target())
  tree['dense']['more'] = tree['dense'].pop('bias')
  tree['stack']['gain'] = np.zeros((3, 4))
  tree['norms']['n01'] = np.zeros(())
  assert _inverted(tree) == [
      'dense/more: no rule gives it a name',
      'fc.bias: no parameter fills it',
      'layers.0.gain: no parameter fills it',
      'layers.1.gain: no parameter fills it',
      'norms/n01: no rule gives it a name',
      'stack/gain: shape (3, 4), wanted (2, ...)',
  ]


def test_one_parameter_does_not_get_two_names_nor_one_name_two_parameters():
  tree = rules.convert(_source(), TABLE, _target())
  twice = [*TABLE, Rule('again', 'dense/bias')]
  assert 'dense/bias: 2 rules match' in _inverted(tree, twice)
  tree['more'] = np.zeros(3)
  same = [*TABLE, Rule('fc.bias', 'more')]
  assert _inverted(tree, same) == ['more: fc.bias is already written']


def test_arrays_of_another_kind_are_listed_both_ways():
  table = [
      Rule('conv', 'kernel', lambda x: x.transpose(1, 2, 0)),
      Rule('fc', 'dense', lambda x: x, lambda x: x.transpose(2, 0, 1)),
  ]
  spec = jax.ShapeDtypeStruct((2, 3), np.float32)
  source = {'conv': np.zeros((2, 3)), 'fc': np.zeros((2, 3))}
  with pytest.raises(WeightsError, match=r'conv: shape \(2, 3\) is of another'):
    rules.convert(source, table, {'kernel': spec, 'dense': spec})
  tree = {'kernel': np.zeros((2, 3)), 'dense': np.zeros((2, 3))}
  assert _inverted(tree, table) == ['dense: shape (2, 3) is of another kind']


def test_an_array_without_a_target_must_be_what_the_target_computes():
  assert _faults(_source(index=np.arange(8))) == ['index: not nine']


def test_a_number_comes_back_as_it_was_written():
  faults = _faults(_source() | {'norm010.scale': np.array(1.0)})
  assert faults == ['norm010.scale: 0 rules match']
