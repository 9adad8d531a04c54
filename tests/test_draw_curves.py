"""Curves show every run, and what cannot be drawn is said."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from glip_jax import configuring, draw_curves
from glip_jax.errors import UserError
from glip_jax.tools import plot


def _run(height, count=10):
  return [{'step': 10 * i, 'loss': height} for i in range(1, count + 1)]


def test_each_run_has_a_curve_that_looks_as_the_legend_says():
  paper = draw_curves.plot_metrics({'a': _run(1.0), 'b': _run(2.0, 5)})
  (axes,), (legend,) = paper.axes, paper.legends
  assert axes.get_title(loc='left') == 'loss'
  assert [text.get_text() for text in legend.get_texts()] == ['a', 'b']
  assert [list(line.get_xdata()) for line in axes.lines] == [
      list(range(10, 101, 10)),
      list(range(10, 51, 10)),
  ]
  assert [set(line.get_ydata()) for line in axes.lines] == [{1.0}, {2.0}]
  colours = [line.get_color() for line in axes.lines]
  assert colours == [line.get_color() for line in legend.get_lines()]
  assert colours[0] != colours[1]


def test_a_run_looks_the_same_in_a_panel_that_others_are_not_in():
  records = [{'step': 5, 'loss': 1.0, 'AP': 0.5}]
  paper = draw_curves.plot_metrics({'a': _run(1.0), 'b': records})
  loss, ap = (
      [x for x in axes.lines if x.get_xdata().size] for axes in paper.axes
  )
  assert len(loss) == 2 and len(ap) == 1
  assert ap[0].get_color() == loss[1].get_color()


def test_more_runs_than_colours_differ_in_their_dashes():
  runs = {str(i): _run(float(i)) for i in range(15)}
  (axes,) = draw_curves.plot_metrics(runs).axes
  looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
  assert len(looks) == 15


def test_a_short_name_finds_a_panel_for_each_evaluation():
  records = [{'step': 5, 'loss': 1.0, 'val/AP': 0.5, 'test/AP': 0.4}]
  paper = draw_curves.plot_metrics({'a': records}, ['AP', 'missing'])
  titles = [axes.get_title(loc='left') for axes in paper.axes]
  assert titles == ['val/AP', 'test/AP']


def test_steps_without_a_number_are_left_out():
  records = [{'step': 1, 'loss': None}, {'step': 2, 'loss': 1.0}, {'step': 3}]
  (axes,) = draw_curves.plot_metrics({'a': records}, ['loss']).axes
  (line,) = axes.lines
  assert line.get_xydata().tolist() == [[2.0, 1.0]]
  assert line.get_marker() == 'o'  # Or a single point would not be seen.


def test_long_runs_are_smoothed_over_a_pale_line():
  noise = np.random.default_rng(0).random(500)
  records = [{'step': i, 'loss': 1 + v} for i, v in enumerate(noise)]
  (axes,) = draw_curves.plot_metrics({'a': records}, ['loss']).axes
  pale, smooth = axes.lines
  assert pale.get_alpha() < 0.5 and smooth.get_alpha() is None
  assert smooth.get_ydata().std() < 0.5 * pale.get_ydata().std()
  # The ends are means too, not drawn towards zero.
  assert smooth.get_ydata().min() > 1.2


def test_a_spike_does_not_flatten_the_rest():
  records = [{'step': i, 'loss': 1 + i % 2} for i in range(500)]
  records[3]['loss'] = 1e6
  (axes,) = draw_curves.plot_metrics({'a': records}, ['loss']).axes
  assert axes.get_ylim()[1] < 3


def test_runs_of_other_batch_sizes_are_compared_over_images():
  runs = {'a': _run(1.0), 'b': _run(2.0, 5)}
  (axes,) = draw_curves.plot_metrics(runs, batch_sizes={'a': 16, 'b': 8}).axes
  assert [line.get_xdata()[-1] for line in axes.lines] == [1600, 400]
  assert axes.get_xlabel() == 'images'


def test_without_matplotlib_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  with pytest.raises(UserError, match=r"pip install 'glip_jax\[plots\]'"):
    draw_curves.plot_metrics({'a': _run(1.0)})


def test_metrics_that_no_run_has_are_refused():
  with pytest.raises(UserError, match=r"\['AP'\].*\['loss', 'step'\]"):
    draw_curves.plot_metrics({'a': _run(1.0)}, ['AP'])


def test_tool_writes_an_image_of_folders(tmp_path):
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'metrics.jsonl').write_text(
        ''.join(json.dumps(r) + '\n' for r in _run(1.0))
    )
  out = tmp_path / 'out.png'
  plot.plot([str(tmp_path / 'a'), str(tmp_path / 'b')], str(out), ['loss'])
  assert Image.open(out).size == (640, 422)
  with pytest.raises(UserError, match='a/config.json'):
    plot.plot([str(tmp_path / 'a')], str(out), ['loss'], over='images')
  config = {'model': {'family': 'glip'}, 'batch_size': '8'}
  configuring.save(config, tmp_path / 'a')
  with pytest.raises(UserError, match="batch_size='8': draw it --over=steps"):
    plot.plot([str(tmp_path / 'a')], str(out), ['loss'], over='images')


def test_tool_names_a_run_that_does_not_exist(tmp_path):
  with pytest.raises(UserError, match='nowhere'):
    plot.plot([str(tmp_path / 'nowhere')], 'out.png', ['loss'])


def test_tool_refuses_an_image_that_cannot_be_written_before_it_reads(tmp_path):
  (tmp_path / 'out.png').mkdir()
  with pytest.raises(UserError, match='out.png.* is a folder: give the file'):
    plot.plot(['nowhere'], str(tmp_path / 'out.png'), ['loss'])
