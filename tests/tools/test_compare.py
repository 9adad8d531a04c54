"""Runs side by side: differences, their intervals, and what is refused."""

import json
import random

import numpy as np
import pytest

from glip_jax.errors import UserError
from glip_jax.evaluators import bootstrap, coco_ap, match_metrics, matches
from glip_jax.tools import compare

CATEGORIES = [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]
NUM = 12


def _truth(ids=range(NUM)):
  return {
      'images': [{'id': i} for i in ids],
      'categories': CATEGORIES,
      'annotations': [
          {'image_id': i, 'category_id': 1 + n, 'bbox': [60 * n, 5, 50, 40]}
          for i in ids
          for n in range(2)
      ],
  }


def _found(truth, blur):
  """The truth, moved by up to so many pixels, by the same luck each time."""
  rng = random.Random(0)
  rows = []
  for row in truth['annotations']:
    x, y, *size = row['bbox']
    box = [x + blur * rng.random(), y + blur * rng.random(), *size]
    rows.append(row | {'bbox': box, 'score': rng.random()})
  return rows


def _run(folder, truth, blur, name='val', **more):
  result, make = coco_ap.run_coco(truth, _found(truth, blur))
  (folder / name).mkdir(parents=True)
  (folder / 'metrics.json').write_text(
      json.dumps({name: result.to_json()} | more)
  )
  (folder / name / matches.FILE).write_bytes(make().to_bytes())
  return folder


def test_numbers_stand_side_by_side_with_an_interval(tmp_path):
  worse = _run(tmp_path / 'a', _truth(), 20)
  better = _run(tmp_path / 'b' / 'eval', _truth(), 5, heldout={'AP': 0.5})
  text = compare.compare([worse, better.parent], redraws=200)
  first, second = (
      json.loads((x / 'metrics.json').read_text())['val']['AP']
      for x in (worse, better)
  )
  row = next(x for x in text.splitlines() if x.startswith('AP '))
  assert row.split()[1:4] == [
      f'{100 * first:.1f}',
      f'{100 * second:.1f}',
      f'{100 * (second - first):+.1f}',
  ]
  assert row.endswith('*') and ' to +' in row
  assert next(x for x in text.splitlines() if 'APl' in x).split()[1:] == list(
      '---'
  )
  assert f'not compared, of {better}: heldout' in text
  assert compare.compare([worse, better.parent], redraws=200) == text


def test_the_interval_is_that_of_matching_the_drawn_images_again():
  truth = _truth()
  both = [_found(truth, blur) for blur in (20, 5)]
  runs = [coco_ap.run_coco(truth, found)[1]() for found in both]
  steps = bootstrap.differences(runs, count=20, seed=4)[0]
  again = []
  for counts in match_metrics.draws(NUM, 20, seed=4):
    copies = [(i, k) for i, count in enumerate(counts) for k in range(count)]
    drawn = truth | {
        'images': [{'id': 100 * i + k} for i, k in copies],
        'annotations': _copied(truth['annotations'], copies),
    }
    first, second = (
        coco_ap.evaluate_coco(drawn, _copied(found, copies)).metrics['AP']
        for found in both
    )
    again.append(second - first)
  low, high = np.quantile(again, [0.025, 0.975])
  assert steps['AP'][1:] == pytest.approx((low, high), abs=1e-12)
  assert steps['AP'].is_clear and low < steps['AP'].value < high


def _copied(rows, copies):
  return [
      row | {'image_id': 100 * i + k}
      for i, k in copies
      for row in rows
      if row['image_id'] == i
  ]


def test_a_run_does_not_differ_from_itself(tmp_path):
  run = _run(tmp_path / 'a', _truth(), 9)
  text = compare.compare([run, run], redraws=20)
  assert '(+0.0 to +0.0)' in text and '*' not in text


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda t: _truth(range(1, NUM + 1)), '0 is in the first alone'),
        (
            lambda t: t
            | {'categories': [CATEGORIES[0], {'id': 2, 'name': 'x'}]},
            "different classes.*'dog' is in the first",
        ),
        (
            lambda t: t | {'annotations': t['annotations'][1:]},
            'different boxes of truth, 24 and 23',
        ),
    ],
)
def test_runs_on_other_data_are_refused(tmp_path, change, words):
  runs = [
      _run(tmp_path / name, truth, 9)
      for name, truth in (('a', _truth()), ('b', change(_truth())))
  ]
  with pytest.raises(UserError, match=words) as caught:
    compare.compare(runs)
  assert str(runs[1] / 'val') in str(caught.value)


def test_without_matches_there_is_no_interval(tmp_path):
  folders = [tmp_path / name for name in 'ab']
  for folder, value in zip(folders, (0.5, 0.75), strict=True):
    folder.mkdir()
    content = {'val': {'recall@1': value, 'n': 8.0}}
    (folder / 'metrics.json').write_text(json.dumps(content))
  row = compare.compare(folders).splitlines()[-1]
  assert row.split() == ['recall@1', '50.0', '75.0', '+25.0']


def test_what_is_no_evaluation_is_refused(tmp_path):
  run = _run(tmp_path / 'a', _truth(), 9)
  other = _run(tmp_path / 'b', _truth(), 9, name='test')
  for runs, words in (
      ([run], 'give the folders of two or more'),
      ([run, tmp_path / 'nothing'], 'has no metrics.json'),
      ([run, other], 'no evaluation in common.*a: val; .*b: test'),
  ):
    with pytest.raises(UserError, match=words):
      compare.compare(runs)
  (other / 'metrics.json').write_text('[')
  with pytest.raises(UserError, match='is damaged'):
    compare.compare([run, other])
