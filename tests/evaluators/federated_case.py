"""A made set of images that are labelled in part, with tied detections."""

import random

from glip_jax.evaluators import lvis_ap

# What lvis 0.5.3 gives for `rows` under each limit.
EXPECTED = {
    '50 an image': {
        'AP': 0.069754231, 'AP50': 0.172766692, 'AP75': 0.069053437,
        'APs': 0.071835123, 'APm': 0.135326908, 'APl': -1,
        'APr': 0.096953616, 'APc': 0.060895035, 'APf': 0.051414042,
        'AR': 0.360026455, 'ARs': 0.29, 'ARm': 0.429166667, 'ARl': -1,
    },
    '60 a class': {
        'AP': 0.066643222, 'AP50': 0.158461705, 'AP75': 0.069053437,
        'APs': 0.068658577, 'APm': 0.134148218, 'APl': -1,
        'APr': 0.096953616, 'APc': 0.053617035, 'APf': 0.049359016,
        'AR': 0.338862434, 'ARs': 0.253888889, 'ARm': 0.425, 'ARl': -1,
    },
}  # fmt: skip


def case():
  """A file of truth, and detections in COCO's result format."""
  rng = random.Random(0)
  draw = rng.randrange
  categories = [
      {'id': n, 'name': f'class {n}', 'frequency': 'rcf'[n % 3]}
      for n in range(1, 8)
  ]
  images = [{'id': 10 * n + 3} for n in range(9)]
  truth = [
      {
          'id': n,
          'image_id': 10 * draw(9) + 3,
          'category_id': draw(1, 7),
          'bbox': [draw(60), draw(60), draw(9, 60), draw(9, 60)],
      }
      for n in range(1, 41)
  ]
  for row in truth:
    row['area'] = row['bbox'][2] * row['bbox'][3]
  for image in images:
    own = sorted(
        {row['category_id'] for row in truth if row['image_id'] == image['id']}
    )
    image['neg_category_ids'] = [
        n for n in range(1, 8) if n not in own and draw(10) < 4
    ]
    image['not_exhaustive_category_ids'] = [n for n in own if draw(10) < 4]
  found = []
  for image in images:
    for _ in range(120):
      near = truth[draw(40)]
      other = near['category_id'] if draw(10) < 6 else draw(1, 8)
      found.append({
          'image_id': image['id'],
          'category_id': other,
          'bbox': [side + draw(-3, 4) for side in near['bbox']],
          'score': draw(1, 41) / 64,
      })
  return dict(images=images, annotations=truth, categories=categories), found


def limited(rows, name):
  """Which rows count under a limit of `EXPECTED`."""
  if name == '50 an image':
    return lvis_ap.limit(rows.image, rows.score, 50)
  return lvis_ap.limit(rows.category, rows.score, 60)
