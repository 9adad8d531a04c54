"""The part of the page about boxes with classes: figures, tables, pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glip_jax.data.sources import protocol
from glip_jax.evaluators.coco_ap import percent
from glip_jax.evaluators.matches import Matches
from glip_jax.report import confusion, page, pictures, quality, svg

_MOST_BARS, _MOST_CURVES, _MOST_IN_MATRIX = 40, 24, 20
_FEW = 20  # Of a list that is too long to be shown.


def parts(
    matches: Matches,
    predictions: Sequence[Mapping[str, Any]],
    truth: Mapping[str, Any],
    source: protocol.Source,
    metrics: Mapping[str, float],
    per_class: Sequence[Any],
) -> list[str]:
  """HTML in its order.

  Args:
    matches: of the predictions and the truth.
    predictions: rows in COCO's result format.
    truth: in COCO's format, what was scored against.
    source: where the images are.
    metrics: of the evaluation, in [0, 1]; -1 without truth.
    per_class: `name`, `AP` and `num_truth` of each class, in their order.
  """
  best = quality.best_thresholds(matches)
  thresholds = np.array([row.score for row in best])
  return [
      *_averages(metrics, per_class),
      *_curves(matches),
      *_scores(matches),
      *_classes(per_class, best),
      *_confusion(matches, predictions, truth, thresholds),
      *_pictures(matches, predictions, truth, source),
  ]


def _averages(
    metrics: Mapping[str, float], per_class: Sequence[Any]
) -> list[str]:
  """Bars by size, rarity and class."""
  groups = []
  for title, names in (
      ('AP by size', {'s': 'small', 'm': 'medium', 'l': 'large'}),
      ('AP by rarity', {'r': 'rare', 'c': 'common', 'f': 'frequent'}),
  ):
    if f'AP{next(iter(names))}' in metrics:
      rows = [_bar(said, metrics[f'AP{x}']) for x, said in names.items()]
      groups.append(page.heading(title) + svg.bars(rows, title=title))
  ranked = sorted(
      (row for row in per_class if row.AP >= 0), key=lambda row: -row.AP
  )
  bars = lambda rows, title: page.heading(title) + svg.bars(
      [_bar(row.name, row.AP) for row in rows], title=title
  )
  if len(ranked) > _MOST_BARS:
    classes = [
        bars(ranked[:_FEW], f'AP of the best {_FEW} classes'),
        bars(ranked[-_FEW:], f'AP of the worst {_FEW} classes'),
    ]
  else:
    half = (len(ranked) + 1) // 2 if len(ranked) > 12 else len(ranked)
    classes = [bars(ranked[:half], 'AP by class')]
    if half < len(ranked):
      classes.append(bars(ranked[half:], 'AP by class, continued'))
  without = len(per_class) - len(ranked)
  said = f'{without} classes have no box here and no AP.' if without else ''
  return [
      page.two(*groups) if groups else '',
      page.two(*classes),
      page.paragraph(said, note=True) if said else '',
  ]


def _curves(matches: Matches) -> list[str]:
  """Precision at each recall, over all classes and of each."""
  places = {f'IoU {iou:.2f}': n for n, iou in enumerate(matches.ious)}
  chosen = [n for n in (0, 5, 8) if n < len(places)]
  every = {n: quality.precision_at_recalls(matches, n) for n in chosen}
  present = ~np.isnan(every[0][:, 0])
  if not present.any():
    return []
  lines = [
      svg.Line(list(places)[n], quality.RECALLS, curve[present].mean(axis=0))
      for n, curve in every.items()
  ]
  title = 'Precision and recall, mean of the classes'
  counts = quality.num_truth(matches)
  largest = np.argsort(-counts, kind='stable')[:_MOST_CURVES]
  small = [
      svg.small_curve(svg.Line(matches.names[n], quality.RECALLS, every[0][n]))
      for n in sorted(largest)
      if present[n]
  ]
  which = (
      'Each class'
      if len(small) == present.sum()
      else f'The {len(small)} classes with most boxes'
  )
  return [
      page.two(
          page.heading(title)
          + svg.curves(
              lines, title=title, x_label='recall', y_label='precision'
          ),
          page.heading(f'{which}, at {list(places)[0]}')
          + f'<div class="many">{"".join(small)}</div>',
      )
  ]


def _scores(matches: Matches) -> list[str]:
  """Whether scores say how often a detection is right."""
  found = quality.calibration(matches)
  if np.isnan(found.error):
    return []
  title = 'Calibration: score and precision'
  note = (
      'Of the detections of a score, how many are right at IoU'
      f' {matches.ious[0]:.2f}; on the line score and precision are equal. Mean'
      f' distance (expected calibration error) {100 * found.error:.1f} %, over'
      f' {sum(found.counts)} detections.'
  )
  return [
      page.heading(title),
      svg.columns(found.precision, found.counts, title=title),
      page.paragraph(note, note=True),
  ]


def _classes(
    per_class: Sequence[Any], best: Sequence[quality.BestThreshold]
) -> list[str]:
  """A row a class, with the threshold of the best F1."""
  rows = []
  for row, threshold in zip(per_class, best, strict=True):
    if np.isnan(threshold.score):
      cells = ['-'] * 4
    else:
      score, *shares = threshold
      cells = [f'{score:.2f}', *map(percent, shares)]
    rows.append([row.name, percent(row.AP), str(row.num_truth), *cells])
  head = 'class', 'AP', 'boxes', 'threshold', 'F1', 'precision', 'recall'
  table = page.table(head, rows)
  if len(rows) > _MOST_BARS:
    table = page.folded(f'all {len(rows)} classes', table)
  return [
      page.heading('Thresholds by class'),
      page.paragraph(
          'Of each class the score from which detections have the best F1 at'
          ' IoU 0.50, and what they reach there. Chosen on these images, so a'
          ' little too good for others.',
          note=True,
      ),
      table,
  ]


def _confusion(
    matches: Matches,
    predictions: Sequence[Mapping[str, Any]],
    truth: Mapping[str, Any],
    thresholds: np.ndarray,
) -> list[str]:
  found = confusion.confusion(matches, predictions, truth, thresholds)
  classes = len(matches.names)
  counts, title = found.counts, 'What is taken for what'
  note = (
      'Detections at the threshold of their class. Rows are what is there,'
      ' columns as what it is found.'
  )
  parts_ = [page.heading(title), page.paragraph(note, note=True)]
  used = np.flatnonzero((counts.sum(0) + counts.sum(1))[:-1])
  if len(used) <= _MOST_IN_MATRIX:
    chosen = np.r_[used, classes]
    names = [matches.names[n] for n in used]
    figure = svg.matrix(
        counts[np.ix_(chosen, chosen)],
        [*names, '(nothing there)'],
        [*names, '(missed)'],
        title=title,
    )
    return [*parts_, f'<div class="wide">{figure}</div>']
  totals = [
      ('found', int(np.trace(counts[:-1, :-1]))),
      ('found as another class', sum(pair[2] for pair in found.pairs())),
      ('missed', int(counts[:-1, -1].sum())),
      ('found where nothing is', int(counts[-1, :-1].sum())),
  ]
  pairs = [
      (matches.names[row], matches.names[column], str(count))
      for row, column, count in found.pairs()[:_FEW]
  ]
  lists = [
      page.heading('Boxes', 4) + page.table(('', 'number'), _strings(totals)),
      page.heading('Most frequent confusions', 4)
      + page.table(('is', 'found as', 'times'), pairs, says=1),
      _most('Most often missed', matches.names, counts[:-1, -1]),
      _most('Most often found in vain', matches.names, counts[-1, :-1]),
  ]
  return [*parts_, page.two(*lists)]


def _most(title: str, names: Sequence[str], counts: np.ndarray) -> str:
  order = [n for n in np.argsort(-counts, kind='stable')[:10] if counts[n]]
  rows = [(names[n], int(counts[n])) for n in order]
  return page.heading(title, 4) + page.table(('class', 'times'), _strings(rows))


def _pictures(
    matches: Matches,
    predictions: Sequence[Mapping[str, Any]],
    truth: Mapping[str, Any],
    source: protocol.Source,
) -> list[str]:
  result = []
  for title, note, choose in (
      (
          'Worst misses',
          (
              'The boxes, largest in their image first, that no detection of'
              ' their class overlaps by 0.5, whatever its score.'
          ),
          pictures.worst_misses,
      ),
      (
          'Most confident errors',
          'The wrong detections of the highest scores.',
          pictures.confident_errors,
      ),
  ):
    shown = choose(matches, predictions, truth)
    if shown:
      result += [
          page.heading(title),
          page.paragraph(note, note=True),
          _KEY,
          pictures.draw(shown, source),
      ]
  return result


_KEY = (
    '<p class="note"><span class="key-truth">green, dashed</span>: truth; '
    '<span class="key-found">red</span>: detection</p>'
)


def _bar(label: str, value: float) -> svg.Bar:
  return svg.Bar(label, value if value >= 0 else None)


def _strings(rows: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
  return [(name, str(count)) for name, count in rows]
