"""Every evaluator gives the same at any batch size and number of processes.

Records that differ in size, number of boxes and detections, with ties, are
found by a stub whose answer depends on the record alone.
"""

import json
import math

import numpy as np
import pytest
from PIL import Image

from glip_jax import fields, types
from glip_jax.evaluators import match_metrics, matches, runner
from glip_jax.report import writing

NUM = 35
DATA = {
    'tokenizer': 'shapes',
    'num_tokens': 64,
    'num_phrases': 8,
    'num_boxes': 16,
    'image_size': (64, 64),
}
NAMES = 'circle', 'square', 'star', 'cross'


def _entry(index):
  return {
      'id': 3 * index,
      'file_name': f'{index}.png',
      'width': 40 + index % 5,
      'height': 30,
  }


def _boxes(rng, images):
  return [
      {
          'id': n + 1,
          'image_id': images[rng.integers(NUM)]['id'],
          'category_id': int(rng.integers(1, 5)),
          'bbox': [*rng.integers(0, 20, 2).tolist(), 9, 8],
          'iscrowd': int(n % 9 == 8),
      }
      for n in range(90)
  ]


def _detection(rng):
  images = [_entry(n) for n in range(NUM)]
  boxes = _boxes(rng, images)
  for image in images:
    own = {
        row['category_id'] for row in boxes if row['image_id'] == image['id']
    }
    image['neg_category_ids'] = sorted({1, 2} - own)
    image['not_exhaustive_category_ids'] = sorted(own & {3})
  categories = [
      {'id': n, 'name': name, 'frequency': 'rcff'[n - 1], 'synonyms': []}
      for n, name in enumerate(NAMES, 1)
  ]
  return dict(images=images, annotations=boxes, categories=categories)


def _captions(rng):
  caption = 'a red circle and a blue star'
  images = [_entry(n) | {'caption': caption} for n in range(NUM)]
  spans = [[2, 12]], [[19, 28]]
  boxes = [
      row | {'tokens_positive': spans[row['category_id'] % 2], 'iscrowd': 0}
      for row in _boxes(rng, images)
  ]
  return dict(images=images, annotations=boxes, categories=[])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Images of nothing, and a file of each kind."""
  root = tmp_path_factory.mktemp('sets')
  for n in range(NUM):
    Image.new('RGB', (40 + n % 5, 30)).save(root / f'{n}.png')
  for name, make in (('boxes', _detection), ('captions', _captions)):
    content = make(np.random.default_rng(0))
    (root / f'{name}.json').write_text(json.dumps(content))
  return root


SETS = {
    'detection': ('coco', 'boxes'),
    'lvis': ('lvis', 'boxes'),
    'voc': ('coco', 'boxes'),
    'grounding': ('mdetr', 'captions'),
    'flickr30k': ('mdetr', 'captions'),
    'referring': ('mdetr', 'captions'),
    'unknown': ('shapes', ''),
}


class _Stub:
  """Detections that depend on the record alone, some of them its truth."""

  def __init__(self, unknown):
    self._unknown = unknown

  def detect(self, batch, *, same_prompt=False):
    rows = [self._row(batch, n) for n in range(len(batch.id))]
    return types.Detections(*map(np.stack, zip(*rows, strict=True)))

  def _row(self, batch, row):
    rng = np.random.default_rng(abs(int(batch.id[row])))
    count = 24
    scores = np.sort(rng.integers(1, 17, count).astype(np.float32) / 16)[::-1]
    boxes = rng.uniform(0, 30, (count, 4)).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2] + 1
    labels = rng.integers(0, 4, count)
    truth = batch.targets
    there = np.flatnonzero(truth.valid[row])[:10]
    boxes[: len(there)] = truth.boxes[row, there] + 0.5
    labels[: len(there)] = truth.phrase[row, there]
    order = rng.permutation(count)
    boxes, labels = boxes[order], labels[order]
    if self._unknown:
      labels[::2] = -1
    return boxes, scores, labels, np.arange(count) < rng.integers(3, count)


def _run(spec, stub, index=0, count=1, gather=lambda state: [state], **more):
  return runner.run_evals(
      {'val': spec},
      stub,
      data=DATA,
      process_index=index,
      process_count=count,
      gather=gather,
      on_first=lambda compute: compute(),
      **more,
  )['val'].to_json()


@pytest.mark.parametrize('name', runner.EVALUATORS)
def test_results_are_the_same_to_the_last_digit(folder, name, tmp_path):
  source, file = SETS[name]
  data = {'source': source}
  if file:
    data['annotations'] = str(folder / f'{file}.json')
    data['images'] = str(folder)
  else:
    data |= dict(unnamed=True, num_images=NUM, image_size=64)
    data |= dict(split='val', prompts={'partial': 1.0})

  def spec(batch_size):
    return fields.from_dict(
        runner.Evaluation,
        {'type': name, 'batch_size': batch_size, 'data': data},
        'evals.val',
    )

  stub = _Stub(unknown=name == 'unknown')
  report = writing.Report({'val': spec(NUM)})
  whole = _run(spec(NUM), stub, workdir=tmp_path, told=report.add)
  for batch_size in (1, 7, 32):
    assert _run(spec(batch_size), stub) == whole, batch_size
  # The second process has a record less, and its state comes first.
  states = []
  _run(spec(7), stub, 1, 2, lambda state: states.append(state) or [state])
  both = _run(spec(3), stub, 0, 2, lambda state: [*states, state])
  assert both == whole
  numbers = [
      value
      for value in whole.values()
      if isinstance(value, float) and value not in (0, 1, -1)
  ]
  assert len(numbers) > 1 and all(map(math.isfinite, numbers))
  if (tmp_path / 'val' / matches.FILE).exists():
    stored = matches.read(tmp_path / 'val' / matches.FILE)
    for key, (value,) in match_metrics.metrics(stored).items():
      assert value == pytest.approx(whole[key], abs=1e-12), key
  else:
    assert name not in ('detection', 'lvis', 'voc')
  report.write(tmp_path / 'page.html', title=name, facts=(), results={})
  assert '>val</h2>' in (tmp_path / 'page.html').read_text()
