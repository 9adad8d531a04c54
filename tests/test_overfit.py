"""The shapes model learns eight pictures by heart."""

import json

import programs
import pytest


@pytest.mark.large
def test_eight_pictures_are_learnt_by_heart(tmp_path):
  workdir = tmp_path / 'run'
  programs.finish(
      programs.start(
          'train.py',
          '--config=tests/overfit_config.py',
          f'--workdir={workdir}',
          cache=tmp_path / 'xla',
          optimized=True,
      )
  )
  results = json.loads((workdir / 'eval' / 'metrics.json').read_text())
  assert results['val']['AP50'] > 0.95
