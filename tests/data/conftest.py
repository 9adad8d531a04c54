"""A small data set on disk, good and with broken records."""

import json

import numpy as np
import pytest
from PIL import Image
from small_world import NUM_IMAGES


@pytest.fixture(scope='session')
def world(tmp_path_factory):
  """Seven images of different sizes with a caption and two boxes each."""
  folder = tmp_path_factory.mktemp('world')
  rng = np.random.default_rng(0)
  images, annotations = [], []
  for n in range(NUM_IMAGES):
    shape = (20 + 3 * n, 40 - 2 * n, 3)
    image = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
    image.save(folder / f'{n}.png')
    caption = 'a red circle on a blue square'
    images.append({'id': 100 + n, 'file_name': f'{n}.png', 'caption': caption})
    for category, span in ((1, [2, 12]), (2, [18, 29])):
      annotations.append({
          'image_id': 100 + n,
          'category_id': category,
          'bbox': [2 * category, 3, 10, 12],
          'tokens_positive': [span],
      })
  names = [{'id': 1, 'name': 'red circle'}, {'id': 2, 'name': 'blue square'}]
  content = {'images': images, 'annotations': annotations, 'categories': names}
  (folder / 'good.json').write_text(json.dumps(content))
  images[2] |= {'file_name': 'cut.png'}
  (folder / 'cut.png').write_bytes((folder / '2.png').read_bytes()[:300])
  images[4] |= {'caption': 'a red circle on a blue square' + ' and a star' * 9}
  (folder / 'bad.json').write_text(json.dumps(content))
  return folder
