"""Small figures as text of SVG, legible at the width of a phone.

All are drawn 360 units wide, which is about a phone's width in pixels, and
scale from there. Names come from data sets, so all text is escaped here.
"""

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WIDTH = 360
# Apart for the colour-blind, dark enough for lines on white (Okabe and Ito).
COLOURS = '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00'
_DASHES = '', '6 3', '2 3'
_LABEL, _ROW = 128, 18  # Width of the labels of bars, height of a bar.
_LETTERS = 20  # That fit beside bars.


class Bar(NamedTuple):
  """One row of a bar chart.

  Attributes:
    label: whose bar it is.
    value: in [0, 1]; None draws none.
    said: the value in words; in percent by default.
  """

  label: str
  value: float | None
  said: str = ''


class Line(NamedTuple):
  """One line of a chart.

  Attributes:
    label: whose line it is.
    x: in [0, 1].
    y: in [0, 1]; NaN leaves a gap.
  """

  label: str
  x: Sequence[float]
  y: Sequence[float]


def bars(rows: Sequence[Bar], *, title: str) -> str:
  """Horizontal bars, labels on the left and numbers behind.

  Args:
    rows: from top to bottom.
    title: read to those who do not see it.
  """
  room, parts = WIDTH - _LABEL - 44, []
  for n, row in enumerate(rows):
    y, value = n * _ROW, row.value
    said = row.said or ('-' if value is None else f'{100 * value:.1f}')
    width = 0 if value is None else max(min(value, 1) * room, 0)
    parts.append(
        f'<g><title>{html.escape(f"{row.label}: {said}")}</title>'
        + _text(_LABEL - 6, y + 13, _short(row.label), anchor='end')
        + f'<rect x="{_LABEL}" y="{y + 3}" width="{width:.1f}" height="12"'
        f' fill="{COLOURS[0]}"/>'
        + _text(_LABEL + width + 4, y + 13, said)
        + '</g>'
    )
  return _figure(parts, max(len(rows), 1) * _ROW + 4, title)


def curves(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    diagonal: bool = False,
) -> str:
  """Lines over a square from 0 to 1, with a legend below.

  Args:
    lines: in the order of their colours.
    title: read to those who do not see it.
    x_label: of the horizontal axis.
    y_label: of the vertical axis.
    diagonal: whether the line of equal x and y is drawn.
  """
  frame = _Frame(40, 20, WIDTH - 52, 210)
  parts = [frame.axes(x_label, y_label)]
  if diagonal:
    parts.append(frame.path([0, 1], [0, 1], 'stroke="#999" stroke-width="1"'))
  for n, line in enumerate(lines):
    parts.append(frame.path(line.x, line.y, _stroke(n)))
  bottom = 274
  for n, line in enumerate(lines):
    y = bottom + 16 * n
    parts.append(f'<path d="M40 {y - 4}h28" {_stroke(n)}/>')
    parts.append(_text(74, y, _short(line.label, 40)))
  return _figure(parts, bottom + 16 * len(lines), title)


def small_curve(line: Line) -> str:
  """One line of 100 by 74 units with its name above, for many beside others."""
  frame = _Frame(4, 18, 92, 56)
  parts = [
      f'<title>{html.escape(line.label)}</title>',
      frame.box(),
      frame.path(line.x, line.y, _stroke(0)),
      _text(4, 13, _short(line.label, 16), size=11),
  ]
  return _figure(parts, 78, line.label, width=100)


def columns(
    heights: Sequence[float | None], counts: Sequence[int], *, title: str
) -> str:
  """Columns over equal parts of [0, 1] beside the diagonal, counts below.

  Args:
    heights: in [0, 1], None for a part without anything.
    counts: of each part.
    title: read to those who do not see it.
  """
  frame, step = _Frame(40, 20, WIDTH - 52, 210), 1 / len(heights)
  parts = [frame.axes('score', 'precision')]
  for n, (height, count) in enumerate(zip(heights, counts, strict=True)):
    if height is None:
      continue
    left, top = frame.at(n * step, height)
    width = frame.width * step - 2
    said = f'score {n * step:.1f} to {(n + 1) * step:.1f}: {count} detections'
    parts.append(
        f'<g><title>{said}, {100 * height:.1f} % right</title>'
        f'<rect x="{left + 1:.1f}" y="{top:.1f}" width="{width:.1f}"'
        f' height="{frame.top + frame.height - top:.1f}" fill="{COLOURS[4]}"/>'
        + _text(left + width / 2 + 1, 270, _count(count), 'middle', 10)
        + '</g>'
    )
  parts.append(frame.path([0, 1], [0, 1], 'stroke="#444" stroke-width="1"'))
  parts.append(_text(4, 270, 'number', size=10))
  return _figure(parts, 276, title)


def matrix(
    counts: np.ndarray,
    rows: Sequence[str],
    names: Sequence[str],
    *,
    title: str,
) -> str:
  """A table of counts, darker where its row has more.

  Args:
    counts: int[rows names].
    rows: labels on the left.
    names: labels above.
    title: read to those who do not see it.
  """
  cell, left, top = 22, 110, 100
  shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
  parts = []
  for n, name in enumerate(names):
    x = left + n * cell + 14
    parts.append(
        f'<g transform="translate({x} {top - 6}) rotate(-60)">'
        f'{_text(0, 0, _short(name, 16))}</g>'
    )
  for n, row in enumerate(rows):
    y = top + n * cell
    parts.append(_text(left - 6, y + 15, _short(row, 16), 'end'))
    for k, name in enumerate(names):
      count, share = int(counts[n, k]), float(shares[n, k])
      said = html.escape(f'{row}, found as {name}: {count}')
      ink = '#fff' if share > 0.5 else '#222'
      parts.append(
          f'<g><title>{said}</title><rect x="{left + k * cell}" y="{y}"'
          f' width="{cell - 1}" height="{cell - 1}" fill="#0072b2"'
          f' fill-opacity="{share:.3f}" stroke="#ccc" stroke-width=".5"/>'
      )
      if count:
        x = left + k * cell + (cell - 1) / 2
        parts.append(_text(x, y + 14, _count(count), 'middle', 10, ink))
      parts.append('</g>')
  width = max(left + cell * len(names) + 50, WIDTH)
  return _figure(parts, top + cell * len(rows) + 4, title, width=width)


class _Frame(NamedTuple):
  """Where [0, 1] by [0, 1] lies."""

  left: float
  top: float
  width: float
  height: float

  def at(self, x: float, y: float) -> tuple[float, float]:
    return (
        self.left + self.width * x,
        self.top + self.height * (1 - y),
    )

  def box(self) -> str:
    return (
        f'<rect x="{self.left}" y="{self.top}" width="{self.width}"'
        f' height="{self.height}" fill="none" stroke="#bbb"/>'
    )

  def axes(self, x_label: str, y_label: str) -> str:
    parts = [self.box()]
    for n in range(0, 11, 2):
      x, y = self.at(n / 10, n / 10)
      bottom = self.top + self.height
      parts.append(f'<path d="M{self.left} {y:.1f}h{self.width}" class="g"/>')
      parts.append(_text(self.left - 5, y + 4, f'{n / 10:g}', 'end'))
      parts.append(_text(x, bottom + 14, f'{n / 10:g}', 'middle'))
    parts.append(
        _text(
            self.left + self.width, self.top + self.height + 28, x_label, 'end'
        )
    )
    parts.append(_text(self.left, self.top - 7, y_label))
    return ''.join(parts)

  def path(self, x: Sequence[float], y: Sequence[float], style: str) -> str:
    steps, pen = [], 'M'
    for one, other in zip(x, y, strict=True):
      if np.isnan(other):
        pen = 'M'
        continue
      across, down = self.at(one, other)
      steps.append(f'{pen}{across:.1f} {down:.1f}')
      pen = 'L'
    return f'<path d="{"".join(steps)}" {style} fill="none"/>'


def _stroke(n: int) -> str:
  colour = COLOURS[n % len(COLOURS)]
  dash = _DASHES[n // len(COLOURS) % len(_DASHES)]
  dashes = f' stroke-dasharray="{dash}"' if dash else ''
  return f'stroke="{colour}" stroke-width="2"{dashes}'


def _text(
    x: float,
    y: float,
    said: str,
    anchor: str = 'start',
    size: int = 12,
    colour: str = '#222',
) -> str:
  return (
      f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
      f' font-size="{size}" fill="{colour}">{html.escape(said)}</text>'
  )


def _short(name: str, most: int = _LETTERS) -> str:
  return name if len(name) <= most else name[: most - 1] + '…'


def _count(count: int) -> str:
  """A number in three letters or so."""
  if count < 1000:
    return str(count)
  if count < 1_000_000:
    return f'{count / 1000:.0f}k'
  return f'{count / 1_000_000:.0f}M'


def _figure(
    parts: Sequence[str], height: float, title: str, width: float = WIDTH
) -> str:
  return (
      f'<svg viewBox="0 0 {width} {height}" role="img"'
      f' style="max-width:{1.3 * width:.0f}px;min-width:{0.8 * width:.0f}px"'
      f' aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
  )
