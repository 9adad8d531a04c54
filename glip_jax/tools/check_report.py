"""The report of tools.check_data as text."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

# Classes that are named in a line: the first and the last of them.
_FIRST, _LAST = 12, 5


def text(
    report: Mapping[str, Any], *, most: int | None = None, whole: str = ''
) -> str:
  """The whole report.

  Args:
    report: from `check_data.check`.
    most: faults of a kind that are listed; None for all.
    whole: where the others are.
  """
  lines = []
  for name, source in report['sources'].items():
    lines += [name, *('  ' + line for line in _source(source, most, whole)), '']
  lines += _padding(report['padding'])
  count = report['num_faults']
  lines.append(f'{count:,} fault{"" if count == 1 else "s"}')
  return '\n'.join(lines)


def _source(
    source: Mapping[str, Any], most: int | None, whole: str
) -> Iterator[str]:
  """Lines about one source."""
  if 'records' in source:
    yield from _statistics(source)
  for kind, names in source['notes'].items():
    yield f'note: {kind} ({", ".join(names[:5])})'
  faults = source['faults']
  for kind in dict.fromkeys(fault['kind'] for fault in faults):
    own = [fault for fault in faults if fault['kind'] == kind]
    yield f'{sum(fault["count"] for fault in own):,} x {kind}'
    for fault in itertools.islice(own, most):
      record = f'{fault["record"]}: ' if fault['record'] else ''
      yield f'  {record}{fault["remedy"]}'
    if most is not None and len(own) > most:
      yield f'  {len(own) - most:,} more are in {whole}'


def _statistics(source: Mapping[str, Any]) -> Iterator[str]:
  images, boxes = source['images'], source['boxes']
  if images < source['records']:
    yield f'{images:,} of {source["records"]:,} records were read'
  if not images:
    return
  yield (
      f'{images:,} images, {boxes:,} boxes;'
      f' {_percent(source["images_without_boxes"])} of images without a box'
  )
  yield f'boxes of an image: {_spread(source["boxes_of_an_image"])}'
  if boxes:
    sizes = ', '.join(
        f'{_percent(share)} {kind}'
        for kind, share in source['box_sizes'].items()
    )
    yield f'boxes by size: {sizes} (COCO: 32 and 96 pixels squared)'
  yield f'image heights: {_spread(source["image_heights"])}'
  yield f'image widths: {_spread(source["image_widths"])}'
  if source['tokens_of_a_prompt']:
    yield f'tokens of a prompt: {_spread(source["tokens_of_a_prompt"])}'
  yield from _classes(source)


def _classes(source: Mapping[str, Any]) -> Iterator[str]:
  """Which classes, or phrases, have how many boxes."""
  counts = {name: own['boxes'] for name, own in source['classes'].items()}
  named = [
      f'{name or "(no phrase)"} {count:,}'
      for name, count in counts.items()
      if count
  ]
  if len(named) > _FIRST + _LAST:
    hidden = len(named) - _FIRST - _LAST
    named[_FIRST:-_LAST] = [f'{hidden:,} others']
  what = 'classes' if source['kind'] == 'detection' else 'phrases'
  yield f'{len(counts):,} {what}, by boxes: {", ".join(named) or "none"}'
  if none := [name for name, count in counts.items() if not count]:
    more = f' and {len(none) - _FIRST:,} more' if len(none) > _FIRST else ''
    yield f'without a box: {", ".join(none[:_FIRST])}{more}'


def _padding(padding: Mapping[str, Any]) -> list[str]:
  """Lines about the canvases of training."""
  lines = []
  for key, found in padding.items():
    buckets = tuple(map(tuple, found['buckets']))
    share = _percent(found['padding'])
    if found['smaller']:
      share += f' (and {_percent(found["smaller"])} of images made smaller)'
    if key == 'now':
      lines.append(f'padding of training: {share} in {buckets}')
    else:
      lines.append(f'  {share} in config.data.buckets={buckets}')
  return [*lines, ''] if lines else []


def _spread(found: Mapping[str, float]) -> str:
  """Numbers of a spread in a few words."""
  if found['least'] == found['most']:
    return f'{found["most"]:,}'
  return (
      f'{found["least"]:,} to {found["most"]:,}, mean {found["mean"]:,.1f},'
      f' median {found["median"]:,}, 95 % up to'
      f' {found["of_20_19_have_at_most"]:,}'
  )


def _percent(share: float) -> str:
  return f'{100 * share:.1f} %'
