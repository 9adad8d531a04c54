"""Curves of metrics over steps or images: runs in one figure of matplotlib."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glip_jax.errors import UserError

# Dark enough for lines on white, and apart for the colour-blind
# (Okabe and Ito 2008, black and yellow left out).
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00')
_INCHES = (6.4, 4.0)  # Of a panel.
_LETTERS = 80  # That fit into its width.
_ROW = 0.22  # Inches of a row of the legend.
_DASHES = ('-', '--', ':')  # Where there are more runs than colours.
# Curves with more points than this get a smoothed line over a pale raw one.
_MANY = 100
_FEW = 20  # Points up to this many are marked each.
_TOO_LARGE = 1e30  # To be drawn.


def plot_metrics(
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    metrics: Sequence[str] = ('loss', 'AP'),
    batch_sizes: Mapping[str, int] | None = None,
) -> Any:
  """A panel for each metric, side by side, with a curve for each run.

  Args:
    runs: by name, the records of a `metrics.jsonl`, oldest first.
    metrics: keys of the records; `AP` also finds `val/AP` and `test/AP`, a
      panel each. Those that no run has are left out.
    batch_sizes: by name of the run, for curves over the images that were
      trained on; None draws over steps.

  Returns:
    A `matplotlib.figure.Figure`, which has `savefig`.

  Raises:
    UserError: no run has any of the metrics, or matplotlib is not there.
  """
  try:
    from matplotlib import figure, lines
  except ImportError:
    raise UserError(
        "curves are drawn by matplotlib: pip install 'glip_jax[plots]'"
    ) from None
  panels = _find(runs, metrics)
  if batch_sizes is not None:
    factors = [np.array([[batch_sizes[name]], [1.0]]) for name in runs]
    panels = {
        key: [curve * x for curve, x in zip(curves, factors, strict=True)]
        for key, curves in panels.items()
    }
  columns = max(1, _LETTERS * len(panels) // (max(map(len, runs)) + 8))
  height = _INCHES[1] + _ROW * math.ceil(len(runs) / columns)
  paper = figure.Figure((_INCHES[0] * len(panels), height))
  paper.set_layout_engine('constrained')
  row = paper.subplots(1, len(panels), squeeze=False)[0]
  for axes, (key, curves) in zip(row, panels.items(), strict=True):
    _draw(axes, curves)
    axes.set_title(key, loc='left')
    axes.set_xlabel('step' if batch_sizes is None else 'images')
  # One legend above all panels, as a run looks the same in all of them.
  handles = [lines.Line2D([], [], **_look(i)) for i in range(len(runs))]
  where = dict(loc='outside upper left', ncols=columns, frameon=False)
  paper.legend(handles, list(runs), **where)
  return paper


def _find(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Sequence[str]
) -> dict[str, list[np.ndarray]]:
  """By key of the records, (steps, values) of each run, which may be empty."""
  keys = dict.fromkeys(k for rs in runs.values() for r in rs for k in r)
  found = {}
  for metric in metrics:
    for key in keys:
      if key == metric or key.endswith('/' + metric):
        curves = [_points(records, key) for records in runs.values()]
        found |= {key: curves} if any(x.size for x in curves) else {}
  if not found:
    raise UserError(
        f'metrics={list(metrics)}: no record of {list(runs)} has one of these;'
        f' they have {sorted(keys)}'
    )
  return found


def _points(records: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
  """Steps and values, [2, n], of the records that have a number."""
  is_number = lambda x: isinstance(x, (int, float)) and abs(x) < _TOO_LARGE
  points = [(r['step'], r[key]) for r in records if is_number(r.get(key))]
  return np.array(points, np.float64).reshape(-1, 2).T


def _look(run: int) -> dict[str, Any]:
  """Colour and dashes of a run by its place."""
  turn, colour = divmod(run, len(COLOURS))
  dashes = _DASHES[turn % len(_DASHES)]
  return dict(color=COLOURS[colour], linestyle=dashes, linewidth=1.5)


def _draw(axes: Any, curves: Sequence[np.ndarray]):
  """The curves of a panel, in the order of the runs."""
  every = np.concatenate([values for _, values in curves])
  # A few spikes must neither flatten the rest nor lift what is around them.
  top = np.quantile(every, 0.99 if len(every) > _MANY else 1.0)
  for i, (steps, values) in enumerate(curves):
    values = values.clip(max=top)
    if len(values) > _MANY:
      axes.plot(steps, values, **_look(i), alpha=0.25, zorder=1)
      values = _smooth(values, len(values) // 50)
    marker = 'o' if len(values) <= _FEW else None
    axes.plot(steps, values, **_look(i), marker=marker, markersize=4)
  axes.set_xlim(0, None)
  axes.xaxis.set_major_formatter(_thousands)
  axes.grid(color='0.9')
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
  """Mean over a window of 2 width + 1 points, shorter at the ends."""
  window = np.ones(2 * width + 1)
  total = np.convolve(values, window, 'same')
  return total / np.convolve(np.ones_like(values), window, 'same')


def _thousands(count: float, _: int) -> str:
  """Short: 400, 20k, 1.5M."""
  for size, letter in ((1e6, 'M'), (1e3, 'k')):
    if abs(count) >= size:
      return f'{count / size:.6g}{letter}'
  return f'{count:.6g}'
