"""Curves of metrics over steps, several runs in one picture.

Everything is drawn at twice its size and reduced, which smooths the lines.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from glip_jax import draw_labels
from glip_jax.errors import UserError

# Dark enough for lines on white, and apart for the colour-blind
# (Okabe and Ito 2008, black and yellow left out).
_COLOURS = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115),
    (204, 121, 167), (86, 180, 233), (230, 159, 0),
)  # fmt: skip
_INK = (32, 32, 32)
_GREY = (120, 120, 120)
_GRID = (226, 226, 226)
_SCALE = 2
_WIDTH, _HEIGHT = 640 * _SCALE, 380 * _SCALE
_LEFT, _RIGHT, _BOTTOM = 70 * _SCALE, 20 * _SCALE, 46 * _SCALE
_LETTERS = 13 * _SCALE
# Curves with more points than this get a smoothed line over a pale raw one.
_MANY = 100
_TOO_LARGE = 1e30  # to be drawn


class Series(NamedTuple):
  """A metric of one run."""

  name: str
  colour: tuple[int, int, int]
  steps: np.ndarray
  values: np.ndarray


def plot_metrics(
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    metrics: Sequence[str] = ('loss', 'AP'),
) -> Image.Image:
  """A panel for each metric, side by side, with a curve for each run.

  Args:
    runs: by name, the records of a `metrics.jsonl`, oldest first.
    metrics: keys of the records; `AP` also finds `val/AP` and `test/AP`, a
      panel each. Those that no run has are left out.

  Raises:
    UserError: no run has any of the metrics.
  """
  keys = dict.fromkeys(k for rs in runs.values() for r in rs for k in r)
  panels = []
  for metric in metrics:
    for key in keys:
      if key == metric or key.endswith('/' + metric):
        series = _find(runs, key)
        panels += [_panel(key, series)] if series else []
  if not panels:
    raise UserError(
        f'metrics={list(metrics)}: no record of {list(runs)} has one of these;'
        f' they have {sorted(keys)}'
    )
  height = max(panel.height for panel in panels)
  paper = Image.new('RGB', (_WIDTH * len(panels), height), 'white')
  for i, panel in enumerate(panels):
    paper.paste(panel, (i * _WIDTH, 0))
  return paper.reduce(_SCALE)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
  """About `count` round numbers (1, 2 or 5 times a power of ten) in a range."""
  rough = (high - low) / count
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
  first = math.ceil(low / step - 1e-9)
  last = math.floor(high / step + 1e-9)
  return [i * step for i in range(first, last + 1)]


def _find(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], key: str
) -> list[Series]:
  """Each run that has the metric, its colour, and the points with a number."""
  found = []
  for i, (run, records) in enumerate(runs.items()):
    points = [(r['step'], r[key]) for r in records if _is_number(r.get(key))]
    if points:
      steps, values = np.array(points, np.float64).T
      found.append(Series(run, _COLOURS[i % len(_COLOURS)], steps, values))
  return found


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and abs(value) < _TOO_LARGE


def _panel(metric: str, series: Sequence[Series]) -> Image.Image:
  """A panel with title, legend, axes and curves."""
  legend, top = _legend(series)
  panel = Image.new('RGB', (_WIDTH, top + _HEIGHT), 'white')
  pen = ImageDraw.Draw(panel)
  _text(pen, (_LEFT, 8 * _SCALE), metric, size=_LETTERS + 4)
  for (x, y), name, colour in legend:
    middle = y + draw_labels.line_height(_LETTERS) // 2
    pen.line((x, middle, x + 36, middle), fill=colour, width=3 * _SCALE)
    _text(pen, (x + 46, y), name)
  frame = (_LEFT, top, _WIDTH - _RIGHT, top + _HEIGHT - _BOTTOM)
  bounds = _bounds(series)
  _axes(pen, frame, bounds)
  many = [run for run in series if len(run.values) > _MANY]
  for run in many:
    _curve(pen, frame, bounds, run._replace(colour=_pale(run.colour)), _SCALE)
  for run in series:
    if len(run.values) > _MANY:
      # A spike beyond the axis must not lift what is around it.
      values = _smooth(run.values.clip(*bounds[2:]), len(run.values) // 50)
      run = run._replace(values=values)
    _curve(pen, frame, bounds, run, 2 * _SCALE)
  return panel


def _legend(series: Sequence[Series]) -> tuple[list[Any], int]:
  """Places of the names in rows, and where the axes may begin."""
  row = draw_labels.line_height(_LETTERS) + 4
  x, y = _LEFT, 36 * _SCALE
  placed = []
  for name, colour, *_ in series:
    width = 46 + 28 + int(draw_labels.font(_LETTERS).getlength(name))
    if x > _LEFT and x + width > _WIDTH - _RIGHT:
      x, y = _LEFT, y + row
    placed.append(((x, y), name, colour))
    x += width
  return placed, y + row + 4 * _SCALE


def _bounds(series: Sequence[Series]) -> tuple[float, float, float, float]:
  """(first step, last step, lowest, highest value), none of them equal."""
  steps = np.concatenate([run.steps for run in series])
  values = np.concatenate([run.values for run in series])
  low, high = values.min(), values.max()
  # A single spike at the start must not flatten everything after it.
  if len(values) > _MANY:
    high = max(np.quantile(values, 0.99), low)
  margin = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
  floor = 0.0 if 0 <= low < 0.3 * high else low - margin
  first, last = min(0.0, steps.min()), steps.max()
  return first, max(last, first + 1), floor, high + margin


def _axes(
    pen: ImageDraw.ImageDraw,
    frame: tuple[int, int, int, int],
    bounds: tuple[float, float, float, float],
) -> None:
  """Grid, tick labels and the name of the horizontal axis."""
  left, top, right, bottom = frame
  first, last, low, high = bounds
  for value in ticks(low, high):
    y = bottom - (value - low) / (high - low) * (bottom - top)
    pen.line((left, y, right, y), fill=_GRID, width=_SCALE)
    _text(pen, (left - 8 * _SCALE, y), _number(value), anchor='rm')
  for value in ticks(first, last):
    x = left + (value - first) / (last - first) * (right - left)
    pen.line((x, top, x, bottom), fill=_GRID, width=_SCALE)
    _text(pen, (x, bottom + 6 * _SCALE), _number(value), anchor='ma')
  pen.line((left, top, left, bottom, right, bottom), fill=_GREY, width=_SCALE)
  middle = (left + right) / 2
  _text(pen, (middle, bottom + 26 * _SCALE), 'step', anchor='ma')


def _curve(
    pen: ImageDraw.ImageDraw,
    frame: tuple[int, int, int, int],
    bounds: tuple[float, float, float, float],
    run: Series,
    width: int,
) -> None:
  """A line through points; a dot where there is only one."""
  left, top, right, bottom = frame
  first, last, low, high = bounds
  x = left + (run.steps - first) / (last - first) * (right - left)
  y = bottom - (np.clip(run.values, low, high) - low) / (high - low) * (
      bottom - top
  )
  points = np.stack([x, y], -1)
  if len(points) <= 20:
    for x, y in points.tolist():
      pen.circle((x, y), 1.5 * width, fill=run.colour)
  pen.line(points.ravel().tolist(), fill=run.colour, width=width, joint='curve')


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
  """Mean over a window of about 2 width + 1 points, shorter at the ends."""
  total = np.concatenate([[0.0], np.cumsum(values)])
  index = np.arange(len(values))
  low = np.maximum(index - width, 0)
  high = np.minimum(index + width + 1, len(values))
  return (total[high] - total[low]) / (high - low)


def _pale(colour: tuple[int, int, int]) -> tuple[int, int, int]:
  red, green, blue = (255 - (255 - c) // 4 for c in colour)
  return red, green, blue


def _number(value: float) -> str:
  """Short: 0.25, 400, 20k, 1.5M."""
  for size, letter in ((1e6, 'M'), (1e3, 'k')):
    if abs(value) >= size:
      return f'{value / size:.6g}{letter}'
  return f'{value:.6g}'


def _text(
    pen: ImageDraw.ImageDraw,
    spot: tuple[float, float],
    text: str,
    *,
    size: int = _LETTERS,
    anchor: str = 'la',
) -> None:
  pen.text(spot, text, fill=_INK, font=draw_labels.font(size), anchor=anchor)
