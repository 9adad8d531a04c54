"""One page of HTML that needs nothing else: no script, no file, no network."""

import html
from collections.abc import Iterable, Sequence

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, 'DejaVu Sans', sans-serif; color: #222;
  background: #fff; margin: 0 auto; padding: 1rem; max-width: 68rem; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .5rem;
  border-top: 2px solid #222; overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
h4 { font-size: .95rem; margin: .6rem 0 .1rem; }
p { margin: .3rem 0 .7rem; max-width: 44rem; }
p.note, figcaption, .facts dd, td.says { color: #444; font-size: .9rem; }
code, pre { font-family: ui-monospace, 'DejaVu Sans Mono', monospace;
  font-size: .85rem; }
pre { overflow-x: auto; background: #f5f5f5; padding: .6rem; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .3rem 0 1rem; }
th, td { padding: .15rem .6rem .15rem 0; text-align: right;
  border-bottom: 1px solid #ddd; vertical-align: baseline; }
th:first-child, td:first-child, .says { text-align: left; }
td:not(.says):not(:first-child) { white-space: nowrap; }
td:first-child { overflow-wrap: anywhere; min-width: 5rem; }
td.number { font-weight: 600; }
.two { display: grid; gap: 0 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.many { display: grid; gap: .3rem;
  grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); }
.pictures { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); }
figure { margin: 0; break-inside: avoid; }
svg { width: 100%; height: auto; display: block;
  font-family: system-ui, 'DejaVu Sans', sans-serif; }
.pictures svg { max-height: 20rem; background: #eee; }
.many svg { min-width: 0 !important; }
.g { stroke: #eee; }
.rim { fill: none; stroke: #fff; stroke-width: 4; stroke-opacity: .7; }
.truth { fill: none; stroke: #007a3d; stroke-width: 2.5;
  stroke-dasharray: 7 4; }
.found { fill: none; stroke: #d00000; stroke-width: 2; }
.key-truth { color: #007a3d; font-weight: 600; }
.key-found { color: #d00000; font-weight: 600; }
.facts { display: grid; grid-template-columns: max-content 1fr;
  gap: .1rem 1rem; margin: 0; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; color: #0058a3; }
@media (max-width: 30rem) {
  body { padding: .7rem; font-size: 15px; }
  .facts { grid-template-columns: 1fr; }
  table { font-size: .8rem; }
  th, td { padding-right: .35rem; }
  td:first-child { min-width: 3.5rem; }
  .facts dd { margin-bottom: .4rem; }
  .pictures { grid-template-columns: 1fr 1fr; gap: .5rem; }
  .pictures figcaption { font-size: .78rem; line-height: 1.35; }
}
@media print {
  body { font-size: 10pt; max-width: none; padding: 0; }
  h2, h3, h4, h3 + .note { break-after: avoid; }
  .wide, pre { overflow: visible; }
  tr, figure, .two > div { break-inside: avoid; }
  .pictures { grid-template-columns: repeat(4, 1fr); }
  .many { grid-template-columns: repeat(6, 1fr); }
  details::details-content { content-visibility: visible; display: block;
    height: auto; }
  summary { display: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def page(title: str, parts: Iterable[str]) -> str:
  """A whole page.

  Args:
    title: plain text.
    parts: HTML, in their order.
  """
  said = html.escape(title)
  return (
      '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
      '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
      # Whatever a name holds, nothing is run and nothing fetched.
      '<meta http-equiv="Content-Security-Policy" content="default-src'
      " 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
      f'<title>{said}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
      f'<h1>{said}</h1>\n' + '\n'.join(parts) + '\n</body>\n</html>\n'
  )


def heading(said: str, level: int = 3) -> str:
  """A heading of plain text."""
  return f'<h{level}>{html.escape(said)}</h{level}>'


def paragraph(said: str, note: bool = False) -> str:
  """Plain text; a note is small."""
  kind = ' class="note"' if note else ''
  return f'<p{kind}>{html.escape(said)}</p>'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    says: int | None = None,
) -> str:
  """A table of plain text, which scrolls where it is too wide.

  Args:
    head: of each column.
    rows: cells.
    says: place of a column of words, the others being numbers.
  """
  cells = ''.join(
      f'<th{_kind(n, says)}>{html.escape(x)}</th>' for n, x in enumerate(head)
  )
  body = ''.join(
      '<tr>'
      + ''.join(
          f'<td{_kind(n, says)}>{html.escape(cell)}</td>'
          for n, cell in enumerate(row)
      )
      + '</tr>'
      for row in rows
  )
  return (
      f'<div class="wide"><table><thead><tr>{cells}</tr></thead>'
      f'<tbody>{body}</tbody></table></div>'
  )


def facts(rows: Iterable[tuple[str, str]]) -> str:
  """Names and what they are, as plain text."""
  return '<dl class="facts">' + ''.join(
      f'<dt>{html.escape(name)}</dt><dd>{html.escape(said)}</dd>'
      for name, said in rows
  ) + '</dl>'  # fmt: skip


def folded(summary: str, content: str) -> str:
  """HTML that is seen when the summary is chosen, and in print."""
  return (
      f'<details><summary>{html.escape(summary)}</summary>{content}</details>'
  )


def command(said: str) -> str:
  """A command line, broken where it is too long."""
  return f'<pre class="command">{html.escape(said)}</pre>'


def terminal(said: str) -> str:
  """Text as a terminal shows it."""
  return f'<pre>{html.escape(said)}</pre>'


def two(*parts: str) -> str:
  """Figures beside each other where there is room."""
  columns = ''.join(f'<div>{part}</div>' for part in parts if part)
  return f'<div class="two">{columns}</div>'


def _kind(n: int, says: int | None) -> str:
  if n == says:
    return ' class="says"'
  return ' class="number"' if n == 1 else ''
