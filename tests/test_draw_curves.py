"""Curves show every run, and what cannot be drawn is said."""

import json

import numpy as np
import pytest
from PIL import Image

from glip_jax import draw_curves
from glip_jax.errors import UserError
from glip_jax.tools import plot

BLUE, RED = (0, 114, 178), (213, 94, 0)


def _run(height, count=10):
  return [{'step': 10 * i, 'loss': height} for i in range(1, count + 1)]


def _share(picture, colour):
  return (np.asarray(picture) == colour).all(-1).mean()


def test_each_run_has_a_curve_and_higher_values_stand_higher():
  pixels = np.asarray(
      draw_curves.plot_metrics({'a': _run(1.0), 'b': _run(2.0)})
  )
  # Below the legend, right of the axis.
  inside = pixels[62:, 80:]
  blue, red = (
      np.nonzero((inside == colour).all(-1))[0].mean() for colour in (BLUE, RED)
  )
  assert blue > red


def test_a_short_name_finds_a_panel_for_each_evaluation():
  records = [{'step': 5, 'loss': 1.0, 'val/AP': 0.5, 'test/AP': 0.4}]
  one = draw_curves.plot_metrics({'a': records}, ['loss'])
  two = draw_curves.plot_metrics({'a': records}, ['AP', 'missing'])
  assert two.width == 2 * one.width


def test_steps_without_a_number_are_left_out():
  records = [{'step': 1, 'loss': None}, {'step': 2, 'loss': 1.0}, {'step': 3}]
  drawn = draw_curves.plot_metrics({'a': records}, ['loss'])
  assert _share(drawn, BLUE) > 0


def test_long_runs_are_smoothed_over_a_pale_line():
  rng = np.random.default_rng(0)
  records = [{'step': i, 'loss': 1 + v} for i, v in enumerate(rng.random(500))]
  drawn = draw_curves.plot_metrics({'a': records}, ['loss'])
  assert _share(drawn, BLUE) > 0
  assert _share(drawn, draw_curves._pale(BLUE)) > 0


def test_metrics_that_no_run_has_are_refused():
  with pytest.raises(UserError, match=r"\['AP'\].*\['loss', 'step'\]"):
    draw_curves.plot_metrics({'a': _run(1.0)}, ['AP'])


@pytest.mark.parametrize(
    'low, high, expected',
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 20000, [0, 5000, 10000, 15000, 20000]),
        (-0.3, 0.4, [-0.2, 0, 0.2, 0.4]),
        (97, 103, [98, 100, 102]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low, high, expected):
  assert draw_curves.ticks(low, high) == pytest.approx(expected)


def test_tool_writes_a_picture_of_folders(tmp_path):
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'metrics.jsonl').write_text(
        ''.join(json.dumps(r) + '\n' for r in _run(1.0))
    )
  out = tmp_path / 'out.png'
  plot.plot([str(tmp_path / 'a'), str(tmp_path / 'b')], str(out), ['loss'])
  assert Image.open(out).width == 640


def test_tool_names_a_run_that_does_not_exist(tmp_path):
  with pytest.raises(UserError, match='nowhere'):
    plot.plot([str(tmp_path / 'nowhere')], 'out.png', ['loss'])
