"""The parameter table counts every parameter once."""

import jax
import numpy as np

from glip_jax.training import parameters

PARAMS = {
    'head': {'kernel': np.full((2, 3), 2.0), 'scale': np.float32(1.5)},
    'backbone': {'kernel': np.arange(1000.0).reshape(10, 100)},
}


def test_table_shows_shapes_counts_and_statistics():
  lines = parameters.parameter_table(PARAMS).splitlines()
  assert lines[0].split() == ['name', 'shape', 'count', 'mean', 'std']
  row = next(line for line in lines if line.startswith('backbone/kernel'))
  assert row.split()[1:] == ['10', 'x', '100', '1,000', '500', '289']
  row = next(line for line in lines if line.startswith('head/scale'))
  assert row.split()[1:] == ['scalar', '1', '1.5', '0']


def test_totals_stand_by_module_largest_first():
  lines = parameters.parameter_table(PARAMS).splitlines()
  assert [line.split()[:2] for line in lines[-3:]] == [
      ['backbone', '1,000'],
      ['head', '7'],
      ['total', '1,007'],
  ]
  assert lines[-1].endswith('100.0 %')


def test_shapes_alone_are_enough():
  shapes = jax.eval_shape(lambda: PARAMS)
  lines = parameters.parameter_table(shapes).splitlines()
  assert lines[1].split()[-2:] == ['-', '-']
  assert lines[-1].split()[:2] == ['total', '1,007']
