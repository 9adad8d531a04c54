"""The page says what was found, needs nothing else, and runs nothing."""

import html.parser
import json
import re

import numpy as np
import pytest
from PIL import Image

from glip_jax import fields
from glip_jax.data.sources import table
from glip_jax.evaluators import coco_ap, detection, feeding, runner
from glip_jax.report import confusion, pictures, quality, writing

NASTY = '<script>alert("x")</script> & \'co\''


def _box(image, category, x, **more):
  place = {'image_id': image, 'category_id': category, 'bbox': [x, 10, 30, 30]}
  return place | more


def _set(names=('cat', 'dog')):
  """Two images: found, found twice, taken for another, missed, in vain."""
  truth = {
      'images': [
          {'id': n, 'file_name': f'{n}.png', 'width': 200, 'height': 100}
          for n in (1, 2)
      ],
      'categories': [{'id': n, 'name': name} for n, name in enumerate(names)],
      'annotations': [
          _box(*place, id=n, iscrowd=0, area=900)
          for n, place in enumerate(
              [(1, 0, 0), (1, 1, 60), (2, 0, 0), (2, 1, 120)], 1
          )
      ],
  }
  found = [
      _box(1, 0, 1, score=0.9),
      _box(1, 0, 4, score=0.8),
      _box(1, 0, 61, score=0.7),
      _box(2, 0, 1, score=0.6),
      _box(2, 1, 60, score=0.95),
      _box(2, 0, 70, score=0.1),
  ]
  return truth, found


def _matched():
  truth, found = _set()
  return coco_ap.run_coco(truth, found)[1](), found, truth


class _Page(html.parser.HTMLParser):
  """Tags, addresses and text of a page."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.addresses, self.said = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.addresses += [v for k, v in attrs if k in ('href', 'src')]
    assert not [k for k, _ in attrs if k.startswith('on')]

  def handle_data(self, data):
    self.said.append(data)


def _page(folder, names):
  truth, found = _set(names)
  for row in truth['images']:
    Image.new('RGB', (200, 100), (90, 90, 200)).save(folder / row['file_name'])
  path = folder / 'truth.json'
  path.write_text(json.dumps(truth))
  data = {'source': 'coco', 'annotations': str(path), 'images': str(folder)}
  spec = fields.from_dict(runner.Evaluation, {'data': data}, 'evals.val')
  source = table.open_source(spec.data)
  evaluator = detection.DetectionEvaluator(source)
  evaluator.merge(
      {n: [x for x in found if x['image_id'] == n + 1] for n in range(2)}
  )
  name, result = f'val{NASTY}', evaluator.result()
  report, pace = writing.Report({name: spec}), feeding.Pace(30, 2.0)
  rows = evaluator.predictions()
  report.add(runner.Scored(name, source, evaluator, result, rows, pace))
  out, facts = folder / writing.FILE, [('checkpoint', NASTY)]
  report.write(out, title=NASTY, facts=facts, results={name: result})
  return out.read_text(), result


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr('sys.argv', ['eval.py', "--out=a b's <i>"])
  text, result = _page(tmp_path, (NASTY, 'dog'))
  page = _Page(text)
  assert not {'script', 'link', 'iframe', 'i'} & set(page.tags)
  assert page.addresses
  assert all(x.startswith('data:image/jpeg;base64,') for x in page.addresses)
  assert not re.search(r'url\(|@import|https?:', text)
  said = ' '.join(page.said)
  assert NASTY in said and "'--out=a b'\"'\"'s <i>'" in said
  assert 'name="viewport"' in text and '@media print' in text
  for words in (
      f'{100 * result.metrics["AP"]:.1f}',
      'mean over IoU 0.50 to 0.95',
      '15 images/s',
      'Calibration',
      'Thresholds by class',
      'Worst misses',
      'Most confident errors',
  ):
    assert words in said, words


def test_many_classes_fit(tmp_path):
  text, _ = _page(tmp_path, [f'class {n}' for n in range(1203)])
  assert text.count('<rect') < 200 and len(text) < 500_000
  assert 'all 1203 classes' in text and '1201 classes have no box' in text


def test_a_set_in_which_nothing_is_found_has_its_misses():
  truth, _ = _set()
  found = coco_ap.run_coco(truth, [])[1]()
  assert np.isnan(quality.calibration(found).error)
  assert all(np.isnan(x.score) for x in quality.best_thresholds(found))
  counts = confusion.confusion(found, [], truth, np.full(2, np.nan)).counts
  np.testing.assert_array_equal(counts, [[0, 0, 2], [0, 0, 2], [0, 0, 0]])
  assert [x.said for x in pictures.worst_misses(found, [], truth)] == [
      f'{name} is missed; nothing near it'
      for name in ('cat', 'dog', 'cat', 'dog')
  ]


def test_boxes_are_counted_as_what_they_are_found():
  lower = confusion.confusion(*_matched(), np.array([0.5, 0.5]))
  # Both cats; a dog found as cat; the other missed; a cat twice and a dog in
  # vain. What scores 0.1 is not shown.
  np.testing.assert_array_equal(lower.counts, [[2, 0, 0], [1, 0, 1], [1, 1, 0]])
  assert lower.pairs() == [(1, 0, 1)]
  higher = confusion.confusion(*_matched(), np.array([0.85, 0.99]))
  np.testing.assert_array_equal(
      higher.counts, [[1, 0, 1], [0, 0, 2], [0, 0, 0]]
  )


def test_a_threshold_is_that_of_the_best_f1():
  cat, dog = quality.best_thresholds(_matched()[0])
  # Right, wrong, wrong, right, wrong, of two: 2 in 3, 1 in 2, 2 in 5, 2 in 3.
  assert cat.score == pytest.approx(0.9) and cat.f1 == pytest.approx(2 / 3)
  assert (cat.precision, cat.recall) == (1, 0.5)
  assert np.isnan(dog.score)


@pytest.mark.parametrize('name', ['a', 'b'])
def test_curves_have_the_area_that_pycocotools_has(shared, name):
  folder = shared / 'data' / 'eval_golden'
  truth, found = (
      json.loads((folder / f'{name}_{kind}.json').read_text())
      for kind in ('gt', 'dt')
  )
  result, make = coco_ap.run_coco(truth, found)
  made = make()
  curves = quality.precision_at_recalls(made, 0)
  for curve, row in zip(curves, result.per_class, strict=True):
    if row.AP50 < 0:
      assert np.isnan(curve).all()
    else:
      assert curve.mean() == pytest.approx(row.AP50, abs=1e-9)
  bins, judged = quality.calibration(made), quality.counted(made)
  assert sum(bins.counts) == judged.sum()
  top = judged & (made.score >= 0.9)
  assert bins.precision[-1] == pytest.approx(made.right[top, 0, 0].mean())


def test_errors_say_what_is_there_instead():
  said = [x.said for x in pictures.confident_errors(*_matched())]
  assert said == [
      'dog 0.95: nothing is there',
      'cat 0.80: another detection has that box, IoU 0.76',
      'cat 0.70: in truth dog, IoU 0.94',
      'cat 0.10: nothing is there',
  ]
  missed = pictures.worst_misses(*_matched())
  assert [(x.image, x.said) for x in missed] == [
      (1, 'dog is missed; best near it: cat 0.70, IoU 0.94'),
      (2, 'dog is missed; nothing near it'),
  ]
