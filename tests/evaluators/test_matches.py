"""Stored matches give what matching anew gives, for any draw of the images."""

import json

import federated_case
import numpy as np
import pytest

from glip_jax.errors import UserError
from glip_jax.evaluators import (
    coco_ap,
    lvis_ap,
    match_building,
    match_metrics,
    match_scores,
    matches,
    voc_ap,
)


def _stored(found, tmp_path):
  path = tmp_path / matches.FILE
  path.write_bytes(found.to_bytes())
  return matches.read(path)


def _repeated(truth, found, images, counts):
  """The set with each image as often as it is drawn, copies side by side."""
  copies = [
      (image, (place, copy))
      for place, (image, count) in enumerate(zip(images, counts, strict=True))
      for copy in range(count)
  ]
  number = {copy: n for n, (_, copy) in enumerate(copies)}

  def rows(before):
    return [
        row | {'image_id': number[copy]}
        for image, copy in copies
        for row in before
        if row['image_id'] == image
    ]

  entries = {image['id']: image for image in truth['images']}
  new = [entries[image] | {'id': number[copy]} for image, copy in copies]
  annotations = rows(truth['annotations'])
  return truth | {'images': new, 'annotations': annotations}, rows(found)


def _golden(shared, name):
  folder = shared / 'data' / 'eval_golden'
  return (
      json.loads((folder / f'{name}_{kind}.json').read_text())
      for kind in ('gt', 'dt')
  )


@pytest.mark.parametrize('name', ['a', 'b'])
def test_a_draw_scores_as_the_set_with_each_image_that_often(
    shared, name, tmp_path
):
  truth, found = _golden(shared, name)
  result, make = coco_ap.run_coco(truth, found)
  stored = _stored(make(), tmp_path)
  whole = match_metrics.metrics(stored)
  assert set(whole) == set(coco_ap.METRICS)
  for key, value in result.metrics.items():
    assert whole[key][0] == pytest.approx(value, abs=1e-12), key
  counts = match_metrics.draws(len(stored.images), 2, seed=1)
  drawn = match_metrics.metrics(stored, counts)
  for n, count in enumerate(counts):
    again = _repeated(truth, found, stored.images, count)
    for key, value in coco_ap.evaluate_coco(*again).metrics.items():
      assert drawn[key][n] == pytest.approx(value, abs=1e-12), (n, key)


def test_ties_in_an_image_that_is_drawn_twice_come_in_their_order(tmp_path):
  truth = {
      'images': [{'id': 0}, {'id': 1}],
      'categories': [{'id': 5, 'name': 'cat'}],
      'annotations': [
          {'image_id': 0, 'category_id': 5, 'bbox': [0, 0, 40, 40]}
      ],
  }
  found = [
      {'image_id': 0, 'category_id': 5, 'bbox': [x, 0, 40, 40], 'score': 0.5}
      for x in (0, 90)
  ]
  stored = _stored(coco_ap.run_coco(truth, found)[1](), tmp_path)
  counts = np.array([[2, 0], [0, 2], [1, 1]])
  drawn = match_metrics.metrics(stored, counts)['AP50']
  # Right, wrong, right: 51 recalls of precision 1, and 50 of 2 in 3.
  assert drawn == pytest.approx([(51 + 50 * 2 / 3) / 101, -1, 1])


def test_lvis_is_the_same_of_each_limit_and_of_draws(tmp_path):
  truth, found = federated_case.case()
  rows = lvis_ap.rows_of(truth, found)
  made, expected = match_building.Builder(), {}
  for limit, name in enumerate(('60 a class', '50 an image')):
    chosen = np.flatnonzero(federated_case.limited(rows, name))

    def keep(place, matched, own, annotations, limit=limit, chosen=chosen):
      made.add(matched, chosen[own], annotations, category=place, limit=limit)

    score = lvis_ap.evaluate_lvis(truth, rows.take(chosen), keep)
    ending = f'@{name}' if limit else ''
    expected |= {k + ending: v for k, v in score.metrics.items()}
  stored = _stored(
      made.build(
          protocol='lvis',
          images=[row['id'] for row in truth['images']],
          categories=truth['categories'],
          limits={'60 a class': None, '50 an image': None},
      ),
      tmp_path,
  )
  whole = match_metrics.metrics(stored)
  assert set(whole) == set(expected)
  for key, value in expected.items():
    assert whole[key][0] == pytest.approx(value, abs=1e-12), key
  assert whole['AP'][0] != whole['AP@50 an image'][0]


def test_voc_is_the_same_of_draws(shared, tmp_path):
  truth, found = _golden(shared, 'b')
  run = voc_ap.run_voc(truth, found)
  stored = _stored(run.matches, tmp_path)
  counts = match_metrics.draws(len(stored.images), 2, seed=2)
  counts[0] = 1
  drawn = match_metrics.metrics(stored, counts)
  for key, value in run.result.metrics.items():
    assert drawn[key][0] == pytest.approx(value, abs=1e-12)
  again = _repeated(truth, found, stored.images, counts[1])
  for key, value in voc_ap.evaluate_voc(*again).metrics.items():
    assert drawn[key][1] == pytest.approx(value, abs=1e-12)


def test_rows_and_annotations_lead_back_to_the_files(shared):
  truth, found = _golden(shared, 'b')
  made = coco_ap.run_coco(truth, found)[1]()
  names = {row['id']: row['name'] for row in truth['categories']}
  for n in (0, 100, len(made.row) - 1):
    row = found[made.row[n]]
    assert row['image_id'] == made.images[made.image[n]]
    assert names[row['category_id']] == made.names[made.category[n]]
    assert row['score'] == made.score[n]
  best = int(made.best.argmax())
  row = truth['annotations'][made.annotation[best]]
  assert row['image_id'] == made.images[made.truth_image[best]]
  crowds = sum(bool(row['iscrowd']) for row in truth['annotations'])
  assert (~made.counted[:, 0]).sum() == crowds > 0


def test_scores_of_a_class_do_not_depend_on_how_many_draws_are_asked(shared):
  truth, found = _golden(shared, 'a')
  made = coco_ap.run_coco(truth, found)[1]()
  counts = match_metrics.draws(len(made.images), 5, seed=3)
  every = match_scores.class_scores(made, counts).precision
  one = match_scores.class_scores(made, counts[3:4]).precision
  np.testing.assert_allclose(every[..., 3:4], one, rtol=1e-12)


def test_a_file_of_something_else_is_refused(tmp_path):
  path = tmp_path / matches.FILE
  path.write_bytes(b'nothing of the kind')
  with pytest.raises(UserError, match='evaluate again'):
    matches.read(path)
