"""`python tests/parity`: its programs, its exit status, and what matches."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from parity import compare, detections, families, padding, precision, stages

ROOT = pathlib.Path(__file__).parents[1]


def _found(boxes, scores, labels):
  return (
      np.array(boxes, np.float32).reshape(-1, 4),
      np.array(scores, np.float32),
      np.array(labels),
  )


ONE = _found([[0, 0, 10, 10]], [0.5], [1])
NOTHING = _found([], [], [])


@pytest.mark.parametrize(
    'want, mine, share',
    [
        (NOTHING, NOTHING, 1.0),
        (ONE, NOTHING, 0.0),
        (NOTHING, ONE, 0.0),
        (ONE, ONE, 1.0),
        (ONE, _found([[0, 0, 10, 10]] * 2, [0.5] * 2, [1] * 2), 0.5),
        (ONE, _found([[0, 0, 10, 10.1]], [0.5], [1]), 0.0),
        (ONE, _found([[0, 0, 10, 10]], [0.502], [1]), 0.0),
        (ONE, _found([[0, 0, 10, 10]], [0.5], [2]), 0.0),
    ],
)
def test_detections_match_one_to_one_and_nothing_matches_nothing(
    want, mine, share
):
  assert detections.matched(want, mine) == share


@pytest.mark.parametrize('name', ['nanoA', 'gd_nano'])
@pytest.mark.parametrize('within, status', [(True, 0), (False, 1)])
def test_the_exit_status_says_whether_all_is_within_target(
    monkeypatch, capsys, within, status, name
):
  def check(name, *, every, skip):
    assert every and skip == ('double', 'losses')
    report = compare.Report(name)
    report.row('a stage', within, '')
    return report

  monkeypatch.setattr(compare, 'check', check)
  arguments = [name, '--all', '--skip=double,losses']
  assert compare.main(arguments) == status
  word = 'within' if within else 'NOT within'
  assert f'{name}: {word} target' in capsys.readouterr().out


@pytest.mark.parametrize(
    'error, moved, word',
    [
        (0.5, 0.0, 'gd_nano: within'),
        (3.0, 1.0, 'at the rounding of float32: a stage'),
        (5.0, 1.0, 'NOT within target'),
        (3.0, 0.1, 'NOT within target'),
    ],
)
def test_a_stage_over_its_target_is_within_where_rounding_moves_it(
    monkeypatch, capsys, error, moved, word
):
  row = stages.Row('a stage', 'family', error, 9.0, 1.0, error, error)
  family = dataclasses.replace(
      families.GROUNDING_DINO,
      runs={'det': 'images'},
      rows=lambda name, run, floor: [row],
      moved=lambda name, run: iter([{'a stage': moved}]),
      ranks=lambda name, run: [],
  )
  monkeypatch.setattr(families, 'of', lambda name: family)
  skip = '--skip=detections,losses,gradients,trajectory'
  assert compare.main(['gd_nano', skip]) == ('NOT' in word)
  assert word in capsys.readouterr().out


@pytest.mark.parametrize(
    'main, arguments, message',
    [
        (compare.main, ['nanoA', '--skip=x'], "--skip=['x']: choose of"),
        (padding.main, ['draws', '--count=0'], '--count=0: give a number'),
        (padding.main, ['alone', '--canvas=50x64'], 'multiples of 32'),
        (padding.main, ['alone', '--tokens=9'], '--tokens=9: the prompt has'),
        (precision.main, [], 'nothing to measure'),
    ],
)
def test_what_cannot_be_measured_is_refused(capsys, main, arguments, message):
  with pytest.raises(SystemExit) as caught:
    main(arguments)
  assert caught.value.code == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'main, arguments',
    [
        (compare.main, []),
        (padding.main, ['draws']),
        (padding.main, ['alone']),
        (precision.main, []),
    ],
)
def test_an_unknown_model_is_refused_before_anything_is_built(main, arguments):
  with pytest.raises(SystemExit, match="'nanoX' is unknown: choose of"):
    main([*arguments, 'nanoX'])


def test_the_folder_runs_from_the_root_without_being_installed():
  done = subprocess.run(
      [sys.executable, '-I', 'tests/parity', 'padding', 'draws', 'nanoX'],
      cwd=ROOT,
      capture_output=True,
      text=True,
  )
  assert done.returncode == 1
  assert done.stderr.startswith("'nanoX' is unknown: choose of ('nanoA'")
