"""hotcoco's numbers are those of pycocotools, to the last digit."""

import json

import numpy as np
import pytest

from glip_jax.evaluators import coco_ap


@pytest.fixture
def both(monkeypatch):
  """Scores by both libraries."""
  hotcoco = pytest.importorskip('hotcoco', reason='hotcoco is not installed')

  def evaluate(truth, found):
    results = []
    for library in (
        coco_ap.PYCOCOTOOLS,
        coco_ap.Matcher(hotcoco.COCO, hotcoco.COCOeval),
    ):
      monkeypatch.setattr(coco_ap, 'matcher', lambda library=library: library)
      results.append(coco_ap.evaluate_coco(truth, found))
    return results

  return evaluate


@pytest.mark.parametrize('name', ['a', 'b', 'c'])
def test_stored_detections_score_the_same(both, shared, name):
  folder = shared / 'data' / 'eval_golden'
  truth = 'b' if name == 'c' else name
  truth = json.loads((folder / f'{truth}_gt.json').read_text())
  found = json.loads((folder / f'{name}_dt.json').read_text())
  plain, hot = both(truth, found)
  assert plain == hot


@pytest.mark.parametrize('seed', range(5))
def test_ties_crowds_and_empty_classes_score_the_same(both, seed):
  rng = np.random.default_rng(seed)

  def rows(count, **values):
    return [
        {
            'image_id': int(rng.integers(6)),
            'category_id': int(rng.integers(4)),
            'bbox': rng.integers(1, 60, 4).astype(float).tolist(),
        }
        | {key: draw() for key, draw in values.items()}
        for _ in range(count)
    ]

  truth = {
      'images': [{'id': i} for i in range(7)],
      'categories': [{'id': i, 'name': str(i)} for i in range(6)],
      'annotations': rows(30, iscrowd=lambda: int(rng.random() < 0.2)),
  }
  found = rows(900, score=lambda: float(rng.integers(1, 9)) / 8)
  plain, hot = both(truth, found)
  assert plain == hot and plain.metrics['AP'] > 0


def test_it_is_used_where_it_is_installed():
  hotcoco = pytest.importorskip('hotcoco', reason='hotcoco is not installed')
  assert coco_ap.matcher().COCOeval is hotcoco.COCOeval
